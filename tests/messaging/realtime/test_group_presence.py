"""The connected members of groups of any size among any number of connected receivers."""

from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from messaging import holders
from messaging.realtime import group_presence
from sprayer_project import redis
from subscriptions import reaching, selectors
from subscriptions import services as subscriptions

pytestmark = pytest.mark.services

Populate = Callable[[list[str], list[str]], None]


@pytest.fixture
def populate(clean_stores: None, monkeypatch: pytest.MonkeyPatch) -> Populate:
    """populate(members of the group news, those who are connected, by two processes); a step is three names."""
    monkeypatch.setattr(group_presence, "_STEP", 3)

    async def hold(connected: list[str]) -> None:
        for number, process in enumerate(("first", "second")):
            await holders.live(redis.shard_of("acme"), process)
            await holders.hold("acme", connected[number::2], process)
        await redis.aclose()

    def populated(members: list[str], connected: list[str]) -> None:
        subscriptions.put_group("acme", "news")
        for name in members:
            subscriptions.put_receiver("acme", name)
            subscriptions.subscribe("acme", "news", name)
        async_to_sync(hold)(connected)

    return populated


def names(*numbers: int) -> list[str]:
    return [f"r{number:02}" for number in numbers]


def never(*arguments: Any) -> Any:
    raise AssertionError("the larger side was walked through")


def pages(limit: int) -> list[list[str]]:
    """All pages, from the first to the last."""
    found, after = [], ""
    while True:
        page = group_presence.page("acme", "news", after, limit)
        found.append(page.data)
        if page.next_cursor is None:
            return found
        after = selectors.after(page.next_cursor)


def test_a_small_group_costs_nothing_for_those_who_are_connected_besides(
    populate: Populate, monkeypatch: pytest.MonkeyPatch
) -> None:
    populate(names(5, 1, 3, 7, 9), [*names(1, 9, 3, 5), *(f"s{number}" for number in range(20))])
    monkeypatch.setattr(holders, "all_present", never)
    assert group_presence.count("acme", "news") == 4
    assert pages(3) == [names(1, 3, 5), names(9)]


def test_few_connected_cost_nothing_for_a_groups_other_members(
    populate: Populate, monkeypatch: pytest.MonkeyPatch
) -> None:
    populate(names(*range(20)), [*names(4, 18, 11, 2), "stranger"])
    monkeypatch.setattr(reaching, "subscribers_after", never)
    assert group_presence.count("acme", "news") == 4
    assert pages(3) == [names(2, 4, 11), names(18)]


@pytest.mark.parametrize("others", [0, 20], ids=["more members", "more connected"])
def test_without_time_the_number_is_unknown_and_pages_lead_to_the_end_all_the_same(
    populate: Populate, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    populate(names(*range(10)), [*names(0, 1, 7, 8), *(f"s{number}" for number in range(others))])
    monkeypatch.setattr(group_presence, "PATIENCE", -1)
    assert group_presence.count("acme", "news") is None
    assert [name for page in pages(100) for name in page] == names(0, 1, 7, 8)


def test_nobody_of_an_empty_group_is_connected(populate: Populate) -> None:
    populate([], names(1))
    assert (group_presence.count("acme", "news"), pages(3)) == (0, [[]])
