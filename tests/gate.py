"""The network between a browser and web processes: it can be cut, led elsewhere, and can refuse a transport."""

import asyncio
import re
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

_HEAD_LIMIT = 65_536
_REFUSAL = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Gate:
    """A proxy. upstream: the URL of the web process that new connections reach.

    refused: words that a request's head must not have; each request has a connection of its own, so that it is seen.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.refused: set[str] = set()
        self.url = ""
        self._open = True
        self._frozen: asyncio.Event
        self._connections: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop

    def cut(self) -> None:
        """Every connection ends, and no new one is made until mend()."""
        self._open = False
        self._call(self._drop())

    def mend(self) -> None:
        self._open = True

    def freeze(self) -> None:
        """The connections of now stay and carry nothing any more, in either direction."""
        self._call(self._freeze())

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _freeze(self) -> None:
        self._frozen.set()
        self._frozen = asyncio.Event()

    async def _drop(self) -> None:
        connections = [*self._connections]
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _serve(self, started: threading.Event, done: asyncio.Event) -> None:
        self._frozen = asyncio.Event()
        server = await asyncio.start_server(self._accepted, "127.0.0.1", 0, limit=_HEAD_LIMIT)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        started.set()
        await done.wait()
        server.close()
        await self._drop()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            if self._open:
                await self._carry(reader, writer)
            writer.close()
            await writer.wait_closed()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.transport.abort()  # either side has gone, or we cut
        finally:
            self._connections.discard(task)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if any(word.encode() in head for word in self.refused):
            writer.write(_REFUSAL)
            await writer.drain()
            return
        address = urlsplit(self.upstream)
        there, back = await asyncio.open_connection(address.hostname, address.port)
        try:
            back.write(re.sub(rb"\r\nConnection: keep-alive\r\n", b"\r\nConnection: close\r\n", head))
            frozen = self._frozen
            pumps = {asyncio.create_task(_pump(*ends, frozen)) for ends in ((reader, back), (there, writer))}
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            back.transport.abort()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, frozen: asyncio.Event) -> None:
    with suppress(OSError):
        while chunk := await source.read(65_536):
            if frozen.is_set():
                await asyncio.Event().wait()
            sink.write(chunk)
            await sink.drain()


@contextmanager
def gate(upstream: str) -> Iterator[Gate]:
    """One that stands, in a thread of its own."""
    opened, started, done = Gate(upstream), threading.Event(), asyncio.Event()

    async def run() -> None:
        opened._loop = asyncio.get_running_loop()
        await opened._serve(started, done)

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="gate")
    thread.start()
    assert started.wait(10)
    try:
        yield opened
    finally:
        opened._loop.call_soon_threadsafe(done.set)
        thread.join(10)
        assert not thread.is_alive()
