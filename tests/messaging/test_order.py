"""A receiver's messages stay in the order of their jobs, on a channel that promises it."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import cycle
from typing import Any, cast

import pytest

from messaging import inbox, incoming, lanes, services
from messaging.channels.base import Outcome, Outgoing, Recipient
from messaging.channels.websocket import WebSocket
from messaging.incoming import Decoded
from messaging.jobs import Deliver, Target
from messaging.order import Order
from messaging.succession import Single
from sprayer_project import amqp, redis
from sprayer_project.errors import StoreUnavailable
from sprayer_project.worker import Item
from subscriptions import services as subscriptions
from tenants.services import set_channel_config
from tests.live import wait_for
from tests.messaging.dispatching import dispatching, item

TO_ALICE = {"receivers": ["alice"]}
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


async def test_the_surplus_lane_waits_for_what_came_to_the_single_lane_before(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer, ready = amqp.Consumer(["single"], 1), 0

    async def act(decoded: Sequence[Decoded]) -> None:
        pass

    async def count() -> int:
        return ready

    monkeypatch.setattr(amqp.Consumer, "ready", lambda self: count())
    single = Single(consumer)
    assert await single.has_begun("msg_5"), "nothing ever came"
    first, second = single_item("msg_1"), single_item("msg_3")
    consumer.received = second.incoming.place
    await single.act([first], incoming.decode([first], "websocket")[0], act)
    assert not await single.has_begun("msg_5")
    assert await single.has_begun("msg_1"), "what is newer has begun"
    for one in (second, first):  # the first again, by itself, as after a failure
        await single.act([one], incoming.decode([one], "websocket")[0], act)
    assert await single.has_begun("msg_5")
    ready = 1
    assert not await single.has_begun("msg_5")


@pytest.mark.services
@pytest.mark.usefixtures("clean_stores")
async def test_nothing_is_noted_of_a_tenant_that_was_never_above_its_share() -> None:
    await lanes.done("acme", "websocket", "msg_1")
    assert await redis.aclient("acme").exists(redis.key("acme", "surplus")) == 0
    await redis.aclose()


def single_item(message: str) -> Item:
    return item(Deliver(tenant="acme", message=message, mode="live", channel="websocket", targets=(Target("alice"),)))


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("acme")
@pytest.mark.parametrize("to", [TO_ALICE, {"groups": ["room"]}])
def test_an_inbox_has_the_order_of_acceptance(to: Mapping[str, Any], alice: None, share: int) -> None:
    sent = [accept(to, str(number)) for number in range(MESSAGES)]
    with dispatching(Uneven()):
        wait_for(lambda: len(waiting()) == MESSAGES, 90, "every message in the inbox")
    assert waiting() == sent


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("acme")
def test_the_order_stays_where_a_tenant_goes_above_its_share_again_and_again(alice: None, share: int) -> None:
    sent: list[str] = []

    def the_most_arrived() -> bool:
        return len(waiting()) > len(sent) - share

    with dispatching(Uneven()):
        for _ in range(4):
            sent.extend(accept(TO_ALICE, "burst") for _ in range(3 * share))
            wait_for(the_most_arrived, 60, "all but the last of a burst")
            sent.append(accept(TO_ALICE, "one more"))
        wait_for(lambda: len(waiting()) == len(sent), 60, "every message in the inbox")
    assert waiting() == sent


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("acme")
def test_above_its_share_a_tenant_stays_on_the_surplus_lane_until_all_there_is_done(alice: None, share: int) -> None:
    set_channel_config("acme", "sms", {})
    accept_together(share + 2)
    assert depths("websocket") == depths("sms") == (share, 2)
    in_the_next_second()
    accept_together(1)
    assert depths("websocket") == (share, 3), "where order counts"
    assert depths("sms") == (share + 1, 2), "where it does not"
    with dispatching(WebSocket()):
        wait_for(lambda: len(waiting()) == share + 3, 30, "every message in the inbox")
        wait_for(all_is_noted, 10, "the note that all is done")
    in_the_next_second()
    accept_together(1)
    assert depths("websocket") == (1, 0)


@pytest.fixture
def alice() -> None:
    subscriptions.put_receiver("acme", "alice", [])
    subscriptions.put_group("acme", "room")
    subscriptions.subscribe("acme", "room", "alice")


@pytest.fixture
def share(monkeypatch: pytest.MonkeyPatch) -> int:
    """Messages a second; a fast and a slow machine go above it."""
    monkeypatch.setattr(lanes, "SINGLE_SHARE", 10)
    return 10


def accept(to: Mapping[str, Any], title: str) -> str:
    wanted = {"to": to, "channels": ["websocket"], "content": {"title": title}}
    return services.accept("acme", "live", wanted).id


def accept_together(number: int) -> None:
    """So many messages, on an ordered channel and on another, at one moment."""
    body = {"to": TO_ALICE, "channels": ["websocket", "sms"], "content": {"title": "Hello"}}
    assert not [one for one in services.accept_batch("acme", "live", [body] * number) if isinstance(one, Exception)]


def depths(channel: str) -> tuple[int | None, int | None]:
    """How many jobs wait on the single lane, and on the surplus lane."""
    return amqp.depth(amqp.job_queue(channel, "single")), amqp.depth(amqp.job_queue(channel, "surplus"))


def all_is_noted() -> bool:
    newest, done = redis.client("acme").hmget(redis.key("acme", "surplus"), "websocket", "websocket:done")
    return newest == done


def in_the_next_second() -> None:
    """A tenant's share is one of each second."""
    now = int(time.time())
    wait_for(lambda: int(time.time()) > now, 2, "the next second")


def waiting() -> list[str]:
    entries = cast(list[tuple[str, dict[str, str]]], redis.client("acme").xrange(inbox.stream_key("acme", "alice")))
    return [fields["m"] for _, fields in entries]
