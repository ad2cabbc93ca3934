"""WebSocket clients of real web processes."""

import asyncio
import os
import signal

import pytest
from pytest_django import Settings
from websockets.exceptions import ConnectionClosed

from deploy.local.stack import Stack
from feedback import selectors as feedback
from feedback.events import Status
from messaging import inbox
from messaging.realtime import tokens
from sprayer_project import redis
from tests.live import LiveSystem, wait_for
from tests.messaging.inboxes import message, recipient, send
from tests.messaging.realtime.clients import LIMIT, client

pytestmark = pytest.mark.services


async def test_a_client_is_welcomed_and_gets_what_waits_and_what_comes(web: LiveSystem) -> None:
    waiting, coming = message(title="first"), message(title="second", mode="test")
    await send(waiting, "alice")
    async with client(web) as alice:
        welcome = await alice.hear("welcome")
        assert (welcome["receiver"], welcome["offset"], welcome["recovered"]) == ("alice", "0", True)
        first = await alice.hear("message")
        assert first == {
            "type": "message",
            "offset": "1",
            "id": waiting.id,
            "content": {"title": "first"},
            "sent_at": waiting.created_at.isoformat().replace("+00:00", "Z"),
        }
        await send(coming, "alice")
        second = await alice.hear("message")
        assert (second["id"], second["offset"], second["test"]) == (coming.id, "2", True)


async def test_a_large_message_arrives_and_those_after_it(web: LiveSystem) -> None:
    large, small = message(title="x" * 250_000), message()
    async with client(web) as alice, client(web, "bob") as bob:
        await alice.hear("welcome")
        await bob.hear("welcome")
        await send(large, "alice", "bob")
        frame = await alice.hear("message")
        assert frame["content"] == {"title": "x" * 250_000}
        await alice.say("ack", offset=frame["offset"])
        await send(small, "alice")
        assert (await alice.hear("message"))["id"] == small.id
        assert (await bob.hear("message"))["id"] == large.id


async def test_a_token_in_the_header_is_as_good(web: LiveSystem) -> None:
    async with client(web, query=False) as alice:
        assert (await alice.hear("welcome"))["receiver"] == "alice"


@pytest.mark.parametrize(("token", "code"), [("", "missing_token"), ("nonsense", "invalid_token")])
async def test_a_bad_token_is_told_and_closed_with_4001(web: LiveSystem, token: str, code: str) -> None:
    async with client(web, token=token) as stranger:
        assert (await stranger.hear("error"))["code"] == code
        assert await stranger.end() == 4001


async def test_a_socket_ends_with_its_token(web: LiveSystem) -> None:
    token, _ = tokens.issue("acme", "alice", 2)
    async with client(web, token=token) as alice:
        await alice.hear("welcome")
        assert (await alice.hear("error"))["code"] == "token_expired"
        assert await alice.end() == 4001


async def test_an_ack_moves_the_start_of_the_next_connection_and_is_reported_as_delivered(web: LiveSystem) -> None:
    sent = [message(), message()]
    for outgoing in sent:
        await send(outgoing, "alice")
    async with client(web) as alice:
        await alice.hear("welcome")
        first = await alice.hear("message")
        await alice.hear("message")
        await alice.say("ack", offset=first["offset"])
        delivery = recipient(sent[0], "alice").delivery
        rows = await asyncio.to_thread(
            wait_for, lambda: feedback.states("acme", [delivery]), what="the delivered event in the record"
        )
    row = rows[delivery]
    assert (row.status, row.message, row.receiver, row.channel) == (Status.DELIVERED, sent[0].id, "alice", "websocket")
    async with client(web) as again:
        assert (await again.hear("welcome"))["offset"] == first["offset"]
        assert (await again.hear("message"))["id"] == sent[1].id


