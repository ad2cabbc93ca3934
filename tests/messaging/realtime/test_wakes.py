"""Wake-ups that carry the message, and what is read from the inbox all the same."""

import asyncio
import json
import time
from typing import Any

import pytest
from websockets.frames import Frame as Parsed
from websockets.frames import Opcode
from websockets.streams import StreamReader

from messaging import holders, inbox
from messaging.realtime import wakes
from messaging.realtime.connection import Start
from messaging.realtime.message_frames import Frame, Frames
from sprayer_project import redis
from tests.live import LiveSystem, wait_for
from tests.messaging.inboxes import message, send
from tests.messaging.realtime.clients import Raw, client, http
from tests.messaging.realtime.followers import Follower
from tests.messaging.realtime.test_hostile import MIB, cut_for_being_slow, token

HOUR = 3_600_000


class Following(Follower):
    """Takes everything at once."""

    def __init__(self) -> None:
        super().__init__("acme", "alice", window=100)
        self.place(Start("e1", 4, True))
        self.got: list[int] = []

    def deliver_now(self, offset: int, frame: Frame) -> bool:
        self.got.append(offset)
        return True

    def too_slow(self) -> None:
        """Nobody waits for it here."""


async def test_what_comes_next_is_given_at_once_and_what_was_had_is_not_given_again() -> None:
    member, frame = Following(), Frame("x")
    assert [member.give("e1", offset, "", frame) for offset in (5, 6, 5, 6, 7)] == [True] * 5
    assert member.got == [5, 6, 7]


async def test_a_gap_and_another_epoch_are_left_to_the_inbox() -> None:
    member, frame = Following(), Frame("x")
    assert not member.give("e1", 6, "", frame)
    assert not member.give("e2", 5, "", frame)
    assert (member.got, member.position.offset) == ([], 4)


async def test_a_connection_that_is_excluded_has_the_message_behind_it() -> None:
    member, frame = Following(), Frame("x")
    assert member.give("e1", 5, member.id, frame)
    assert member.give("e1", 6, "", frame)
    assert member.got == [6]


async def test_nothing_is_given_beyond_the_window() -> None:
    member, frame = Following(), Frame("x" * 60)
    assert [member.give("e1", offset, "", frame) for offset in (5, 6, 7)] == [True, True, False]
    member.acknowledged(5)
    assert member.give("e1", 7, "", frame)
    assert member.got == [5, 6, 7]
    member.over()


