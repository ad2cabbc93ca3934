"""Webhook hosts on loopback addresses of their own: some answer, some answer 500, some never do."""

import asyncio
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from types import TracebackType

GOOD, BROKEN, SILENT = b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", b""


class Hosts:
    """They listen on one port while the context lasts, in a thread of their own."""

    def __init__(self, answers: Mapping[str, bytes]):
        """answers: IP address -> what is answered to every request, from now on; SILENT: nothing."""
        self.answers = answers
        self.requests: dict[str, list[float]] = {host: [] for host in answers}
        """IP address -> when each came, in monotonic seconds."""
        self.port = 0
        self.hanging = True
        """Whether a request without an answer leaves its connection open."""
        self.silent: set[asyncio.Transport] = set()
        self._running: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="hosts")

    def __enter__(self) -> "Hosts":
        self._thread.start()
        self._running.result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        loop, stop = self._running.result()
        loop.call_soon_threadsafe(stop.set)
        self._thread.join(10)

    def arrived(self, at: Iterable[str]) -> list[float]:
        """When each request came to these hosts."""
        return [when for host in at for when in self.requests[host]]

    def start_again(self) -> None:
        self.hanging = True
        for times in self.requests.values():
            times.clear()

    def hang_up(self) -> None:
        """Cut the connections that wait for an answer, now and later."""
        self.hanging = False
        loop, _ = self._running.result()
        for transport in list(self.silent):
            loop.call_soon_threadsafe(transport.abort)

    async def _serve(self) -> None:
        loop, stop, servers = asyncio.get_running_loop(), asyncio.Event(), list[asyncio.Server]()
        try:
            for host in self.answers:
                servers.append(await loop.create_server(lambda: _Connection(self), host, self.port, backlog=1_024))
                self.port = int(servers[0].sockets[0].getsockname()[1])
        except BaseException as error:
            self._running.set_exception(error)
            raise
        self._running.set_result((loop, stop))
        await stop.wait()
        for server in servers:
            server.close()


class _Connection(asyncio.Protocol):
    """Requests with Content-Length, one after the other."""

    def __init__(self, hosts: Hosts):
        self._hosts, self._got = hosts, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._host = transport, str(transport.get_extra_info("sockname")[0])

    def data_received(self, data: bytes) -> None:
        self._got += data
        while (end := self._got.find(b"\r\n\r\n") + 4) > 3:
            length = int(self._got[:end].lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            if len(self._got) < end + length:
                return
            self._got = self._got[end + length :]
            self._hosts.requests[self._host].append(time.monotonic())
            if answer := self._hosts.answers[self._host]:
                self._transport.write(answer)
            elif self._hosts.hanging:
                self._hosts.silent.add(self._transport)
            else:
                self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._hosts.silent.discard(self._transport)
