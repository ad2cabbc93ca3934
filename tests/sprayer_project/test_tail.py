"""Bounded streams with consecutive offsets, and those who follow them."""

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest
from pytest_django import Settings

from sprayer_project import following, redis, tail
from sprayer_project.errors import Limited
from sprayer_project.flow import Flow
from sprayer_project.following import Following, Moved, News, Position, Reader
from sprayer_project.tail import Tail

pytestmark = pytest.mark.services

LOG = Tail("acme", "log", 1_000, 60)
LIVE = Tail("acme", "now", 1_000, 60, on_demand=True)
LIMIT = 30.0


@pytest.fixture(autouse=True)
async def _clients_closed(settings: Settings) -> AsyncIterator[None]:
    yield
    for index in range(len(settings.REDIS_URLS)):
        await redis.ashard(index).aclose()


def offsets(wanted: Tail) -> list[int]:
    return [entry.offset for entry in reversed(tail.newest(wanted, None, 100))]


def another_server(wanted: Tail) -> None:
    """As after a restart, which the run_id tells."""
    redis.client("acme").hset(wanted.keys[1], "run", "0123abcd")


async def taken(reader: Reader) -> list[News | Moved]:
    async with asyncio.timeout(LIMIT):
        while not (found := await reader.take(1)):
            continue
    return found


async def test_events_that_happen_together_share_entries_of_bounded_size() -> None:
    await tail.aappend(LOG, ["1", "2"])
    await tail.aappend(LOG, [str(number) for number in range(120)])
    await tail.aappend(LOG, ["x" * 5_000, "y" * 5_000])
    entries = list(reversed(tail.newest(LOG, None, 100)))
    assert [len(entry.events) for entry in entries] == [2, 50, 50, 20, 1, 1]
    assert [entry.offset for entry in entries] == [1, 2, 3, 4, 5, 6]
    assert entries[1].events == tuple(str(number) for number in range(50))


async def test_one_on_demand_is_written_only_while_it_is_open_and_both_parts_end_together() -> None:
    await tail.aappend(LIVE, ["unseen"])
    assert offsets(LIVE) == [] and await tail.aopened([LIVE]) == [False]
    stand = await tail.aopen(LIVE)
    await tail.aappend(LIVE, ["seen"])
    assert await tail.aopened([LIVE]) == [True]
    assert (await tail.aopen(LIVE)) == tail.Stand(stand.epoch, 1, 1)
    remaining = [cast(int, redis.client("acme").pttl(key)) for key in LIVE.keys]
    assert all(0 < left <= 60_000 for left in remaining) and abs(remaining[0] - remaining[1]) < 1_000


async def test_another_server_is_another_epoch_and_a_log_keeps_what_it_had() -> None:
    await tail.aappend(LOG, ["before"])
    before, live = await tail.aopen(LOG), await tail.aopen(LIVE)
    await tail.aappend(LIVE, ["before"])
    for wanted in (LOG, LIVE):
        another_server(wanted)
    after = await tail.aopen(LOG)
    assert after.epoch != before.epoch and offsets(LOG) == [1]
    assert (await tail.aopen(LIVE)).epoch != live.epoch and offsets(LIVE) == []


async def test_a_reset_reaches_those_that_are_open_alone() -> None:
    stand = await tail.aopen(LIVE)
    await tail.aappend(LIVE, ["1"])
    gone = Tail("acme2", LIVE.name, 10, 60, on_demand=True)
    await tail.aopen(gone)
    redis.client("acme2").delete(*gone.keys)
    for shard in {redis.shard_of("acme"), redis.shard_of("acme2")}:
        await tail.areset(shard, lambda tenant: Tail(tenant, LIVE.name, 10, 60, on_demand=True))
    assert (await tail.aopen(LIVE)).epoch != stand.epoch and offsets(LIVE) == []
    assert not redis.client("acme2").exists(*gone.keys)


async def test_followers_get_what_comes_are_told_of_holes_and_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "MOST_READERS", 2)
    hub, first, second = Following(), Reader("acme", Flow()), Reader("acme", Flow())
    for reader in (first, second):
        hub.admit(reader)
        await hub.follow(reader, LIVE, None)
    with pytest.raises(Limited):
        hub.admit(Reader("acme", Flow()))
    await tail.aappend(LIVE, ["1"])
    for reader in (first, second):
        (news,) = await taken(reader)
        assert isinstance(news, News) and news.entry.events == ("1",)
    another_server(LIVE)
    await tail.aopen(LIVE)
    (moved,) = await taken(first)
    assert isinstance(moved, Moved) and moved.position.offset == 0
    for reader in (first, second):
        hub.leave(reader)
    hub.check("acme")


@pytest.mark.parametrize(("behind", "whole"), [(0, True), (3, True), (5, False)])
async def test_a_reader_comes_back_whole_where_nothing_left_the_tail_meanwhile(behind: int, whole: bool) -> None:
    hub, reader = Following(), Reader("acme", Flow())
    stand = await tail.aopen(LIVE)
    for number in range(8):
        await tail.aappend(LIVE, [str(number)])
    redis.client("acme").xtrim(LIVE.keys[0], maxlen=4, approximate=False)
    position, recovered = await hub.follow(reader, LIVE, Position(stand.epoch, 8 - behind))
    assert recovered is whole
    assert position.offset == (8 - behind if whole else 8)
    if whole and behind:
        items = await taken(reader)
        assert [item.entry.offset for item in items if isinstance(item, News)] == [6, 7, 8]
    hub.leave(reader)
