"""The hub of a process, among servers that fail it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from pytest_django import Settings

from messaging import holders, inbox
from messaging.holders import Hold
from messaging.realtime.connection import Start
from messaging.realtime.hub import Hub
from sprayer_project import redis
from tests.live import wait_for
from tests.messaging.realtime.followers import Follower

pytestmark = pytest.mark.services


@pytest.fixture
async def hub(clean_stores: None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Hub]:
    """Its beat is quick."""
    monkeypatch.setattr(holders, "BEAT", 0.05)
    found = Hub()
    yield found
    await found.farewell()


class Listening(Follower):
    """Stands for a client; nothing is sent to it."""

    def __init__(self, receiver: str = "alice") -> None:
        super().__init__("acme", receiver)
        self.place(Start("", 0, True))

    async def moved(self, start: Start) -> None:
        self.place(start)


async def come(condition: Any, what: str) -> None:
    await asyncio.to_thread(wait_for, condition, 10, what)


def living() -> Any:
    return redis.client("acme").zrangebyscore("sprayer:processes", f"({inbox.now()}", "+inf")


def refusals() -> int:
    """How often the server refused for want of memory."""
    stats: Any = redis.client("acme").info("errorstats")
    return int(stats.get("errorstat_OOM", {"count": 0})["count"])


async def test_it_lives_on_when_redis_takes_writes_again(hub: Hub) -> None:
    member, server, before = Listening(), redis.client("acme"), refusals()
    await hub.add(member)
    server.config_set("maxmemory", 1)
    try:
        await come(lambda: refusals() > before, "a beat that is refused")
    finally:
        server.config_set("maxmemory", 0)
    signs = living()
    server.zrem("sprayer:processes", *signs)
    await come(living, "a sign of life")
    assert living() == signs
    hub.remove(member)


async def test_a_mistake_of_its_own_does_not_end_it(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    live, beats = holders.live, 0

    async def mistaken(shard: int, process: str) -> None:
        nonlocal beats
        beats += 1
        if beats <= 2:  # the subscription's first, and its second or the beat's first
            raise RuntimeError("a mistake")
        await live(shard, process)

    monkeypatch.setattr(holders, "live", mistaken)
    member = Listening()
    await hub.add(member)
    await come(living, "a sign of life")
    assert beats > 2
    hub.remove(member)


async def test_it_ends_although_a_cancel_is_lost_in_its_beat(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    live, lost = holders.live, asyncio.Event()

    async def deaf(shard: int, process: str) -> None:
        await live(shard, process)
        if asyncio.current_task() in hub._beats.values() and not lost.is_set():
            beating.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                lost.set()  # as asyncio.wait_for loses it

    beating = asyncio.Event()
    monkeypatch.setattr(holders, "live", deaf)
    member = Listening()
    await hub.add(member)
    hub.remove(member)
    async with asyncio.timeout(30):
        await beating.wait()
        await hub.farewell()
    assert lost.is_set()


async def test_whoever_leaves_during_a_check_is_not_held_on(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    settings.REALTIME_CHECK = 0.05
    monkeypatch.setattr("messaging.realtime.hub._BATCH", 1)
    hold, held_on = holders.hold, list[str]()
    alice, bob = Listening("alice"), Listening("bob")

    async def watched(tenant: str, receivers: Sequence[str], process: str) -> list[Hold]:
        hub.remove(bob)
        held_on.extend(receivers)
        return await hold(tenant, receivers, process)

    await hub.add(alice)
    await hub.add(bob)
    monkeypatch.setattr(holders, "hold", watched)
    await come(lambda: held_on.count("alice") >= 2, "alice held on")
    assert "bob" not in held_on[held_on.index("alice") :]
    hub.remove(alice)
