"""What Daphne hides of its sockets: how much waits to be written, and how many frames wait to be handled.

Daphne takes whatever it is given, both ways, and buffers it without limit. Here Twisted's producers tell when a client
does not take what it is sent (the same signal that Twisted's own file transfers obey), and a socket whose frames are
not handled yet, or whose client does not read, is not read on: TCP then slows the sender down.

https://docs.twisted.org/en/stable/core/howto/producers.html
"""

import socket
import time
from collections.abc import Callable
from typing import Any

from daphne.http_protocol import WebRequest
from daphne.ws_protocol import WebSocketProtocol

from sprayer_project.flow import Flow

_OPEN = WebSocketProtocol.STATE_OPEN
_PING = b"\x89\x00"
_WAITING_MOST, _WAITING_FEW = 64, 16
"""Frames of a client that may wait to be handled, and down to how many they must go before more are read."""


class ProducerFlow(Flow):
    """The flow of a Twisted transport, which calls the methods of a producer."""

    def __init__(self, abort: Callable[[], None]) -> None:
        super().__init__()
        self._abort = abort

    def abort(self) -> None:
        self._abort()

    def pauseProducing(self) -> None:
        self.paused = True
        self.changed()

    def resumeProducing(self) -> None:
        self.paused = False
        self.changed()

    def stopProducing(self) -> None:
        """The connection is lost, which the application hears elsewhere."""


class BoundedSocket(WebSocketProtocol):  # type: ignore[misc]
    """A WebSocket that is read only as fast as its frames are handled and its client reads."""

    _waiting = 0
    _stuck = False
    last_ping: float
    _pinged: float | None = None

    def watch(self) -> Flow:
        """Watch the transport in place of the HTTP connection that this was before."""
        flow = SocketFlow(self)
        self.transport.unregisterProducer()
        self.transport.registerProducer(flow, True)
        return flow

    def serverSend(self, content: Any, binary: bool = False) -> None:
        """A message of any size: the method beneath holds the server, too, to the longest message of a client."""
        if self.state == _OPEN:
            self.sendFrame(opcode=2 if binary else 1, payload=content if binary else content.encode())

    def serverClose(self, code: int | None = None) -> None:
        """Any close code: the method beneath refuses those that servers are there for (1008, 1013)."""
        self.sendCloseFrame(code=1000 if code is None else code)

    def write_now(self, data: bytes) -> bool:
        """Write whole frames, without the reactor where nothing waits for the socket; False once it is closing."""
        if self.state != _OPEN:
            return False
        transport, written = self.transport, 0
        if not transport.dataBuffer and not transport._tempDataLen:
            try:
                written = transport.socket.send(data)
            except OSError:
                written = 0  # the reactor meets it again: it waits for a full socket and ends a broken one
        if written < len(data):
            transport.write(data[written:])
        return True

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self._pinged = None
        self._waiting += 1
        if self._waiting == _WAITING_MOST:
            self.transport.pauseProducing()
        super().onMessage(payload, isBinary)

    def onPong(self, payload: bytes) -> None:
        self._pinged = None

    def check_timeouts(self) -> None:
        """Every two seconds, of each connection: the method beneath sets a timer for each ping that it sends."""
        now = time.time()
        if self.state != _OPEN or now - self.socket_opened > self.server.websocket_timeout:
            super().check_timeouts()
        elif self._pinged is not None:
            if now - self._pinged > self.server.ping_timeout:
                self.onAutoPingTimeout()
        elif now - self.last_ping > self.server.ping_interval:
            self._pinged = self.last_ping = now
            self.write_now(_PING)

    def taken(self) -> None:
        """The application takes a frame."""
        self._waiting -= 1
        if self._waiting == _WAITING_FEW and not self._stuck:
            self.transport.resumeProducing()

    def stick(self, stuck: bool) -> None:
        """The client does not read, or reads again."""
        self._stuck = stuck
        if stuck:
            self.transport.pauseProducing()
        elif self.transport.disconnecting:
            # A transport with a producer waits for more of it before it closes.
            self.transport.unregisterProducer()
        elif self._waiting < _WAITING_MOST:
            self.transport.resumeProducing()


class SocketFlow(ProducerFlow):
    def __init__(self, protocol: BoundedSocket) -> None:
        super().__init__(protocol.transport.abortConnection)
        self._protocol = protocol
        self.write = protocol.write_now

    def pauseProducing(self) -> None:
        self._protocol.stick(True)
        super().pauseProducing()

    def resumeProducing(self) -> None:
        self._protocol.stick(False)
        super().resumeProducing()


def watch_request(request: WebRequest) -> Flow:
    """Watch an HTTP request's connection until forget_request()."""
    if request.channel is None:
        return Flow()
    flow = ProducerFlow(request.channel.transport.abortConnection)
    request.registerProducer(flow, True)
    return flow


def forget_request(request: WebRequest) -> None:
    if request.producer is not None:
        request.unregisterProducer()


def find_dead_peers(listener: socket.socket, seconds: float) -> None:
    """Let the system end connections whose peer acknowledges nothing for so long; accepted sockets inherit it."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options: dict[str, Any] = {"TCP_KEEPIDLE": max(1, int(seconds)), "TCP_USER_TIMEOUT": int(seconds * 1000)}
    for name, value in options.items():
        if hasattr(socket, name):
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
