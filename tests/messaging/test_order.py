"""A receiver's messages stay in the order of their jobs, on a channel that promises it."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import cycle
from typing import Any, cast

import pytest

from messaging import inbox, services
from messaging.channels.base import Outcome, Outgoing, Recipient
from messaging.channels.websocket import WebSocket
from messaging.order import Order
from sprayer_project import redis
from sprayer_project.errors import StoreUnavailable
from subscriptions import services as subscriptions
from tests.live import wait_for
from tests.messaging.dispatching import dispatching

MESSAGES = 150
"""Three batches of singles at least."""


class Uneven(WebSocket):
    """Some messages take longer than the ones behind them, and some find a store away at first."""

    def __init__(self) -> None:
        super().__init__()
        self._pauses = cycle((0.1, 0.0, 0.05, 0.0, 0.0))
        self._failing = {"3", "77"}

    async def send(
        self, config: Mapping[str, Any], message: Outgoing, recipients: Sequence[Recipient]
    ) -> AsyncIterator[Outcome]:
        await asyncio.sleep(next(self._pauses))
        if message.content["title"] in self._failing:
            self._failing.remove(message.content["title"])
            raise StoreUnavailable("Redis")
        async for outcome in super().send(config, message, recipients):
            yield outcome


async def test_who_asks_later_waits_for_the_same_key_only() -> None:
    order, go_on, told = Order(), asyncio.Event(), list[str]()

    async def act(name: str, keys: set[str]) -> None:
        async with order.of(keys):
            if name == "first":
                await go_on.wait()
            told.append(name)

    tasks = [
        asyncio.create_task(act(name, keys))
        for name, keys in [("first", {"a", "b"}), ("second", {"b", "c"}), ("third", {"c"}), ("other", {"d"})]
    ]
    await tasks[3]
    assert told == ["other"]
    go_on.set()
    await asyncio.gather(*tasks)
    assert told == ["other", "first", "second", "third"]


async def test_of_some_items_those_act_at_once_that_wait_for_nobody() -> None:
    order, go_on, told = Order(), asyncio.Event(), list[str]()

    async def busy(items: Sequence[str]) -> None:
        await go_on.wait()
        told.extend(items)

    async def act(items: Sequence[str]) -> None:
        told.extend(items)

    first = asyncio.create_task(order.act(["a"], frozenset, busy))
    await asyncio.sleep(0)
    second = asyncio.create_task(order.act(["b", "ac", "c", "d"], frozenset, act))
    third = asyncio.create_task(order.act(["ce"], frozenset, act))
    async with asyncio.timeout(10):
        while not told:
            await asyncio.sleep(0)
    assert told == ["b", "d"]
    go_on.set()
    await asyncio.gather(first, second, third)
    assert told == ["b", "d", "a", "ac", "c", "ce"]


async def test_a_failure_or_the_end_of_who_came_before_holds_nobody_up() -> None:
    order, never = Order(), asyncio.Event()

    async def fail() -> None:
        async with order.of({"a"}):
            await never.wait()

    failing = asyncio.create_task(fail())
    await asyncio.sleep(0)
    failing.cancel()
    async with asyncio.timeout(10), order.of({"a"}):
        assert failing.cancelled()
    with pytest.raises(ValueError):
        async with order.of({"a"}):
            raise ValueError
    async with asyncio.timeout(10), order.of({"a"}):
        pass


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("acme")
@pytest.mark.parametrize("to", [{"receivers": ["alice"]}, {"groups": ["room"]}])
def test_an_inbox_has_the_order_of_acceptance(to: Mapping[str, Any]) -> None:
    subscriptions.put_receiver("acme", "alice", [])
    subscriptions.put_group("acme", "room")
    subscriptions.subscribe("acme", "room", "alice")
    sent = [accept(to, str(number)) for number in range(MESSAGES)]
    with dispatching(Uneven()):
        wait_for(lambda: len(waiting()) == MESSAGES, 90, "every message in the inbox")
    assert waiting() == sent


def accept(to: Mapping[str, Any], title: str) -> str:
    wanted = {"to": to, "channels": ["websocket"], "content": {"title": title}}
    return services.accept("acme", "live", wanted).id


def waiting() -> list[str]:
    entries = cast(list[tuple[str, dict[str, str]]], redis.client("acme").xrange(inbox.stream_key("acme", "alice")))
    return [fields["m"] for _, fields in entries]
