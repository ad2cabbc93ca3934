"""A receiver's clients for tests: WebSocket, server-sent events, long poll."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from messaging.realtime import tokens
from tests.live import LiveSystem

LIMIT = 30.0


class Client:
    """A receiver's client that says what it hears."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def hear(self, kind: str) -> dict[str, Any]:
        """The next frame, which must be of this type."""
        frame = await self.hear_any()
        assert frame["type"] == kind, frame
        return frame

    async def hear_any(self) -> dict[str, Any]:
        frame: dict[str, Any] = json.loads(await asyncio.wait_for(self.socket.recv(), LIMIT))
        return frame

    async def say(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def end(self) -> int | None:
        """The close code, after whatever still comes."""
        try:
            while True:
                await asyncio.wait_for(self.socket.recv(), LIMIT)
        except ConnectionClosed as error:
            return error.rcvd.code if error.rcvd else None


@asynccontextmanager
async def client(
    system: LiveSystem, receiver: str = "alice", web: str = "web", token: str | None = None, query: bool = True
) -> AsyncIterator[Client]:
    token = tokens.issue("acme", receiver, 600)[0] if token is None else token
    url = f"ws{str(system[web].url).removeprefix('http')}/api/v1/realtime"
    headers = None if query else {"Authorization": f"Bearer {token}"}
    async with connect(f"{url}?token={token}" if query else url, additional_headers=headers, proxy=None) as socket:
        yield Client(socket)


class Http:
    """A receiver's requests to one web process."""

    def __init__(self, requests: httpx.AsyncClient, token: str) -> None:
        self.requests, self.token = requests, token

    async def get(self, path: str, **query: Any) -> httpx.Response:
        return await self.requests.get(f"/api/v1/inbox{path}", params=query, headers=self._headers)

    async def post(self, path: str, **body: Any) -> httpx.Response:
        return await self.requests.post(f"/api/v1/inbox{path}", json=body, headers=self._headers)

    async def poll(self, **query: Any) -> dict[str, Any]:
        """The answer of a long poll, which must be one."""
        answer = await self.get("", **query)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    @asynccontextmanager
    async def stream(self, last: str | None = None, **query: Any) -> AsyncIterator["Stream"]:
        headers = self._headers | ({"Last-Event-ID": last} if last else {})
        path = "/api/v1/inbox/stream"
        async with self.requests.stream("GET", path, params=query, headers=headers) as answer:
            assert answer.status_code == 200, await answer.aread()
            yield Stream(answer)

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


class Stream:
    """A stream's events, as a browser would read them."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.last = ""
        self.retry = 0
        self.comments = 0
        self.lines = answer.aiter_lines()

    async def hear(self, kind: str) -> dict[str, Any]:
        """The next event's frame, which must be of this type."""
        async with asyncio.timeout(LIMIT):
            async for line in self.lines:
                name, _, value = line.partition(": ")
                if name == "data":
                    frame: dict[str, Any] = json.loads(value)
                    assert frame["type"] == kind, frame
                    return frame
                self.note(name, value)
        raise EOFError

    async def end(self) -> None:
        """Whatever still comes."""
        async with asyncio.timeout(LIMIT):
            async for line in self.lines:
                self.note(line, "")

    def note(self, name: str, value: str) -> None:
        if name == "id":
            self.last = value
        elif name == "retry":
            self.retry = int(value)
        elif name.startswith(":"):
            self.comments += 1


@asynccontextmanager
async def http(
    system: LiveSystem, receiver: str = "alice", web: str = "web", token: str | None = None
) -> AsyncIterator[Http]:
    token = tokens.issue("acme", receiver, 600)[0] if token is None else token
    async with httpx.AsyncClient(base_url=str(system[web].url), timeout=LIMIT, trust_env=False) as requests:
        yield Http(requests, token)


class Raw:
    """A bare TCP connection after its request, for clients that do not behave. Its system buffers little for it."""

    def __init__(self, system: LiveSystem, path: str, web: str = "web", **headers: str) -> None:
        host, _, port = str(system[web].url).removeprefix("http://").partition(":")
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(LIMIT)
        self.socket.connect((host, int(port)))
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}:{port}", *(f"{name}: {headers[name]}" for name in headers)]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode())

    @classmethod
    def websocket(cls, system: LiveSystem, token: str, web: str = "web") -> "Raw":
        """A WebSocket whose handshake is under way."""
        headers = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "c3ByYXllcidzIHRlc3RzIQ==",
        }
        return cls(system, f"/api/v1/realtime?token={token}", web, **headers)

    def say(self, kind: str, **fields: Any) -> None:
        """A text frame; its mask is zeros. Raises OSError once the server has cut the connection."""
        text = json.dumps({"type": kind, **fields}).encode()
        assert len(text) < 126
        self.socket.sendall(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)

    def read_to_the_end(self) -> int:
        """How many bytes still come until the server ends or cuts the connection."""
        total = 0
        try:
            while found := self.socket.recv(1 << 20):
                total += len(found)
        except ConnectionResetError:
            pass
        return total

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *exception: object) -> None:
        self.socket.close()
