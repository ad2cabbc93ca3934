"""APNs' provider API over HTTP/2 and TLS, played locally on a port of its own.

It checks path, provider token, headers and payload as Apple documents them. Beyond that the beginning of the device
token decides; what follows it is free:

| device token | answer |
|---|---|
| dead00 and two hex digits | the reason with this number in the alphabet of STATUSES' keys: REASON_TOKENS lists them |
| deadb001 | 200 after the control's `slow` seconds |
| deadb002 | none: the connection is reset |
| deadb003 | 503 ServiceUnavailable to the first request of each apns-id, then 200 |
| deadb004 | 403 ExpiredProviderToken to the first provider token that asks, then 200 |
| deadb005 | 200 and GOAWAY: what runs is finished, what comes next needs a new connection |
| deadb006 | 429 TooManyRequests with Retry-After: 2 |
| anything else | 200 |

Unregistered and ExpiredToken carry a timestamp of an hour ago.
"""

import asyncio
import json
import re
import struct
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from django.conf import settings
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, Scope

from messaging.sandbox.apns import STATUSES, Refused, certificates, team_of, team_of_token
from messaging.sandbox.base import Gateway as Base
from messaging.sandbox.base import Surroundings

REASON_TOKENS = {f"dead00{number:02x}": reason for number, reason in enumerate(sorted(STATUSES))}
SLOW, RESET, UNAVAILABLE_ONCE, EXPIRED_ONCE = "deadb001", "deadb002", "deadb003", "deadb004"
GO_AWAY, LIMITED = "deadb005", "deadb006"
PUSH_TYPES = frozenset({"alert", "background", "location", "voip", "complication", "fileprovider"}) | frozenset(
    {"mdm", "liveactivity", "pushtotalk", "widgets", "controls"}
)
_MAX_PAYLOAD = {"voip": 5_120}
_KEPT = 10_000
_path = re.compile(r"/3/device/([^/]*)")
_device = re.compile(r"[0-9a-f]{64,200}")


