"""Many WebSocket clients in a process of their own, written cheaply: no library, no event loop.

Receivers is the handle; `python -m benchmarks.receivers` is the process. It reads commands, lines of JSON on stdin, and
answers each with a line on stdout when it is done: {"host", "port", "paths": [...]} connects one client a path,
{"count": N, "mark": text} begins to count frames with this text; one line more follows when N have come. Pings are
answered; a client that the server closes ends the process.
"""

import base64
import json
import os
import resource
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

MESSAGE, WELCOME = '"type":"message"', '"type":"welcome"'
"""What a frame that counts has in it."""
_AT_ONCE = 50
"""Handshakes under way: what a listening socket queues by default."""
_LIMIT = 120.0
"""Seconds for what is counted to come."""
_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 10


@dataclass(frozen=True, slots=True)
class Counted:
    """last is when the last frame came, in monotonic seconds, which processes share; cpu in seconds."""

    last: float
    cpu: float


class Receivers:
    """The process, and what it is told."""

    def __init__(self) -> None:
        self.connections = 0
        command = [sys.executable, "-m", "benchmarks.receivers"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> "Receivers":
        return self

    def __exit__(self, *_: object) -> None:
        """All connections end with it."""
        self._process.kill()
        self._process.communicate()

    def connect(self, host: str, port: int, paths: Sequence[str]) -> None:
        """Returns when every handshake is done."""
        self._say({"host": host, "port": port, "paths": list(paths)})
        self._hear()
        self.connections += len(paths)

    def count(self, frames: int, mark: str = MESSAGE) -> None:
        """Begin to count; counted() tells when so many have come."""
        self._say({"count": frames, "mark": mark})
        self._hear()

    def counted(self) -> Counted:
        return Counted(**self._hear())

    def _say(self, command: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the receivers' process has ended: it says above why")
        found: dict[str, Any] = json.loads(line)
        return found


class _Clients:
    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._rests: dict[int, bytes] = {}
        self._mark = b""
        self.frames = 0

    def count(self, mark: str) -> None:
        """Begin anew."""
        self._mark, self.frames = mark.encode(), 0

    def connect(self, host: str, port: int, paths: Sequence[str]) -> None:
        for start in range(0, len(paths), _AT_ONCE):
            made = [_handshake(host, port, path) for path in paths[start : start + _AT_ONCE]]
            for connection in made:
                rest = _greeted(connection)
                connection.setblocking(False)
                self._selector.register(connection, selectors.EVENT_READ)
                self._take(connection, rest)
            self.serve(0)

    def watch(self, descriptor: int) -> None:
        self._selector.register(descriptor, selectors.EVENT_READ)

    def serve(self, timeout: float) -> bool:
        """Wait until something comes, and take it. Whether there is something at the watched descriptor."""
        watched = False
        for key, _ in self._selector.select(timeout):
            connection = key.fileobj
            if not isinstance(connection, socket.socket):
                watched = True
            elif data := connection.recv(16_384):
                self._take(connection, data)
            else:
                raise EOFError("the server closed a connection")
        return watched

    def _take(self, connection: socket.socket, data: bytes) -> None:
        """Whole frames (RFC 6455, 5.2; a server's are not masked); the rest waits for what follows."""
        number = connection.fileno()
        if rest := self._rests.pop(number, b""):
            data = rest + data
        at, end = 0, len(data)
        while end - at >= 2:
            size, body = data[at + 1], at + 2
            if size == 126:
                size, body = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
            elif size == 127:
                size, body = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
            if body + size > end:
                break
            kind = data[at] & 15
            if kind == _TEXT:
                self.frames += data.find(self._mark, body, body + size) >= 0
            elif kind == _PING:
                connection.send(bytes([0x80 | _PONG, 0x80 | size]) + bytes(4) + data[body : body + size])
            elif kind == _CLOSE:
                raise EOFError(f"the server closed a connection: {data[body : body + size]!r}")
            at = body + size
        if at < end:
            self._rests[number] = data[at:]


def _handshake(host: str, port: int, path: str) -> socket.socket:
    connection = socket.create_connection((host, port), 30)
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}:{port}", "Connection: Upgrade", "Upgrade: websocket"]
    lines += ["Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}", "", ""]
    connection.sendall("\r\n".join(lines).encode())
    return connection


def _greeted(connection: socket.socket) -> bytes:
    """What came behind the server's yes."""
    got = b""
    while b"\r\n\r\n" not in got:
        data = connection.recv(4_096)
        if not data:
            raise EOFError("the server closed a connection")
        got += data
    head, _, rest = got.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 101"):
        raise RuntimeError(f"no WebSocket: {head!r}")
    return rest


class _Commands:
    """Lines on stdin, looked at without waiting."""

    def __init__(self) -> None:
        self._got = b""

    def take(self) -> list[dict[str, Any]]:
        """Those that have come whole. Raises EOFError when there are no more."""
        data = os.read(sys.stdin.fileno(), 1_048_576)
        if not data:
            raise EOFError
        *lines, self._got = (self._got + data).split(b"\n")
        return [json.loads(line) for line in lines]


def main() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    clients, commands = _Clients(), _Commands()
    clients.watch(sys.stdin.fileno())
    wanted, began, cpu = None, 0.0, 0.0
    while True:
        if clients.serve(1):
            try:
                given = commands.take()
            except EOFError:
                return
            for command in given:
                if "count" in command:
                    clients.count(command["mark"])
                    wanted, began, cpu = int(command["count"]), time.monotonic(), time.process_time()
                else:
                    clients.connect(command["host"], command["port"], command["paths"])
                print("{}", flush=True)
        if wanted is not None and clients.frames >= wanted:
            print(json.dumps({"last": time.monotonic(), "cpu": time.process_time() - cpu}), flush=True)
            wanted = None
        elif wanted is not None and time.monotonic() > began + _LIMIT:
            raise TimeoutError(f"{clients.frames} frames of {wanted} came")


if __name__ == "__main__":
    main()
