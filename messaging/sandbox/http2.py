"""A small HTTP/2 server (RFC 9113) whose handler also decides about the connection: reset it, or tell it to go away."""

import asyncio
import struct
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, Event, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import H2Error
from h2.settings import SettingCodes

_MAX_BODY = 64 * 1024
_BIG_WINDOW = 2**24
_STREAMS = 1_000


@dataclass(slots=True, eq=False)
class Exchange:
    """One request, and where its answer goes."""

    session: "Session"
    stream: int
    method: str
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytearray = field(default_factory=bytearray)
    task: asyncio.Task[None] | None = None

    def answer(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        self.session.answer(self.stream, status, headers, body)


Handler = Callable[[Exchange], Awaitable[None]]


class Session(asyncio.Protocol):
    """One connection; sessions holds those that are open."""

    def __init__(self, handler: Handler, sessions: set["Session"], number: int):
        self._handler, self._sessions, self.number = handler, sessions, number
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self._exchanges: dict[int, Exchange] = {}
        self._transport: asyncio.Transport | None = None
        self._flushing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._sessions.add(self)
        self._h2.local_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = _STREAMS
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(_BIG_WINDOW)
        self._flush()

    def data_received(self, data: bytes) -> None:
        try:
            for event in self._h2.receive_data(data):
                self._handle(event)
        except H2Error:
            self._flush()
            self.abort()
        self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._sessions.discard(self)
        for exchange in self._exchanges.values():
            if exchange.task:
                exchange.task.cancel()
        self._exchanges.clear()

    def answer(self, stream: int, status: int, headers: Mapping[str, str], body: bytes) -> None:
        if self._transport and stream in self._exchanges:
            with suppress(H2Error):  # the caller has gone
                self._h2.send_headers(stream, [(":status", str(status)), *headers.items()], end_stream=not body)
                if body:
                    self._h2.send_data(stream, body, end_stream=True)
            self._flush_soon()

    def go_away(self) -> None:
        """NO_ERROR: every request so far is still answered (6.8). h2 would call the connection dead at once."""
        self._flush()
        if self._transport:
            frame_header = (8).to_bytes(3, "big") + struct.pack("!BBI", 7, 0, 0)
            self._transport.write(frame_header + struct.pack("!II", self._h2.highest_inbound_stream_id, 0))

    def abort(self) -> None:
        if self._transport:
            self._transport.abort()

    def _handle(self, event: Event) -> None:
        stream = getattr(event, "stream_id", 0) or 0
        if isinstance(event, RequestReceived):
            headers = {str(name): str(value) for name, value in event.headers or ()}
            method, path = headers.get(":method", ""), headers.get(":path", "")
            self._exchanges[stream] = Exchange(self, stream, method, path, headers)
            return
        exchange = self._exchanges.get(stream)
        if isinstance(event, DataReceived):
            self._h2.acknowledge_received_data(event.flow_controlled_length or 0, stream)
            if exchange and len(exchange.body) < _MAX_BODY:
                exchange.body += event.data or b""
        elif isinstance(event, StreamEnded) and exchange:
            exchange.task = asyncio.create_task(self._run(exchange))
        elif isinstance(event, StreamReset) and exchange and exchange.task:
            exchange.task.cancel()
        elif isinstance(event, ConnectionTerminated):
            self.abort()

    async def _run(self, exchange: Exchange) -> None:
        try:
            await self._handler(exchange)
        finally:
            self._exchanges.pop(exchange.stream, None)

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._transport and (data := self._h2.data_to_send()):
            self._transport.write(data)
