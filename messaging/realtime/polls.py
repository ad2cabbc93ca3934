"""Requests that are answered once: long poll, acknowledgements, history."""

import asyncio
from functools import partial

from messaging import inbox, inbox_restore
from messaging.realtime import acks, frames, http, hub
from messaging.realtime.connection import Connection, Start, start_of
from messaging.realtime.http import Call
from messaging.realtime.message_frames import Frame, Frames
from messaging.realtime.refusals import Refused, Restarting

MAX_WAIT, DEFAULT_WAIT = 60, 30
MAX_LIMIT, DEFAULT_LIMIT = 200, 50
_ANSWER = 1_048_576
"""Bytes after which an answer gets no more messages."""


class Poll(Connection):
    """A long poll among the hub's connections: done as soon as there is something to answer."""

    transport = "poll"

    def __init__(self, tenant: str, receiver: str):
        super().__init__(tenant, receiver, _ANSWER)
        self.messages: list[str] = []
        self.recovered = True
        self.done = asyncio.Event()

    def deliver_now(self, offset: int, frame: Frame) -> bool:
        self.messages.append(frame.text)
        self.done.set()
        return True

    async def moved(self, start: Start) -> None:
        self.place(start)
        self.recovered = start.recovered
        self.done.set()

    async def expel(self, reason: Refused) -> None:
        self.done.set()

    def too_slow(self) -> None:
        """An answer that is full is on its way."""


async def poll(call: Call) -> None:
    """The messages after an offset, at once or when the first arrives."""
    tenant, receiver = call.claims.tenant, call.claims.receiver
    epoch, offset = http.resume_point(call)
    wait = http.number(call, "wait", DEFAULT_WAIT, MAX_WAIT)
    member = Poll(tenant, receiver)
    member.id = call.query.get("connection", member.id)
    hub.current().admit(member)
    try:
        view = await hub.current().look(tenant, receiver)
        start = start_of(view, epoch, offset)
        if epoch == view.epoch and offset:
            acks.current().add(tenant, receiver, epoch, min(offset, view.last))
        member.place(start)
        if start.offset < view.last:
            await hub.current().read_once(member)
        member.recovered = member.recovered and start.recovered
        if member.recovered and not member.done.is_set() and wait:
            await _wait(call, member, min(wait, call.claims.left))
    finally:
        hub.current().remove(member)
    await call.answer(200, _answer(member))


async def _wait(call: Call, member: Poll, seconds: float) -> None:
    """Until there is something to answer, the time is over or the client has left."""
    gone = asyncio.create_task(call.gone())
    done = asyncio.create_task(member.done.wait())
    try:
        await hub.current().add(member)
        await asyncio.wait((gone, done), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    except Restarting:
        return
    finally:
        gone.cancel()
        done.cancel()


def _answer(member: Poll) -> str:
    head = {"epoch": member.position.epoch, "offset": str(member.position.offset), "recovered": member.recovered}
    return frames.with_messages(head, member.messages)


async def ack(call: Call) -> None:
    """Everything up to an offset has arrived. An ack of another epoch is void."""
    epoch, offset = await http.place(call)
    acks.current().add(call.claims.tenant, call.claims.receiver, epoch, offset)
    await call.answer(204)


async def read(call: Call) -> None:
    """The message at an offset was read by its receiver."""
    epoch, offset = await http.place(call)
    acks.current().read(call.claims.tenant, call.claims.receiver, epoch, offset)
    await call.answer(204)


async def history(call: Call) -> None:
    """What the inbox holds before an offset, newest first, acknowledged or not."""
    tenant, receiver = call.claims.tenant, call.claims.receiver
    before = http.offset_of(call, "before")
    limit = http.number(call, "limit", DEFAULT_LIMIT, MAX_LIMIT, 1)
    found = await inbox_restore.whole(partial(inbox.history, tenant, receiver, before, limit))
    bodies = await hub.current().bodies.get(tenant, {entry.message for entry in found.entries})
    messages = [frame.text for _, frame in Frames(bodies).of(found.entries)]
    head = {"epoch": found.epoch, "next_before": str(found.upto) if found.upto > 1 else None}
    await call.answer(200, frames.with_messages(head, messages))
