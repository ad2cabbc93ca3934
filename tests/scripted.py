"""A realtime server that does what a test says, for what a real one does not do on demand."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from websockets.sync.server import ServerConnection, serve


class Socket:
    """A client's connection."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection

    def welcome(self, epoch: str = "e1", offset: str = "0", recovered: bool = True) -> None:
        self.say("welcome", receiver="alice", connection="con_1", epoch=epoch, offset=offset, recovered=recovered)

    def message(self, offset: str, body: str, **fields: Any) -> None:
        content = {"body": body}
        self.say("message", offset=offset, id=f"msg_{body}", content=content, sent_at="2026-12-01T09:00:00Z", **fields)

    def say(self, kind: str, **fields: Any) -> None:
        self._connection.send(json.dumps({"type": kind, **fields}))

    def hear(self, kind: str) -> dict[str, Any]:
        """The next frame of a type; those before it are skipped."""
        while True:
            frame: dict[str, Any] = json.loads(self._connection.recv(timeout=10))
            if frame["type"] == kind:
                return frame

    def hear_ack(self, offset: str) -> None:
        """The ack of an offset; earlier ones are skipped."""
        while self.hear("ack")["offset"] != offset:
            pass

    def end(self, code: int) -> None:
        self._connection.close(code)

    def stay(self) -> None:
        """Until the client leaves."""
        for _ in self._connection:
            pass


@dataclass
class Scripted:
    """scripts: one for each connection in turn; a connection after them is only counted and closed with 4009."""

    url: str
    scripts: list[Callable[[Socket], None]] = field(default_factory=list)
    connections: int = 0

    def _handle(self, connection: ServerConnection) -> None:
        self.connections += 1
        if self.connections > len(self.scripts):
            connection.close(4009)
        else:
            self.scripts[self.connections - 1](Socket(connection))


@contextmanager
def scripted(*scripts: Callable[[Socket], None]) -> Iterator[Scripted]:
    """One that listens, in threads of its own."""
    server = Scripted("", list(scripts))
    with serve(server._handle, "127.0.0.1", 0) as listening:
        server.url = f"http://127.0.0.1:{listening.socket.getsockname()[1]}"
        thread = threading.Thread(target=listening.serve_forever, name="scripted")
        thread.start()
        yield server
        listening.shutdown()
        thread.join(10)
        assert not thread.is_alive()


class _Handler(SimpleHTTPRequestHandler):
    page = b""

    def do_GET(self) -> None:
        if self.path != "/":
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(self.page)))
        self.end_headers()
        self.wfile.write(self.page)

    def log_message(self, format: str, *arguments: Any) -> None:
        """A test's output is no place for an access log."""


@contextmanager
def serving(page: str, folder: Path) -> Iterator[str]:
    """The URL at which a page is served, and a folder's files below."""
    handler = type("Handler", (_Handler,), {"page": page.encode()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join(10)
