"""Daphne with a graceful end: it closes WebSockets with a code and lets requests in hand finish."""

import asyncio
import signal
import time
from functools import partial
from typing import Any

import structlog
from daphne.server import Server
from django.conf import settings
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from messaging.realtime import acks, frames, hub, sockets
from sprayer_project import flow, following

log = structlog.get_logger(__name__)

_PROTOCOL = "sprayer.protocol"
DRAIN_LIMIT = 10.0
"""Seconds that requests in hand get to finish."""
_FAREWELL = 3.0
"""Seconds after them for what the stores shall still hear, and for what was cancelled to heed it."""


class DrainingServer(Server):  # type: ignore[misc]
    """Stops listening on SIGTERM or SIGINT, says 4012 to every WebSocket, finishes requests, then ends.

    failed tells afterwards why an endpoint could not listen.
    """

    def __init__(self, application: Any, endpoints: list[str]) -> None:
        super().__init__(
            _Watched(application),
            endpoints=endpoints,
            signal_handlers=False,
            ping_interval=settings.REALTIME_PING,
            ping_timeout=1.5 * settings.REALTIME_PING,
            websocket_max_message_size=frames.MAX_FRAME,
            websocket_max_frame_size=frames.MAX_FRAME,
            server_name="sprayer",
        )
        self.failed = ""
        self.connections: dict[Any, dict[str, Any]] = {}
        self._ports: list[Any] = []
        self._draining: asyncio.Task[None] | None = None

    def run(self) -> None:
        reactor.callWhenRunning(self._on_running)
        super().run()

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
        scope[_PROTOCOL] = protocol
        return super().create_application(protocol, scope)

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body"):
            sockets.forget_request(protocol)
        await super().handle_reply(protocol, message)

    def listen_success(self, port: Any) -> None:
        super().listen_success(port)
        sockets.find_dead_peers(port.socket, 2 * settings.REALTIME_PING)
        self._ports.append(port)
        log.info("listening", address=str(port.getHost()))

    def listen_error(self, failure: Any) -> None:
        self.failed = failure.getErrorMessage()
        # The reactor may not run yet: it stops as soon as it does.
        reactor.callWhenRunning(self.stop)

    def kill_all_applications(self) -> Any:
        """Cancel what is left; an application that does not heed it is left behind after a moment."""
        left = self._in_hand()
        for application in left:
            application.cancel()
        return Deferred.fromFuture(asyncio.ensure_future(asyncio.wait(left, timeout=_FAREWELL))) if left else None

    def _on_running(self) -> None:
        # A client that breaks the protocol gets a close frame with its code instead of a dropped connection.
        self.ws_factory.setProtocolOptions(failByDrop=False)
        self.ws_factory.protocol = sockets.BoundedSocket
        loop = asyncio.get_event_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            # Not loop.add_signal_handler: where calls from threads have filled the loop's pipe, it loses the signal.
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(self._begin_to_drain))

    def _begin_to_drain(self) -> None:
        if self._draining is None:
            self._draining = asyncio.get_event_loop().create_task(self._drain())

    async def _drain(self) -> None:
        log.info("draining", connections=hub.current().connections)
        deadline = time.monotonic() + DRAIN_LIMIT
        try:
            async with asyncio.timeout(DRAIN_LIMIT + _FAREWELL):
                for port in self._ports:
                    port.stopListening()
                await hub.current().drain()
                await following.current().drain()
                while self._in_hand() and time.monotonic() < deadline:
                    await asyncio.sleep(0.05)
                await acks.current().settled(max(0.0, deadline - time.monotonic()))
                await hub.current().farewell()
        except TimeoutError:
            log.warning("drained in part", left=len(self._in_hand()))
        finally:
            self.stop()

    def _in_hand(self) -> list[asyncio.Future[Any]]:
        """Requests and sockets that have not ended. One whose request was answered has no application any more."""
        applications = [details.get("application_instance") for details in self.connections.values()]
        return [application for application in applications if application is not None and not application.done()]


class _Watched:
    """An application whose scopes can watch their connection, and which takes frames where they are counted."""

    def __init__(self, application: Any) -> None:
        self._application = application

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        protocol = scope.pop(_PROTOCOL)
        if isinstance(protocol, sockets.BoundedSocket):
            scope[flow.SCOPE] = protocol.watch
            await self._application(scope, partial(self._take, protocol, receive), send)
        else:
            scope[flow.SCOPE] = partial(sockets.watch_request, protocol)
            await self._application(scope, receive, send)

    async def _take(self, protocol: sockets.BoundedSocket, receive: Any) -> dict[str, Any]:
        message: dict[str, Any] = await receive()
        if message["type"] == "websocket.receive":
            protocol.taken()
        return message