async def test_a_read_is_reported_for_just_that_message(web: LiveSystem) -> None:
    sent = [message(), message()]
    for outgoing in sent:
        await send(outgoing, "alice")
    deliveries = [recipient(outgoing, "alice").delivery for outgoing in sent]
    async with client(web) as alice:
        await alice.hear("welcome")
        await alice.hear("message")
        second = await alice.hear("message")
        await alice.say("read", offset=second["offset"])
        rows = await asyncio.to_thread(
            wait_for, lambda: feedback.states("acme", deliveries), what="the read event in the record"
        )
    assert {name: row.status for name, row in rows.items()} == {deliveries[1]: Status.READ}


async def test_every_connection_of_a_receiver_gets_everything(web: LiveSystem) -> None:
    (other,) = web.start("web")
    async with client(web) as phone, client(web) as browser, client(web, web=other.name) as tablet:
        devices = (phone, browser, tablet)
        for device in devices:
            await device.hear("welcome")
        outgoing = message()
        await send(outgoing, "alice", "bob")
        assert [(await device.hear("message"))["id"] for device in devices] == [outgoing.id] * 3


async def test_a_client_resumes_from_its_own_offset_whatever_others_acknowledged(web: LiveSystem) -> None:
    sent = [message() for _ in range(3)]
    async with client(web) as phone, client(web) as browser:
        welcome = await phone.hear("welcome")
        await browser.hear("welcome")
        await send(sent[0], "alice")
        offset = (await phone.hear("message"))["offset"]
        await phone.socket.close()
        for outgoing in sent[1:]:
            await send(outgoing, "alice")
        for _ in sent:
            last = await browser.hear("message")
        await browser.say("ack", offset=last["offset"])
        await browser.say("ping")
        await browser.hear("pong")
    async with client(web) as phone:
        await phone.say("resume", epoch=welcome["epoch"], offset=offset)
        again = await phone.hear("welcome")
        assert again == welcome | {"offset": offset, "recovered": True, "connection": again["connection"]}
        assert again["connection"] != welcome["connection"]
        assert [(await phone.hear("message"))["id"] for _ in sent[1:]] == [outgoing.id for outgoing in sent[1:]]


async def test_a_resume_that_comes_late_is_honoured(web: LiveSystem) -> None:
    sent = [message(), message()]
    for outgoing in sent:
        await send(outgoing, "alice")
    async with client(web) as alice:
        epoch = (await alice.hear("welcome"))["epoch"]
        for _ in sent:
            await alice.hear("message")
        await alice.say("resume", epoch=epoch, offset="1")
        assert (await alice.hear("welcome"))["offset"] == "1"
        assert (await alice.hear("message"))["id"] == sent[1].id


async def test_another_epoch_is_not_recovered(web: LiveSystem) -> None:
    outgoing = message()
    await send(outgoing, "alice")
    async with client(web) as alice:
        await alice.say("resume", epoch="0123456789abcdef", offset="7")
        welcome = await alice.hear("welcome")
        assert (welcome["offset"], welcome["recovered"]) == ("0", False)
        assert (await alice.hear("message"))["id"] == outgoing.id


async def test_an_offset_below_the_floor_is_not_recovered(web: LiveSystem, settings: Settings) -> None:
    settings.INBOX_LENGTH = 2
    for _ in range(4):
        await send(message(), "alice")
    async with client(web) as alice:
        assert not (await alice.hear("welcome"))["recovered"]
        assert [(await alice.hear("message"))["offset"] for _ in range(2)] == ["3", "4"]


async def test_a_lost_wake_up_costs_time_only(web: LiveSystem) -> None:
    async with client(web) as alice:
        await alice.hear("welcome")
        await asyncio.to_thread(wait_for, lambda: redis.client("acme").keys("*:holders"), what="the registration")
        outgoing = message()
        await redis.aclient("acme").delete(f"{inbox.stream_key('acme', 'alice')}:holders")
        await send(outgoing, "alice")
        assert (await alice.hear("message"))["id"] == outgoing.id


