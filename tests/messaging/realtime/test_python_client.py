"""The Python client for receivers, in front of real web processes and of a server that does what a test says."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import sprayer_receiver
from sprayer_receiver import Message, Receiver, Stopped

from feedback import selectors as feedback
from feedback.events import Status
from messaging.realtime import tokens
from tests.gate import Gate, gate
from tests.live import LiveSystem, wait_for
from tests.messaging.inboxes import message, recipient, send
from tests.scripted import Socket, scripted

pytestmark = pytest.mark.services
LIMIT = 30.0


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BACKOFF", "RESTART", "LINGER"):
        monkeypatch.setattr(sprayer_receiver, name, 0.02)


@pytest.fixture
def network(web: LiveSystem) -> Iterator[Gate]:
    with gate(str(web["web"].url)) as opened:
        yield opened


async def token() -> str:
    return tokens.issue("acme", "alice", 600)[0]


async def take(inbox: Receiver, count: int) -> list[Message]:
    async with asyncio.timeout(LIMIT):
        return [await anext(inbox) for _ in range(count)]


def bodies(messages: list[Message]) -> list[Any]:
    return [found.content["body"] for found in messages]


async def test_a_client_goes_on_at_another_process_with_every_message_once_and_in_order(
    web: LiveSystem, network: Gate
) -> None:
    (other,) = web.start("web")
    sent = [message(title=str(number)) for number in range(8)]
    async with Receiver(network.url, token, proxy=None) as inbox:
        for outgoing in sent[:3]:
            await send(outgoing, "alice")
        first = await take(inbox, 3)
        await asyncio.to_thread(network.cut)
        for outgoing in sent[3:]:
            await send(outgoing, "alice")
        network.upstream = str(other.url)
        network.mend()
        messages = first + await take(inbox, 5)
        assert [found.id for found in messages] == [outgoing.id for outgoing in sent]
        await inbox.read(messages[-1])
    delivered = [recipient(outgoing, "alice").delivery for outgoing in sent]

    def states() -> list[Status]:
        rows = feedback.states("acme", delivered)
        return [rows[delivery].status for delivery in delivered if delivery in rows]

    expected = [Status.DELIVERED] * 7 + [Status.READ]
    await asyncio.to_thread(wait_for, lambda: states() == expected, what="delivered and read in the record")


async def test_a_position_that_was_kept_is_where_another_client_goes_on(web: LiveSystem) -> None:
    sent = [message() for _ in range(3)]
    for outgoing in sent:
        await send(outgoing, "alice")
    url = str(web["web"].url)
    async with Receiver(url, token, acknowledge=False, proxy=None) as inbox:
        first, *_ = await take(inbox, 3)
        await inbox.ack(first)
        kept = inbox.position
    async with Receiver(url, token, position=kept, proxy=None) as inbox:
        assert [found.id for found in await take(inbox, 2)] == [outgoing.id for outgoing in sent[1:]]


async def test_what_comes_again_is_handed_out_once_and_a_gap_is_told() -> None:
    heard: list[Any] = []

    def first(socket: Socket) -> None:
        socket.welcome()
        for offset, body in (("9", "a"), ("10", "b"), ("9", "a")):
            socket.message(offset, body)
        socket.hear_ack("10")
        socket.end(4012)

    def second(socket: Socket) -> None:
        heard.append(socket.hear("resume"))
        socket.welcome(offset="12")  # what another client has acknowledged: the resume was heard late
        socket.message("13", "d")
        socket.welcome(offset="10")
        socket.message("11", "c")
        socket.welcome(epoch="e2", offset="0", recovered=False)
        for offset, body in (("1", "c"), ("2", "d")):
            socket.message(offset, body)
        socket.hear_ack("2")
        heard.append("the last ack")
        socket.stay()

    with scripted(first, second) as server:
        async with Receiver(server.url, "token", proxy=None, on_gap=lambda: heard.append("gap")) as inbox:
            messages = await take(inbox, 4)
            waiting = asyncio.create_task(anext(inbox))
            await asyncio.to_thread(wait_for, lambda: "the last ack" in heard, what="the last ack")
            waiting.cancel()
            with suppress(asyncio.CancelledError):
                await waiting
    assert bodies(messages) == ["a", "b", "c", "d"]
    assert heard == [{"type": "resume", "epoch": "e1", "offset": "10"}, "gap", "the last ack"]


async def test_a_refused_token_is_replaced_and_a_replaced_client_stops() -> None:
    asked = []

    async def another() -> str:
        asked.append("token")
        return "token"

    def refusing(socket: Socket) -> None:
        socket.end(4001)

    def replacing(socket: Socket) -> None:
        socket.welcome()
        socket.end(4009)

    with scripted(refusing, refusing, replacing) as server:
        async with Receiver(server.url, another, proxy=None) as inbox:
            with pytest.raises(Stopped, match="4009"):
                await take(inbox, 1)
    assert len(asked) == 3
    with scripted(refusing) as server:
        async with Receiver(server.url, "the only one", proxy=None) as inbox:
            with pytest.raises(Stopped, match="4001"):
                await take(inbox, 1)