class Gateway(Base):
    """Arrivals: {"token", "topic", "headers" (apns-*), "payload", "connection" (a number), "at"}."""

    def __init__(self, channel: str, surroundings: Surroundings):
        super().__init__(channel, surroundings)
        self.port, self.connections, self.requests = 0, 0, 0
        self._ca = ""
        self._server: asyncio.Server | None = None
        self._sessions: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._seen: OrderedDict[str, str] = OrderedDict()
        self._config = Config()
        self._config.keep_alive_timeout = 3_600
        self._config.keep_alive_max_requests = 2**30
        self._config.h2_max_concurrent_streams = 1_000
        self._config.accesslog = self._config.errorlog = None

    async def start(self) -> None:
        hosts = {"127.0.0.1", "::1", "localhost", self.host, urlsplit(settings.SANDBOX_URL).hostname or "localhost"}
        context, self._ca = certificates(hosts)
        self._server = await asyncio.start_server(
            self._session, self.host, settings.SANDBOX_APNS_PORT, ssl=context, backlog=512
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server:
            self._server.close()
            sessions = dict(self._sessions)
            for writer in sessions.values():
                writer.transport.abort()
            await asyncio.wait(sessions, timeout=5) if sessions else None
            for session in sessions:
                session.cancel()
            await asyncio.gather(*sessions, return_exceptions=True)
            await self._server.wait_closed()
            self._server = None

    def describe(self, base: str) -> dict[str, Any]:
        return {"url": f"https://{urlsplit(base).hostname}:{self.port}", "ca": self._ca}

    def owner(self, tenant: str) -> str:
        return team_of(tenant)

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection; the application knows its own, so that it can end it."""
        self.connections += 1
        number, task = self.connections, asyncio.current_task()
        assert task is not None
        self._sessions[task] = writer

        async def application(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
            if scope["type"] == "http":
                await self._request(_Exchange(number, server, scope, receive, send))

        running, context = asyncio.get_running_loop(), WorkerContext(None)
        server = TCPServer(ASGIWrapper(application), running, self._config, context, {}, reader, writer)
        try:
            await server
        finally:
            del self._sessions[task]

    async def _request(self, exchange: "_Exchange") -> None:
        self.requests += 1
        payload = await exchange.body()
        try:
            team = team_of_token(exchange.headers.get("authorization", ""))
            token, content = _checked(exchange, payload)
            if (reason := REASON_TOKENS.get(token[:8])) is not None:
                raise Refused(reason)
            if await self._misbehave(exchange, token[:8]):
                return
        except Refused as refused:
            await exchange.refuse(refused.reason)
            return
        headers = {name: value for name, value in exchange.headers.items() if name.startswith("apns-")}
        arrival = {"token": token, "topic": headers["apns-topic"], "headers": headers, "payload": content}
        self.arrived(team, arrival | {"connection": exchange.connection})
        await exchange.answer(200)
        if token[:8] == GO_AWAY:
            exchange.go_away()

    async def _misbehave(self, exchange: "_Exchange", code: str) -> bool:
        """Whether the request has ended without an answer. Raises Refused."""
        if code == RESET:
            exchange.reset()
            return True
        if code == SLOW:
            await asyncio.sleep(self.control.slow)
        if code == LIMITED:
            await exchange.refuse("TooManyRequests", {"retry-after": "2"})
            return True
        if code == UNAVAILABLE_ONCE and self._first(exchange.headers["apns-id"], "") is None:
            raise Refused("ServiceUnavailable")
        if code == EXPIRED_ONCE:
            token = exchange.headers["authorization"]
            device = exchange.path
            if self._first(device, token) in (None, token):
                raise Refused("ExpiredProviderToken")
        return False

    def _first(self, key: str, value: str) -> str | None:
        """What was kept under key before; the first value stays."""
        before = self._seen.get(key)
        self._seen.setdefault(key, value)
        if len(self._seen) > _KEPT:
            self._seen.popitem(last=False)
        return before


class _Exchange:
    """One request and its answer."""

    def __init__(
        self, connection: int, server: TCPServer, scope: Any, receive: ASGIReceiveCallable, send: ASGISendCallable
    ):
        self.connection, self._server = connection, server
        self.method, self.path = str(scope["method"]), str(scope["path"])
        self.headers: Mapping[str, str] = {
            name.decode().lower(): value.decode(errors="replace") for name, value in scope["headers"]
        }
        self._receive, self._send = receive, send

    async def body(self) -> bytes:
        parts, more = [], True
        while more:
            event: Any = await self._receive()
            parts.append(event.get("body", b""))
            more = event.get("more_body", False)
        return b"".join(parts)

    async def refuse(self, reason: str, headers: Mapping[str, str] | None = None) -> None:
        status = STATUSES[reason]
        document: dict[str, Any] = {"reason": reason}
        if status == 410:
            document |= {"timestamp": int((time.time() - 3_600) * 1_000)}
        await self.answer(status, json.dumps(document).encode(), headers)

    async def answer(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        apns_id = self.headers.get("apns-id") or str(uuid4())
        named = {"apns-id": apns_id, **(headers or {})}
        pairs = [(name.encode(), value.encode()) for name, value in named.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs, "trailers": False})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    def reset(self) -> None:
        self._server.writer.transport.abort()

    def go_away(self) -> None:
        """RFC 9113, 6.8: NO_ERROR, and everything so far is still answered."""
        protocol = self._server.protocol.protocol
        assert isinstance(protocol, H2Protocol)
        last = protocol.connection.highest_inbound_stream_id
        self._server.writer.write(struct.pack("!IBI", 8 << 8 | 7, 0, 0) + struct.pack("!II", last, 0))


def _checked(exchange: _Exchange, payload: bytes) -> tuple[str, Any]:
    """The device token and the payload of a request that is as documented. Raises Refused."""
    if exchange.method != "POST":
        raise Refused("MethodNotAllowed")
    found = _path.fullmatch(exchange.path)
    if found is None:
        raise Refused("BadPath")
    token = found[1].lower()
    if not token:
        raise Refused("MissingDeviceToken")
    if not _device.fullmatch(token) or len(token) % 2:
        raise Refused("BadDeviceToken")
    _check_headers(exchange.headers)
    if not payload:
        raise Refused("PayloadEmpty")
    if len(payload) > _MAX_PAYLOAD.get(exchange.headers.get("apns-push-type", ""), 4_096):
        raise Refused("PayloadTooLarge")
    try:
        content = json.loads(payload)
    except ValueError:
        raise Refused("PayloadEmpty") from None
    if not isinstance(content, dict) or not content.get("aps"):
        raise Refused("PayloadEmpty")
    return token, content


def _check_headers(headers: Mapping[str, str]) -> None:
    push_type, priority = headers.get("apns-push-type", "alert"), headers.get("apns-priority", "10")
    if not headers.get("apns-topic"):
        raise Refused("MissingTopic")
    if push_type not in PUSH_TYPES:
        raise Refused("InvalidPushType")
    if priority not in ("1", "5", "10") or (push_type == "background" and priority == "10"):
        raise Refused("BadPriority")
    if not headers.get("apns-expiration", "0").isdecimal():
        raise Refused("BadExpirationDate")
    if len(headers.get("apns-collapse-id", "").encode()) > 64:
        raise Refused("BadCollapseId")
    try:
        UUID(headers.get("apns-id", str(uuid4())))
    except ValueError:
        raise Refused("BadMessageId") from None
