"""A cheap HTTP/1.1 client for load: one prepared request again and again, many on one connection.

A connection stays with the worker process that accepted it. Were it kept for the whole time, the worker that woke first
would serve nearly all of them, and the others none.
"""

import asyncio
import time
from dataclasses import dataclass, field

ON_ONE_CONNECTION = 10
"""Requests."""


@dataclass(slots=True)
class Load:
    """answers counts by status line, as b"202"; closed counts connections that ended too early."""

    seconds: float = 0.0
    answers: dict[bytes, int] = field(default_factory=dict)
    closed: int = 0


class _Client(asyncio.Protocol):
    def __init__(self, request: bytes, until: float, load: Load):
        self._request, self._until, self._load = request, until, load
        self._got = b""
        self._left = ON_ONE_CONNECTION
        self._transport: asyncio.Transport | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._got += data
        end = self._got.find(b"\r\n\r\n")
        if end < 0 or len(self._got) < end + 4 + _length(self._got[:end]):
            return
        status = self._got[9:12]
        self._load.answers[status] = self._load.answers.get(status, 0) + 1
        self._got = b""
        assert self._transport is not None
        self._left -= 1
        if time.monotonic() < self._until and self._left:
            self._transport.write(self._request)
        else:
            self._finish()
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self._load.closed += 1
            self._finish()

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def run(host: str, port: int, request: bytes, clients: int, seconds: float) -> Load:
    """Every client waits for its answer before it sends again. Raises OSError when the server cannot be reached."""
    running, load, started = asyncio.get_running_loop(), Load(), time.monotonic()

    def protocol() -> _Client:
        return _Client(request, started + seconds, load)

    async def client() -> None:
        while not load.closed and time.monotonic() < started + seconds:
            transport, made = await running.create_connection(protocol, host, port)
            try:
                await made.done
            finally:
                transport.abort()

    await asyncio.gather(*(client() for _ in range(clients)))
    load.seconds = time.monotonic() - started
    return load


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line[15:])
    return 0