async def test_a_client_stays_while_redis_is_away_and_hears_on_afterwards(web: LiveSystem, stack: Stack) -> None:
    async with client(web) as alice:
        epoch = (await alice.hear("welcome"))["epoch"]
        for server in stack.redis:
            await asyncio.to_thread(server.stop)
        await alice.say("ping")
        await alice.hear("pong")
        for server in stack.redis:
            await asyncio.to_thread(server.start)
        welcome = await alice.hear("welcome")
        assert welcome["epoch"] != epoch
        assert not welcome["recovered"]
        outgoing = message()
        await send(outgoing, "alice")
        assert (await alice.hear("message"))["id"] == outgoing.id


async def test_a_client_that_does_not_acknowledge_is_cut_at_its_window(web: LiveSystem) -> None:
    for _ in range(20):
        await send(message(title="x" * 5_000), "alice")
    received = 0
    async with client(web) as alice:
        await alice.hear("welcome")
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                received += len(await asyncio.wait_for(alice.socket.recv(), LIMIT))
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4008
    assert 20_000 <= received < 27_000


async def test_a_client_that_acknowledges_gets_more_than_a_window(web: LiveSystem) -> None:
    sent = [message(title="x" * 5_000) for _ in range(20)]
    for outgoing in sent:
        await send(outgoing, "alice")
    heard = []
    async with client(web) as alice:
        await alice.hear("welcome")
        for _ in sent:
            frame = await alice.hear("message")
            heard.append(frame["id"])
            await alice.say("ack", offset=frame["offset"])
    assert heard == [outgoing.id for outgoing in sent]


BAD_FRAMES: dict[str | bytes, str] = {
    "not json": "bad_frame",
    "[]": "bad_frame",
    '{"type": 7}': "bad_frame",
    b"\x00\x01": "bad_frame",
    '{"type": "dance"}': "unknown_type",
    '{"type": "ack"}': "bad_offset",
    '{"type": "ack", "offset": 7}': "bad_offset",
    '{"type": "ack", "offset": "-1"}': "bad_offset",
    '{"type": "read"}': "bad_offset",
    '{"type": "resume", "epoch": "", "offset": "1"}': "late_resume",
}


async def test_a_bad_frame_is_named_and_the_connection_goes_on(web: LiveSystem) -> None:
    async with client(web) as alice:
        await alice.hear("welcome")
        await alice.say("ping")
        await alice.hear("pong")
        for frame, code in BAD_FRAMES.items():
            await alice.socket.send(frame)
            assert (await alice.hear("error"))["code"] == code
        await alice.say("ping")
        await alice.hear("pong")


async def test_a_resume_that_cannot_be_read_is_named_and_the_default_start_taken(web: LiveSystem) -> None:
    async with client(web) as alice:
        await alice.say("resume", epoch=1, offset="1")
        assert (await alice.hear("error"))["code"] == "bad_epoch"
        assert (await alice.hear("welcome"))["offset"] == "0"


async def test_a_frame_that_is_too_long_ends_the_connection(web: LiveSystem) -> None:
    async with client(web) as alice:
        await alice.hear("welcome")
        await alice.socket.send("x" * 70_000)
        assert await alice.end() == 1009


async def test_sigterm_sends_clients_elsewhere_and_nothing_is_missed(web: LiveSystem) -> None:
    first, second = web.start("web", "web")
    async with client(web, web=first.name) as alice:
        welcome = await alice.hear("welcome")
        await send(message(), "alice")
        offset = (await alice.hear("message"))["offset"]
        os.kill(first.pid, signal.SIGTERM)
        assert (await alice.hear("error"))["code"] == "restarting"
        assert await alice.end() == 4012
    outgoing = message()
    await send(outgoing, "alice")
    async with client(web, web=second.name) as alice:
        await alice.say("resume", epoch=welcome["epoch"], offset=offset)
        assert (await alice.hear("welcome"))["recovered"]
        assert (await alice.hear("message"))["id"] == outgoing.id
