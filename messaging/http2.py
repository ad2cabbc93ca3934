"""An HTTP/2 client connection for many small requests at once (RFC 9113).

h2 keeps the protocol's state but calls a connection dead at its first GOAWAY, and HTTP clients built on it then lose
the answers that are still on their way. Here GOAWAY is read before h2 sees it: what the server has taken is finished,
what it has not (6.8) is known to be unsent.
"""

import asyncio
import ssl
import struct
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import cast
from urllib.parse import SplitResult

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import FrameTooLargeError, H2Error

_FRAME_HEADER, _GOAWAY = 9, 7
_BIG_WINDOW = 2**24


class ConnectionLost(Exception):
    """No answer will come. unknown: the server may have carried the request out."""

    def __init__(self, detail: str, unknown: bool):
        super().__init__(detail)
        self.unknown = unknown


@dataclass(slots=True)
class Reply:
    """An answer; header names are in lower case."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class Http2Connection(asyncio.Protocol):
    """One connection. Made by connect()."""

    def __init__(self, authority: str, scheme: str, streams: int):
        self._h2 = H2Connection(H2Configuration(header_encoding="utf-8", validate_inbound_headers=False))
        self._authority, self._scheme, self._streams = authority, scheme, streams
        self._open: dict[int, tuple[asyncio.Future[Reply], Reply]] = {}
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._received = bytearray()
        self._flushing = False
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = self._loop.create_future()
        """Done when the server has said how many streams it takes."""
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self.usable = True
        """False once no new request may go here: lost, or told to go away."""
        self.heard_at = self._loop.time()
        """The event loop's time of the last octet."""

    @property
    def idle(self) -> bool:
        return not self._open and not self._waiting

    async def request(self, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """POST body to path, when the server has room for it. Raises ConnectionLost."""
        while self.usable and not self._has_room(len(body)):
            waiter = self._loop.create_future()
            self._waiting.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                self._wake_one()
                raise
        if not self.usable:
            raise ConnectionLost("the connection has ended", unknown=False)
        answered: asyncio.Future[Reply] = self._loop.create_future()
        stream = self._begin(path, headers, body)
        self._open[stream] = answered, Reply()
        self._flush_soon()
        try:
            return await answered
        finally:
            self._finish(stream)

    def close(self) -> None:
        """End the connection and every request on it."""
        self._end(ConnectionLost("closed", unknown=True))

    async def aclose(self) -> None:
        """The same, and wait until the socket is closed."""
        transport = self._transport
        self.close()
        if transport:
            transport.abort()
            await self._gone

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._h2.local_settings.enable_push = 0
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(_BIG_WINDOW)
        self._flush()

    def data_received(self, data: bytes) -> None:
        self.heard_at = self._loop.time()
        self._received += data
        try:
            while len(self._received) >= _FRAME_HEADER:
                size = int.from_bytes(self._received[:3], "big")
                if size > self._h2.max_inbound_frame_size:
                    raise FrameTooLargeError(f"a frame of {size} octets")
                end = _FRAME_HEADER + size
                if len(self._received) < end:
                    break
                frame = bytes(self._received[:end])
                del self._received[:end]
                if frame[3] == _GOAWAY:
                    self._told_to_go(*struct.unpack_from("!II", frame, _FRAME_HEADER))
                    continue
                for event in self._h2.receive_data(frame):
                    self._handle(event)
        except (H2Error, struct.error) as error:
            self._end(ConnectionLost(f"not HTTP/2: {type(error).__name__}", unknown=True))
        self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        self._gone.set_result(None)
        self._end(ConnectionLost(type(error).__name__ if error else "closed by the server", unknown=True))

    def _begin(self, path: str, headers: Mapping[str, str], body: bytes) -> int:
        head = [(":method", "POST"), (":scheme", self._scheme), (":authority", self._authority), (":path", path)]
        try:
            stream = self._h2.get_next_available_stream_id()
            self._h2.send_headers(stream, [*head, *headers.items()])
            self._h2.send_data(stream, body, end_stream=True)
        except H2Error as error:  # out of stream numbers, or a server that takes no body of this size
            self.usable = False
            raise ConnectionLost(f"no stream: {type(error).__name__}", unknown=False) from error
        return stream

    def _has_room(self, size: int) -> bool:
        most = min(self._streams, self._h2.remote_settings.max_concurrent_streams)
        return len(self._open) < most and self._h2.outbound_flow_control_window >= size

    def _handle(self, event: Event) -> None:
        stream = getattr(event, "stream_id", 0) or 0
        answered, reply = self._open.get(stream, (None, None))
        if isinstance(event, RemoteSettingsChanged):
            if not self.ready.done():
                self.ready.set_result(None)
            self._wake_all()
        elif isinstance(event, WindowUpdated):
            self._wake_all()
        elif isinstance(event, DataReceived):
            self._h2.acknowledge_received_data(event.flow_controlled_length or 0, stream)
            if reply:
                reply.body += event.data or b""
        if answered is None or reply is None or answered.done():
            return
        if isinstance(event, ResponseReceived):
            reply.headers = {str(name): str(value) for name, value in event.headers or ()}
            reply.status = int(reply.headers.get(":status", 0))
        elif isinstance(event, StreamEnded):
            answered.set_result(reply)
        elif isinstance(event, StreamReset):
            unknown = event.error_code != ErrorCodes.REFUSED_STREAM
            answered.set_exception(ConnectionLost(f"stream reset: {event.error_code}", unknown=unknown))

    def _told_to_go(self, last: int, code: int) -> None:
        """RFC 9113, 6.8: streams above last were not and will not be processed, the others are still answered."""
        self.usable = False
        for stream, (answered, _) in list(self._open.items()):
            if stream > last & 0x7FFFFFFF and not answered.done():
                answered.set_exception(ConnectionLost(f"told to go away: {code}", unknown=False))
        self._wake_all()
        if not self._open:
            self._end(ConnectionLost("told to go away", unknown=False))

    def _finish(self, stream: int) -> None:
        """The caller has its answer, or does not want it any more."""
        del self._open[stream]
        held = self._h2.streams.get(stream)
        if self._transport and held is not None and not held.closed:
            self._h2.reset_stream(stream, ErrorCodes.CANCEL)
            self._flush_soon()
        if not self.usable and not self._open:
            self._end(ConnectionLost("finished", unknown=False))
        self._wake_one()

    def _end(self, error: ConnectionLost) -> None:
        self.usable = False
        if self._transport:
            self._transport.close()
            self._transport = None
        if not self.ready.done():
            self.ready.set_exception(error)
            self.ready.exception()  # nobody may be waiting for it any more
        for answered, _ in self._open.values():
            if not answered.done():
                answered.set_exception(error)
        self._wake_all()

    def _wake_one(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _wake_all(self) -> None:
        for _ in range(len(self._waiting)):
            self._wake_one()

    def _flush_soon(self) -> None:
        # Requests of one turn of the event loop leave in one TLS record.
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._transport and (data := self._h2.data_to_send()):
            self._transport.write(data)


async def connect(url: SplitResult, context: ssl.SSLContext, timeout: float, streams: int) -> Http2Connection:
    """A connection that is ready for requests, `streams` at a time. Raises OSError, TimeoutError, ConnectionLost."""
    loop, tls = asyncio.get_running_loop(), url.scheme == "https"
    port = url.port or (443 if tls else 80)
    authority = url.netloc.rpartition("@")[2]
    async with asyncio.timeout(timeout):
        _, made = await loop.create_connection(
            lambda: Http2Connection(authority, url.scheme, streams),
            url.hostname or "",
            port,
            ssl=context if tls else None,
        )
        try:
            await made.ready
        except BaseException:
            made.close()
            raise
    return made


@lru_cache(maxsize=4)
def tls_context(ca: str | None) -> ssl.SSLContext:
    """Verifies the server by the system's authorities, or by this one alone (PEM)."""
    context = ssl.create_default_context(cadata=ca)
    context.set_alpn_protocols(["h2"])
    return context