async def test_a_transport_that_has_to_wait_is_left_to_the_inbox() -> None:
    member = Follower("acme", "alice")
    member.place(Start("e1", 4, True))
    assert not member.give("e1", 5, "", Frame("x"))
    assert member.position.offset == 4


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_the_bytes_of_a_frame_are_what_a_websocket_library_reads(size: int) -> None:
    text = "é" * (size // 2) + "x" * (size % 2)
    reader = StreamReader()
    reader.feed_data(Frame(text).wire)
    parsing = Parsed.parse(reader.read_exact, mask=False)
    with pytest.raises(StopIteration) as parsed:
        next(parsing)
    found = parsed.value.value
    assert (found.opcode, found.fin, found.data.decode()) == (Opcode.TEXT, True, text)
    reader.feed_eof()
    assert next(reader.at_eof(), None) is None


def test_a_frame_is_made_once_for_all_at_one_offset() -> None:
    frames = Frames({"msg_1": '{"id":"msg_1"}'})
    assert frames.get("msg_1", 7, "news") is frames.get("msg_1", 7, "news")
    assert frames.get("msg_1", 7, "news").text == '{"type":"message","offset":"7","group":"news","id":"msg_1"}'
    assert frames.get("msg_1", 8, None).text == '{"type":"message","offset":"8","id":"msg_1"}'


def test_an_expired_message_is_no_news() -> None:
    said = {"tenant": "acme", "grown": ["alice", "e1", "1", ""], "id": "msg_1", "frame": "{}", "excluded": ""}
    assert wakes.decode(json.dumps(said | {"expires": str(inbox.now() + HOUR)})).news
    wake = wakes.decode(json.dumps(said | {"expires": str(inbox.now() - 1)}))
    assert (wake.news, wake.receivers) == (None, ("alice",))


async def say(epoch: str, offset: int, title: str) -> None:
    """A wake-up for alice to every process that holds her."""
    client: Any = redis.aclient("acme")
    said = {"tenant": "acme", "grown": ["alice", epoch, str(offset), ""], "id": f"msg_{title}", "excluded": ""}
    body = json.dumps({"id": f"msg_{title}", "content": {"title": title}})
    wake = json.dumps(said | {"frame": body, "expires": str(inbox.now() + HOUR)})
    for process in await asyncio.to_thread(wait_for, lambda: holders.holders_of("acme", "alice"), what="the holder"):
        await client.publish(inbox.WAKE + process, wake)


@pytest.mark.services
async def test_the_message_in_a_wake_up_is_given_without_reading_the_inbox(web: LiveSystem) -> None:
    async with client(web) as alice, http(web) as poller:
        epoch = (await alice.hear("welcome"))["epoch"]
        polled = asyncio.create_task(poller.poll(wait=10))
        await asyncio.to_thread(wait_for, lambda: holders.holders_of("acme", "alice"), what="the holder")
        await say(epoch, 1, "first")
        frame = await alice.hear("message")
        assert (frame["offset"], frame["content"]) == ("1", {"title": "first"})
        outgoing = message()
        await send(outgoing, "alice")
        assert (await polled)["messages"]


@pytest.mark.services
async def test_a_wake_up_behind_a_gap_or_of_another_epoch_has_the_inbox_read(web: LiveSystem) -> None:
    async with client(web) as alice:
        epoch = (await alice.hear("welcome"))["epoch"]
        await say("0123456789abcdef", 1, "elsewhere")
        await say(epoch, 3, "behind a gap")
        outgoing = message()
        await send(outgoing, "alice")
        frame = await alice.hear("message")
        assert (frame["id"], frame["offset"]) == (outgoing.id, "1")


@pytest.mark.services
async def test_a_message_comes_after_the_one_whose_wake_up_was_lost(web: LiveSystem) -> None:
    async with client(web) as alice:
        await alice.hear("welcome")
        await asyncio.to_thread(wait_for, lambda: holders.holders_of("acme", "alice"), what="the holder")
        key, store = f"{inbox.stream_key('acme', 'alice')}:holders", redis.aclient("acme")
        await store.rename(key, f"{key}:aside")
        unheard, heard = message(), message()
        await send(unheard, "alice")
        await store.rename(f"{key}:aside", key)
        await send(heard, "alice")
        assert [(await alice.hear("message"))["id"] for _ in range(2)] == [unheard.id, heard.id]


@pytest.mark.services
async def test_what_is_carried_and_what_is_read_come_in_one_order(web: LiveSystem) -> None:
    sent = [message(title="x" * (17_000 if number % 3 == 0 else 10)) for number in range(60)]

    async def send_all() -> None:
        for outgoing in sent:
            await send(outgoing, "alice")

    async with client(web) as alice:
        await alice.hear("welcome")
        sending = asyncio.create_task(send_all())
        heard = []
        for _ in sent:
            heard.append(await alice.hear("message"))
            if len(heard) % 3 == 0:
                await alice.say("ack", offset=heard[-1]["offset"])
        await sending
    assert [frame["id"] for frame in heard] == [outgoing.id for outgoing in sent]
    assert [frame["offset"] for frame in heard] == [str(number + 1) for number in range(60)]


@pytest.mark.services
async def test_a_socket_that_does_not_read_what_wake_ups_bring_is_cut(web: LiveSystem) -> None:
    (process,) = web.start("web", env={"SPRAYER_REALTIME_WINDOW": "100000000", "SPRAYER_REALTIME_SLOW": "0.5"})
    before, deadline = process.resident, time.monotonic() + 30
    with Raw.websocket(web, token(), process.name) as raw:
        await asyncio.to_thread(wait_for, lambda: holders.holders_of("acme", "alice"), what="the holder")
        while not cut_for_being_slow(process):
            assert time.monotonic() < deadline
            await send(message(title="x" * 16_000), "alice")
        assert await asyncio.to_thread(raw.read_to_the_end) < 20 * MIB
    assert process.resident - before < 20 * MIB
