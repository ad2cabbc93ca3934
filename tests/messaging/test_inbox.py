"""Inboxes in a real Redis server."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pika
import pytest
from pytest_django import Settings

from deploy.local.stack import Stack
from feedback import services as feedback
from feedback.events import DeliveryEvent, Status, delivery_id
from messaging import channels, holders, inbox, inbox_ended, inbox_restore
from messaging.channels.base import Outgoing
from messaging.documents import Message
from messaging.inbox import Ack, Lost, View
from messaging.realtime import frames
from sprayer_project import amqp, redis
from sprayer_project.ids import new_id
from tests.live import wait_for
from tests.messaging.inboxes import message, recipient, send

pytestmark = pytest.mark.services


@pytest.fixture(autouse=True)
async def _clients_closed(settings: Settings) -> AsyncIterator[None]:
    yield
    for index in range(len(settings.REDIS_URLS)):
        await redis.ashard(index).aclose()


async def look(receiver: str = "alice", after: int = 0, count: int = 100, tenant: str = "acme") -> View:
    (view,) = await inbox_restore.whole(partial(inbox.read, tenant, [(receiver, after)], count))
    return view


def record(outgoing: Outgoing, receiver: str, status: Status = Status.SENT) -> None:
    """What accept and the status feeder would have written."""
    Message(
        id=outgoing.id,
        tenant=outgoing.tenant,
        mode=outgoing.mode,
        status="routed",
        created_at=outgoing.created_at,
        expires_at=outgoing.expires_at,
        to={"receivers": [receiver]},
        channels=["websocket"],
        content=dict(outgoing.content),
        metadata=dict(outgoing.metadata),
        collapse_key=outgoing.collapse_key,
        priority="high",
    ).save()
    event = DeliveryEvent(
        tenant=outgoing.tenant,
        mode=outgoing.mode,
        message=outgoing.id,
        delivery=delivery_id(outgoing.id, receiver, "websocket", ""),
        receiver=receiver,
        channel="websocket",
        status=status,
        at=datetime.now(UTC),
        attempt=1,
        expires_at=outgoing.expires_at,
        waiting=True,
    )
    feedback.write([event])


async def test_messages_are_read_in_the_order_in_which_they_were_appended() -> None:
    sent = [message() for _ in range(5)]
    for outgoing in sent:
        await send(outgoing, "alice")
    view = await look()
    assert [entry.message for entry in view.entries] == [outgoing.id for outgoing in sent]
    assert [entry.offset for entry in view.entries] == [1, 2, 3, 4, 5]
    assert (view.floor, view.acked, view.last, view.upto) == (0, 0, 5, 5)


async def test_appending_twice_leaves_one_entry_and_answers_the_same_place() -> None:
    outgoing = message()
    first, second = await send(outgoing, "alice", "bob"), await send(outgoing, "alice", "bob")
    assert first == second
    assert len((await look()).entries) == 1


async def test_another_round_of_a_delivery_is_appended_again() -> None:
    outgoing = message()
    await send(outgoing, "alice")
    again = [recipient(outgoing, "alice", round=2)]
    await inbox.append(outgoing, again, frames.message_body(outgoing))
    assert [entry.round for entry in (await look()).entries] == [1, 2]


async def test_an_entry_carries_what_its_delivered_event_needs() -> None:
    outgoing = message(mode="test")
    await look()
    await inbox.append(outgoing, [recipient(outgoing, "alice", group="news")], frames.message_body(outgoing))
    (entry,) = (await look()).entries
    assert (entry.mode, entry.group, entry.round) == ("test", "news", 1)
    assert abs(entry.expires_at - outgoing.expires_at) < timedelta(milliseconds=2)
    assert await inbox.metadata("acme", [outgoing.id]) == {outgoing.id: {"order": "17"}}


async def test_a_payload_is_stored_once_and_outlives_the_entries() -> None:
    outgoing = message()
    await send(outgoing, "alice", "bob", "charlie")
    client: Any = redis.aclient("acme")
    payloads = [key async for key in client.scan_iter("*payload*")]
    assert len(payloads) == 1
    assert await client.pexpiretime(payloads[0]) > outgoing.expires_at.timestamp() * 1000


async def test_receivers_whose_names_look_like_keys_do_not_meet() -> None:
    outgoing = message()
    await send(outgoing, "alice")
    for stranger in ("alice:meta", "alice:holders", "{alice}"):
        assert (await look(stranger)).entries == ()
    assert (await look(tenant="globex")).entries == ()


async def test_a_long_inbox_loses_its_oldest_entries_and_raises_its_floor(settings: Settings) -> None:
    settings.INBOX_LENGTH = 3
    for _ in range(5):
        await send(message(), "alice")
    view = await look()
    assert [entry.offset for entry in view.entries] == [3, 4, 5]
    assert (view.floor, view.last) == (2, 5)


async def test_an_inbox_that_became_much_too_long_is_shortened_by_and_by(settings: Settings) -> None:
    await look()
    for _ in range(112):
        outgoing = message()
        await inbox.append(outgoing, [recipient(outgoing, "alice")], "{}")
    settings.INBOX_LENGTH = 3
    await send(message(), "alice")
    assert (await look()).floor == 100
    await send(message(), "alice")
    view = await look()
    assert (view.floor, [entry.offset for entry in view.entries]) == (111, [112, 113, 114])


async def test_all_expired_messages_leave_before_one_that_waits() -> None:
    await look()
    for ttl in (0.05, 0.05, 3600, 0.05):
        await send(message(ttl=ttl), "alice")
    async with asyncio.timeout(5):
        while [entry.offset for entry in (await look()).entries] != [3]:
            pass
    await send(message(), "alice")
    view = await look()
    assert (view.floor, [entry.offset for entry in view.entries]) == (2, [3, 5])
    client: Any = redis.aclient("acme")
    assert await client.xlen(inbox.stream_key("acme", "alice")) == 3


async def test_the_keys_of_an_inbox_outlive_its_entries_and_end_together(settings: Settings) -> None:
    settings.INBOX_AGE = 60
    await look()
    settings.INBOX_AGE = 7200
    outgoing = message(ttl=7200)
    await send(outgoing, "alice")
    client: Any = redis.aclient("acme")
    stream = inbox.stream_key("acme", "alice")
    ends = {await client.pexpiretime(key) for key in (stream, f"{stream}:meta")}
    assert len(ends) == 1
    assert min(ends) > outgoing.expires_at.timestamp() * 1000
    await holders.hold("acme", ["alice"], "prc_one")
    settings.INBOX_AGE = 1_000_000
    await holders.hold("acme", ["alice"], "prc_one")
    held = {await client.pexpiretime(key) for key in (stream, f"{stream}:meta")}
    assert len(held) == 1
    assert min(held) > max(ends)


async def test_many_recipients_of_different_groups_and_rounds_each_get_their_own_entry() -> None:
    outgoing = message()
    names = [f"receiver-{number}" for number in range(450)]
    some = [recipient(outgoing, name, group="all") for name in names]
    some[0], some[-1] = recipient(outgoing, names[0], group="news"), recipient(outgoing, names[-1], round=2)
    appending = await inbox_restore.whole(partial(inbox.append, outgoing, some, frames.message_body(outgoing)))
    assert [place.delivery for place in appending.places] == [one.delivery for one in some]
    assert {place.offset for place in appending.places} == {1}
    views = await inbox.read("acme", [(name, 0) for name in names], 10)
    found = [(entry.delivery, entry.group, entry.round) for view in views for entry in view.entries]
    assert found == [(one.delivery, one.group, one.round) for one in some]


async def test_the_channel_tells_of_many_recipients_in_their_order() -> None:
    outgoing, names = message(), [f"receiver-{number}" for number in range(2 * inbox.TOGETHER + 1)]
    some = [recipient(outgoing, name) for name in names]
    outcomes = [outcome async for outcome in channels.channel("websocket").send({}, outgoing, some)]
    assert [outcome.delivery for outcome in outcomes] == [one.delivery for one in some]
    assert {(outcome.status, outcome.detail["offset"]) for outcome in outcomes} == {(Status.SENT, "1")}


async def test_a_send_that_is_given_up_half_way_is_finished_by_another() -> None:
    outgoing, names = message(), [f"receiver-{number}" for number in range(2 * inbox.TOGETHER + 1)]
    await send(message(), *names)
    some, before = [recipient(outgoing, name) for name in names], asyncio.all_tasks()
    given_up = channels.channel("websocket").send({}, outgoing, some)
    assert isinstance(given_up, AsyncGenerator)
    assert (await anext(given_up)).status is Status.SENT
    assert asyncio.all_tasks() > before
    await given_up.aclose()
    assert asyncio.all_tasks() == before
    async for outcome in channels.channel("websocket").send({}, outgoing, some):
        assert outcome.detail["offset"] == "2"
    views = await inbox.read("acme", [(name, 1) for name in names], 10)
    assert [[entry.delivery for entry in view.entries] for view in views] == [[one.delivery] for one in some]


async def test_of_many_inboxes_only_the_lost_ones_are_restored_and_everybody_has_the_message_once() -> None:
    await look("alice")
    outgoing = message()
    both = [recipient(outgoing, "alice"), recipient(outgoing, "bob")]
    with pytest.raises(Lost) as caught:
        await inbox.append(outgoing, both, frames.message_body(outgoing))
    assert caught.value.receivers == ("bob",)
    await send(outgoing, "alice", "bob")
    for name in ("alice", "bob"):
        assert [entry.message for entry in (await look(name)).entries] == [outgoing.id]


async def test_a_forgotten_inbox_remembers_no_collapse_key() -> None:
    old, new = message(collapse_key="score"), message(collapse_key="score")
    await send(new, "alice")
    await asyncio.to_thread(inbox.forget, "acme", "alice")
    (place,) = await send(old, "alice")
    assert not place.replaced


async def noted(tenant: str = "acme") -> set[tuple[str, str, str]]:
    """(receiver, message, reason) of what left unacknowledged and is not reported."""
    return {(found.receiver, found.entry.message, found.reason) for found in await inbox_ended.noted(tenant)}


async def test_what_overflows_is_noted_unless_it_was_acknowledged_or_has_expired(settings: Settings) -> None:
    settings.INBOX_LENGTH = 3
    sent = [message(), message(ttl=0.1), message(), message()]
    await look()
    await send(sent[0], "alice")
    await inbox.acknowledge("acme", [Ack("alice", (await look()).epoch, 1)])
    await send(sent[1], "alice")
    view = await look()
    while view.entries[-1].message == sent[1].id:
        view = await look()
    settings.INBOX_LENGTH = 1
    await send(sent[2], "alice")
    assert await noted() == set()
    await send(sent[3], "alice")
    assert await noted() == {("alice", sent[2].id, "inbox_overflow")}


async def test_what_left_is_reported_once(settings: Settings) -> None:
    settings.INBOX_LENGTH = 1
    for outgoing in (message(), message()):
        await send(outgoing, "alice", "bob")
    assert len(await noted()) == 2
    await inbox_ended.report("acme")
    assert await noted() == set()


async def test_what_many_appends_push_out_is_reported_together_and_each_once(settings: Settings) -> None:
    settings.INBOX_LENGTH = 1
    reports, sent = inbox_ended.Reports(), [message() for _ in range(31)]
    with pika.BlockingConnection(pika.URLParameters(settings.AMQP_URL)) as broker:
        channel = broker.channel()
        heard = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(heard, amqp.EVENTS)
        for outgoing in sent:
            await send(outgoing, "alice")
            reports.ask("acme")
        await reports.aclose()
        found = []
        while (body := channel.basic_get(heard, auto_ack=True)[2]) is not None:
            found += [event["message"] for event in json.loads(body)]
    assert sorted(found) == [outgoing.id for outgoing in sent[:-1]]
    assert await noted() == set()


async def test_only_the_newest_message_of_a_collapse_key_stays(settings: Settings) -> None:
    old, other, new = message(collapse_key="score"), message(collapse_key="news"), message(collapse_key="score")
    for outgoing in (old, other, new):
        await send(outgoing, "alice")
    view = await look()
    assert [(entry.offset, entry.message) for entry in view.entries] == [(2, other.id), (3, new.id)]
    assert (view.floor, view.last) == (0, 3)
    assert await noted() == {("alice", old.id, "replaced")}


async def test_an_older_message_of_a_collapse_key_that_comes_late_is_not_appended() -> None:
    old, new = message(collapse_key="score"), message(collapse_key="score")
    await send(new, "alice")
    for _ in range(2):
        (place,) = await send(old, "alice")
        assert place.replaced
    (again,) = await send(new, "alice")
    assert not again.replaced
    assert [entry.message for entry in (await look()).entries] == [new.id]
    assert await noted() == set()


async def test_an_acknowledged_message_that_is_replaced_is_not_reported() -> None:
    old, new = message(collapse_key="score"), message(collapse_key="score")
    await send(old, "alice")
    await inbox.acknowledge("acme", [Ack("alice", (await look()).epoch, 1)])
    await send(new, "alice")
    assert [entry.message for entry in (await look()).entries] == [new.id]
    assert await noted() == set()


async def test_versions_of_a_collapse_key_grow_and_are_exact_in_javascript() -> None:
    bodies = [json.loads(frames.message_body(message(collapse_key="score"))) for _ in range(3)]
    versions = [body["version"] for body in bodies]
    assert versions == sorted(set(versions))
    assert versions[-1] < 2**53
    assert "version" not in json.loads(frames.message_body(message()))


async def test_restoring_collapses_again_and_notes_what_was_replaced() -> None:
    sent = [message(collapse_key="score"), message(), message(collapse_key="score")]
    for outgoing in sent:
        record(outgoing, "alice")
    assert [entry.message for entry in (await look()).entries] == [sent[1].id, sent[2].id]
    assert await noted() == {("alice", sent[0].id, "replaced")}


async def test_a_reading_ends_at_its_budget_of_bytes_and_goes_on_after_it() -> None:
    for _ in range(5):
        await send(message(title="x" * 100_000), "alice")
    first = await look()
    assert [entry.offset for entry in first.entries] == [1, 2, 3]
    assert (first.upto, first.last) == (3, 5)
    assert [entry.offset for entry in (await look(after=3)).entries] == [4, 5]


async def test_an_ack_is_no_evidence_for_what_has_expired() -> None:
    await look()
    expired = message(ttl=-1)
    await inbox.append(expired, [recipient(expired, "alice")], "{}")
    epoch = (await look()).epoch
    assert await inbox.newly_acknowledged("acme", [Ack("alice", epoch, 1)]) == [[]]
    assert await inbox.entries_at("acme", [Ack("alice", epoch, 1)]) == [[]]


async def test_an_expired_message_is_not_delivered_and_leaves_with_the_next_one() -> None:
    await look()
    expired, body = message(ttl=-1), "{}"
    await inbox.append(expired, [recipient(expired, "alice")], body)
    view = await look()
    assert (view.entries, view.upto, view.last) == ((), 1, 1)
    await send(message(), "alice")
    assert (await look()).floor == 1


async def test_reading_goes_on_after_a_full_page() -> None:
    for _ in range(5):
        await send(message(), "alice")
    first = await look(count=3)
    assert (first.upto, first.last) == (3, 5)
    assert [entry.offset for entry in (await look(after=first.upto)).entries] == [4, 5]


async def test_an_ack_moves_the_default_start_and_never_back() -> None:
    for _ in range(3):
        await send(message(), "alice")
    epoch = (await look()).epoch
    for offset in (2, 1):
        await inbox.acknowledge("acme", [Ack("alice", epoch, offset)])
        assert (await look()).acked == 2
    assert len((await look()).entries) == 3


async def test_an_ack_names_what_is_newly_acknowledged() -> None:
    sent = [message() for _ in range(3)]
    for outgoing in sent:
        await send(outgoing, "alice")
    epoch = (await look()).epoch
    await inbox.acknowledge("acme", [Ack("alice", epoch, 1)])
    (newly,) = await inbox.newly_acknowledged("acme", [Ack("alice", epoch, 99)])
    assert [entry.message for entry in newly] == [outgoing.id for outgoing in sent[1:]]


async def test_an_ack_of_another_epoch_does_nothing() -> None:
    await send(message(), "alice")
    ack = Ack("alice", "0" * 16, 1)
    assert await inbox.newly_acknowledged("acme", [ack]) == [[]]
    await inbox.acknowledge("acme", [ack])
    assert (await look()).acked == 0


async def test_an_inbox_that_is_not_there_is_lost_until_it_is_restored() -> None:
    with pytest.raises(Lost) as caught:
        await inbox.read("acme", [("alice", 0), ("bob", 0)], 10)
    assert caught.value.receivers == ("alice", "bob")
    outgoing = message()
    with pytest.raises(Lost):
        await inbox.append(outgoing, [recipient(outgoing, "alice")], "{}")
    await inbox_restore.restore(caught.value)
    assert (await look()).last == 0


async def test_an_emptied_redis_gives_a_new_epoch_with_what_waits_in_the_record() -> None:
    delivered, waiting = message(), [message(), message(mode="test")]
    record(delivered, "alice", Status.DELIVERED)
    for outgoing in waiting:
        record(outgoing, "alice")
    for outgoing in (delivered, *waiting):
        await send(outgoing, "alice")
    before = (await look()).epoch
    await redis.aclient("acme").flushall()
    fresh = message()
    await send(fresh, "alice")
    view = await look()
    assert view.epoch != before
    assert [entry.message for entry in view.entries] == [*(outgoing.id for outgoing in waiting), fresh.id]
    assert len(await inbox.frames("acme", [outgoing.id for outgoing in waiting])) == 2


async def test_an_older_redis_never_issues_an_offset_twice_under_one_epoch(stack: Stack) -> None:
    old = message()
    record(old, "alice")
    await send(old, "alice")
    client: Any = redis.aclient("acme")
    names = [inbox.stream_key("acme", "alice") + suffix for suffix in ("", ":meta")]
    snapshot = await client.hgetall(names[1])
    newer = message()
    record(newer, "alice")
    await send(newer, "alice")
    before = await look()
    await client.delete(*names)
    await client.xadd(names[0], {"x": "9" * 13, "m": old.id, "d": "dlv", "r": 1, "t": "live", "g": ""}, id="0-1")
    await client.hset(names[1], mapping=snapshot | {"run_id": "0" * 40})
    view = await look()
    assert view.epoch != before.epoch
    assert [entry.message for entry in view.entries] == [old.id, newer.id]


async def test_an_inbox_that_a_crash_left_half_restored_is_restored_again() -> None:
    waiting = [message(), message()]
    for outgoing in waiting:
        record(outgoing, "alice")
    one = recipient(waiting[0], "alice")
    await inbox.append(waiting[0], [one], frames.message_body(waiting[0]), restoring=True)
    assert [entry.message for entry in (await look()).entries] == [outgoing.id for outgoing in waiting]


async def test_appending_wakes_the_processes_that_hold_the_receivers_and_no_others() -> None:
    await look("alice")
    await look("bob")
    await holders.hold("acme", ["alice"], "prc_one")
    await holders.hold("acme", ["bob"], "prc_two")
    await holders.release("acme", ["bob"], "prc_two")
    client: Any = redis.aclient("acme")
    async with client.pubsub() as pubsub:
        await pubsub.psubscribe(f"{inbox.WAKE}*")
        await pubsub.get_message(timeout=5)
        outgoing = message()
        await send(outgoing, "alice", "bob")
        heard = await pubsub.get_message(timeout=5)
        assert heard is not None
        assert heard["channel"] == f"{inbox.WAKE}prc_one"
        (view,) = await inbox.read("acme", [("alice", 0)], 1)
        assert json.loads(heard["data"]) == {
            "tenant": "acme",
            "grown": ["alice", view.epoch, "1", ""],
            "id": outgoing.id,
            "frame": frames.message_body(outgoing),
            "expires": str(int(outgoing.expires_at.timestamp() * 1000)),
            "excluded": "",
        }
        assert await pubsub.get_message(timeout=0.1) is None


async def test_a_wake_up_carries_no_long_message_and_none_that_is_put_back() -> None:
    await look("alice")
    await holders.hold("acme", ["alice"], "prc_one")
    client: Any = redis.aclient("acme")
    async with client.pubsub() as pubsub:
        await pubsub.subscribe(f"{inbox.WAKE}prc_one")
        await pubsub.get_message(timeout=5)
        long, back = message(title="x" * 20_000), message()
        await send(long, "alice")
        await inbox.append(back, [recipient(back, "alice")], frames.message_body(back), restoring=True)
        heard = [json.loads((await pubsub.get_message(timeout=5))["data"]) for _ in range(2)]
        (view,) = await inbox.read("acme", [("alice", 0)], 1)
        assert heard == [{"tenant": "acme", "grown": ["alice", view.epoch, offset, ""]} for offset in ("1", "2")]


async def test_whoever_held_a_receiver_before_its_inbox_was_there_is_woken() -> None:
    waiting = message()
    record(waiting, "bob")
    await holders.hold("acme", ["alice", "bob"], "prc_one")
    client: Any = redis.aclient("acme")
    async with client.pubsub() as pubsub:
        await pubsub.subscribe(f"{inbox.WAKE}prc_one")
        await pubsub.get_message(timeout=5)
        for receiver in ("alice", "bob"):
            await send(message(), receiver)
        heard = [json.loads((await pubsub.get_message(timeout=5))["data"])["grown"] for _ in range(3)]
    assert [(receiver, offset) for receiver, _, offset, _ in heard] == [("alice", "1"), ("bob", "1"), ("bob", "2")]


async def test_an_inbox_that_does_not_say_who_holds_its_receiver_is_looked_up() -> None:
    await look("alice")
    await holders.hold("acme", ["alice"], "prc_one")
    client: Any = redis.aclient("acme")
    assert await client.hdel(f"{inbox.stream_key('acme', 'alice')}:meta", "held") == 1
    async with client.pubsub() as pubsub:
        await pubsub.subscribe(f"{inbox.WAKE}prc_one")
        await pubsub.get_message(timeout=5)
        await send(message(), "alice")
        assert (await pubsub.get_message(timeout=5))["type"] == "message"


async def test_the_append_only_file_has_what_is_to_be_reported_and_nothing_of_an_inbox(
    stack: Stack, settings: Settings
) -> None:
    settings.INBOX_LENGTH = 1
    receiver, outgoing, newer = new_id("rcv"), message(), message()
    for each in (outgoing, newer):
        await send(each, receiver)
    await holders.hold("acme", [receiver], "prc_one")
    await inbox.acknowledge("acme", [Ack(receiver, (await look(receiver)).epoch, 2)])
    await send(message(), receiver)
    folder = stack.redis[redis.shard_of("acme")].data / "appendonlydir"
    await redis.aclient("acme").set("marker", receiver)

    def logged(text: str) -> bool:
        return any(f"\r\n{text}\r\n".encode() in file.read_bytes() for file in folder.glob("*.aof"))

    await asyncio.to_thread(wait_for, lambda: logged(f"marker\r\n${len(receiver)}\r\n{receiver}"), what="the marker")
    stream = inbox.stream_key("acme", receiver)
    assert logged(redis.key("acme", "payload", outgoing.id))
    assert logged(f"{recipient(outgoing, receiver).delivery}:1")
    assert logged(f"{stream}:holders")
    assert not logged(stream)
    assert not logged(f"{stream}:meta")
