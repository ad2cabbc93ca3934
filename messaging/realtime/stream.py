"""Server-sent events: the frames of the WebSocket, each the data of one event.

https://html.spec.whatwg.org/multipage/server-sent-events.html. An event's id carries epoch and offset, so that a
browser that connects again by itself goes on where it was.
"""

import asyncio

import structlog
from django.conf import settings

from messaging.realtime import access, frames, http, hub
from messaging.realtime.connection import Connection, Start, start_of
from messaging.realtime.http import Call
from messaging.realtime.message_frames import Frame
from messaging.realtime.refusals import Expired, Refused, Unavailable
from sprayer_project import flow
from sprayer_project.errors import STORE_ERRORS, Invalid

log = structlog.get_logger(__name__)

_RETRY = 1000
"""Milliseconds after which a browser connects again."""
_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache, no-store",
    "X-Accel-Buffering": "no",
}


class Stream(Connection):
    """An event stream among the hub's connections; `ended` holds why it ends."""

    transport = "sse"

    def __init__(self, call: Call):
        super().__init__(call.claims.tenant, call.claims.receiver, flow=flow.watch(call.scope))
        self.ended: asyncio.Future[Refused | None] = asyncio.get_running_loop().create_future()
        self._call = call

    @property
    def ready(self) -> bool:
        return super().ready and not self.ended.done()

    async def deliver(self, offset: int, frame: Frame) -> None:
        await self._write(offset, frame.text)

    async def moved(self, start: Start) -> None:
        self.place(start)
        await self._write(start.offset, frames.welcome(self.receiver, self.id, start))

    async def expel(self, reason: Refused) -> None:
        self.end(reason)

    def too_slow(self) -> None:
        log.info("stream cut", code="too_slow", tenant=self.tenant)
        self.flow.abort()
        self.end(None)

    def end(self, reason: Refused | None) -> None:
        if not self.ended.done():
            self.ended.set_result(reason)

    async def _write(self, offset: int, text: str) -> None:
        await self._call.write(f"id: {self.position.epoch}.{offset}\ndata: {text}\n\n")


async def stream(call: Call) -> None:
    epoch, offset = _resume_point(call)
    member = Stream(call)
    hub.current().admit(member)
    gone = asyncio.create_task(call.gone())
    gone.add_done_callback(lambda task: member.end(None))
    try:
        view = await hub.current().look(member.tenant, member.receiver)
        await call.start(200, _HEADERS)
        await call.write(f"retry: {_RETRY}\n\n")
        await member.moved(start_of(view, epoch, offset))
        await hub.current().add(member)
        await _run(call, member)
    except Refused as reason:
        member.end(reason)
    except STORE_ERRORS as error:
        if not call.started:
            raise
        log.warning("stream refused: waiting for a store", error=type(error).__name__)
        member.end(Unavailable())
    finally:
        gone.cancel()
        hub.current().remove(member)
    if ending := member.ended.result():
        await call.write(f"data: {frames.encode('error', code=ending.code, detail=ending.detail)}\n\n")
        await call.write("", end=True)


async def _run(call: Call, member: Stream) -> None:
    """Until the stream is over; comments tell both ends that the connection still stands."""
    while not member.ended.done():
        if call.claims.left <= 0:
            member.end(Expired())
            return
        pause = min(settings.REALTIME_PING, call.claims.left)
        await asyncio.wait((member.ended,), timeout=pause)
        if not member.ended.done():
            await call.write(":\n\n")


def _resume_point(call: Call) -> tuple[str | None, int | None]:
    """Last-Event-ID, or epoch and offset of the query: a browser's first request has no such header."""
    last = access.header(call.scope, b"last-event-id")
    if not last:
        return http.resume_point(call)
    epoch, _, offset = last.partition(".")
    found = frames.parse_offset(offset)
    if found is None:
        raise Invalid("bad_event_id", "Last-Event-ID is not one of this stream: leave it out.", "")
    return epoch, found
