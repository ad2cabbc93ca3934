"""A live feed as server-sent events: `welcome` first, then each event as the data of one.

https://html.spec.whatwg.org/multipage/server-sent-events.html. An event's id tells how far the client came in every
tail of the feed, so that one that connects again goes on there, or is told that something may be missing.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson
import structlog
from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.db import close_old_connections
from django.http import HttpRequest, StreamingHttpResponse

from sprayer_project import flow, following
from sprayer_project.errors import STORE_ERRORS, Invalid, SprayerError, StoreUnavailable
from sprayer_project.following import Moved, News, Position, Reader
from sprayer_project.tail import Tail

log = structlog.get_logger(__name__)

_RETRY = 1000
"""Milliseconds after which a browser connects again."""
_LOOK = 1.0
"""Seconds between two looks at whether the client may still read."""

Shown = Callable[[Mapping[str, Any]], bool]
Allowed = Callable[[], object]
"""Blocks. Raises a SprayerError for who may no more."""


class NotHere(SprayerError):
    """501: this server process cannot keep a connection open for long."""

    status = 501

    def __init__(self) -> None:
        super().__init__("not_here", "Event streams are served by run_web: this process answers other requests.")


@dataclass(frozen=True, slots=True)
class Source:
    """A tail, and which of its events are shown."""

    tail: Tail
    shown: Shown


def respond(
    request: HttpRequest, tenant: str, sources: Sequence[Source], last: str, allowed: Allowed
) -> StreamingHttpResponse:
    """The stream. last: the id of the last event that the client has, or nothing. allowed raises when it may no more.

    Raises NotHere, Invalid for an id that is none, Limited, Restarting.
    """
    if not isinstance(request, ASGIRequest):
        raise NotHere
    since = _positions(last, len(sources))
    async_to_sync(_check)(tenant)
    body = _stream(Reader(tenant, flow.watch(request.scope)), sources, since, allowed)
    response = StreamingHttpResponse(body, content_type="text/event-stream; charset=utf-8")
    response["Cache-Control"] = "no-cache, no-store"
    response["X-Accel-Buffering"] = "no"
    return response


async def _check(tenant: str) -> None:
    """On the event loop, before the answer begins. Who comes at once with others may still be refused after that."""
    following.current().check(tenant)


async def _stream(
    reader: Reader, sources: Sequence[Source], since: Sequence[Position | None], allowed: Allowed
) -> AsyncIterator[bytes]:
    hub = following.current()
    try:
        hub.admit(reader)
        feed = _Feed(sources)
        whole = [await feed.begin(hub, reader, source, at) for source, at in zip(sources, since, strict=True)]
        yield f"retry: {_RETRY}\n\n".encode() + feed.welcome(all(whole))
        async for chunk in _chunks(reader, feed, allowed):
            yield chunk
    except (SprayerError, *STORE_ERRORS) as error:
        known = error if isinstance(error, SprayerError) else StoreUnavailable("Redis")
        yield _frame({"type": "error", "code": known.code, "detail": known.detail})
    finally:
        hub.leave(reader)


async def _chunks(reader: Reader, feed: "_Feed", allowed: Allowed) -> AsyncIterator[bytes]:
    """Until the client may no more, or is too slow; comments tell both ends that the connection still stands."""
    clock = asyncio.get_running_loop().time
    look_at = clock() + _LOOK
    spoken_at = ready_at = clock()
    while True:
        items = await reader.take(_LOOK)
        if items or not reader.client.paused:
            ready_at = clock()
        elif clock() - ready_at > settings.REALTIME_SLOW:
            reader.cut()
        if chunk := b"".join(feed.tell(item) for item in items):
            yield chunk
            spoken_at = clock()
        if reader.ended is not None:
            raise reader.ended
        if clock() >= look_at:
            await sync_to_async(_ask)(allowed)
            look_at = clock() + _LOOK
        if clock() - spoken_at >= settings.REALTIME_PING:
            yield b":\n\n"
            spoken_at = clock()


def _ask(allowed: Allowed) -> None:
    """A stream keeps no database connection for itself."""
    try:
        allowed()
    finally:
        close_old_connections()


class _Feed:
    """How far one client came, and what it is told."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._shown = {source.tail: source.shown for source in sources}
        self._at: dict[Tail, Position] = {}

    async def begin(self, hub: following.Following, reader: Reader, source: Source, since: Position | None) -> bool:
        """Whether nothing is missing."""
        self._at[source.tail], whole = await hub.follow(reader, source.tail, since)
        return whole

    def welcome(self, recovered: bool) -> bytes:
        return self._id() + _frame({"type": "welcome", "recovered": recovered})

    def tell(self, item: News | Moved) -> bytes:
        """What the client is sent of an item, nothing where it has it already."""
        if isinstance(item, Moved):
            self._at[item.tail] = item.position
            return self.welcome(False)
        at = self._at[item.tail]
        if item.epoch != at.epoch or item.entry.offset <= at.offset:
            return b""
        skipped = at.events if item.entry.offset == at.offset + 1 else 0
        told, shown = b"", self._shown[item.tail]
        for number, text in enumerate(item.entry.events[skipped:], skipped + 1):
            self._at[item.tail] = Position(at.epoch, item.entry.offset - 1, number)
            if shown(_decoded(text)):
                told += self._id() + f"data: {text}\n\n".encode()
        self._at[item.tail] = Position(at.epoch, item.entry.offset)
        return told

    def _id(self) -> bytes:
        return f"id: {'_'.join(str(position) for position in self._at.values())}\n".encode()


def _positions(last: str, count: int) -> list[Position | None]:
    if not last:
        return [None] * count
    try:
        found: list[Position | None] = [Position.parse(part) for part in last.split("_")]
    except ValueError:
        found = []
    if len(found) != count:
        raise Invalid("bad_event_id", "Last-Event-ID is not one of this stream: leave it out.", "")
    return found


def _frame(body: Mapping[str, Any]) -> bytes:
    return b"data: %s\n\n" % orjson.dumps(body)


@lru_cache(4096)
def _decoded(text: str) -> Mapping[str, Any]:
    """Each event once, however many look."""
    found: Mapping[str, Any] = orjson.loads(text)
    return found
