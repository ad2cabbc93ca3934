"""APNs' provider API over HTTP/2 and TLS, played locally on a port of its own.

It checks path, provider token, headers and payload as Apple documents them. Beyond that the beginning of the device
token decides, as Gateway.magic declares; what follows it is free. One of nothing but zeros is a BadDeviceToken.
"""

import asyncio
import json
import re
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from django.conf import settings

from messaging.apns_payload import look_of
from messaging.channels.base import Look
from messaging.sandbox.apns import STATUSES, Refused, certificates, team_of, team_of_token
from messaging.sandbox.base import Gateway as Base
from messaging.sandbox.base import Magic, Surroundings
from messaging.sandbox.http2 import Exchange, Session

REASON_TOKENS = {f"dead00{number:02x}": reason for number, reason in enumerate(sorted(STATUSES))}
SLOW, RESET, UNAVAILABLE_ONCE, EXPIRED_ONCE = "deadb001", "deadb002", "deadb003", "deadb004"
GO_AWAY, LIMITED, LONG_GONE = "deadb005", "deadb006", "deadb007"
_FIXED = {LIMITED: "TooManyRequests", LONG_GONE: "Unregistered"}
PUSH_TYPES = frozenset({"alert", "background", "location", "voip", "complication", "fileprovider"}) | frozenset(
    {"mdm", "liveactivity", "pushtotalk", "widgets", "controls"}
)
_MAX_PAYLOAD = {"voip": 5_120}
_KEPT = 10_000
_path = re.compile(r"/3/device/([^/]*)")
_device = re.compile(r"[0-9a-f]{64,200}")


class Gateway(Base):
    """Arrivals, refused ones too:

    {"token", "topic", "headers" (apns-*), "payload", "connection" (a number), "answer" (status, 0 for none), "reason"}
    """

    magic = (
        *(Magic(token, f"{STATUSES[reason]} {reason}") for token, reason in REASON_TOKENS.items()),
        Magic(SLOW, "200 after 30 seconds (`slow`)"),
        Magic(RESET, "none: the connection is cut"),
        Magic(UNAVAILABLE_ONCE, "503 ServiceUnavailable to the first request of each delivery, then 200"),
        Magic(EXPIRED_ONCE, "403 ExpiredProviderToken to the first provider token that asks, then 200"),
        Magic(GO_AWAY, "200 and GOAWAY: what comes next needs a new connection"),
        Magic(LIMITED, "429 TooManyRequests with Retry-After: 2"),
        Magic(LONG_GONE, "410 Unregistered since an hour ago: an address that was registered later is not meant"),
    )
    magic_place = "beginning of the device token"

    @classmethod
    def seen(cls, arrival: Mapping[str, Any]) -> tuple[str, Look]:
        return str(arrival["token"]), look_of(arrival["payload"])

    def __init__(self, channel: str, surroundings: Surroundings):
        super().__init__(channel, surroundings)
        self.port, self.connections, self.requests = 0, 0, 0
        self._ca = ""
        self._server: asyncio.Server | None = None
        self._sessions: set[Session] = set()
        self._seen: OrderedDict[str, str] = OrderedDict()

    async def start(self) -> None:
        hosts = {"127.0.0.1", "::1", "localhost", self.host, urlsplit(settings.SANDBOX_URL).hostname or "localhost"}
        context, self._ca = certificates(hosts)
        self._server = await asyncio.get_running_loop().create_server(
            self._session, self.host, settings.SANDBOX_APNS_PORT, ssl=context, backlog=512
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server:
            self._server.close()
            for session in list(self._sessions):
                session.abort()
            await self._server.wait_closed()
            self._server = None

    def describe(self, base: str) -> dict[str, Any]:
        return {"url": f"https://{urlsplit(base).hostname}:{self.port}", "ca": self._ca}

    def owner(self, tenant: str) -> str:
        return team_of(tenant)

    def _session(self) -> Session:
        self.connections += 1
        return Session(self._request, self._sessions, self.connections)

    async def _request(self, exchange: Exchange) -> None:
        self.requests += 1
        try:
            team = team_of_token(exchange.headers.get("authorization", ""))
        except Refused as refused:
            _answer(exchange, refused.reason)
            return
        token, content, reason = exchange.path.rpartition("/")[2].lower(), None, ""
        try:
            token, content = _checked(exchange)
            reason = REASON_TOKENS.get(token[:8]) or self._refusal(exchange, token[:8])
        except Refused as refused:
            reason = refused.reason
        code, headers = token[:8], {name: value for name, value in exchange.headers.items() if name.startswith("apns-")}
        answer = 0 if code == RESET else STATUSES[reason] if reason else 200
        arrival = {"token": token, "topic": headers.get("apns-topic", ""), "headers": headers, "payload": content}
        self.arrived(team, arrival | {"connection": exchange.session.number, "answer": answer, "reason": reason})
        if code == RESET:
            exchange.session.abort()
            return
        if code == SLOW:
            await asyncio.sleep(self.control.slow)
        if code == GO_AWAY:
            exchange.session.go_away()
        ago = 3_600 if code == LONG_GONE else 0
        _answer(exchange, reason, {"retry-after": "2"} if code == LIMITED else None, ago)

    def _refusal(self, exchange: Exchange, code: str) -> str:
        """The reason for this request, empty for a yes."""
        if code in _FIXED:
            return _FIXED[code]
        if code == UNAVAILABLE_ONCE and self._first(exchange.headers["apns-id"], "") is None:
            return "ServiceUnavailable"
        token = exchange.headers["authorization"]
        if code == EXPIRED_ONCE and self._first(exchange.path, token) in (None, token):
            return "ExpiredProviderToken"
        return ""

    def _first(self, key: str, value: str) -> str | None:
        """What was kept under key before; the first value stays."""
        before = self._seen.get(key)
        self._seen.setdefault(key, value)
        if len(self._seen) > _KEPT:
            self._seen.popitem(last=False)
        return before


def _answer(exchange: Exchange, reason: str = "", headers: Mapping[str, str] | None = None, ago: float = 0) -> None:
    """The document of a reason, with 410 since when (`ago` in seconds), or the bare yes."""
    named = {"apns-id": exchange.headers.get("apns-id") or str(uuid4()), **(headers or {})}
    if not reason:
        exchange.answer(200, named)
        return
    status = STATUSES[reason]
    document: dict[str, Any] = {"reason": reason}
    if status == 410:
        document |= {"timestamp": int((time.time() - ago) * 1_000)}
    exchange.answer(status, named, json.dumps(document).encode())


def _checked(exchange: Exchange) -> tuple[str, Any]:
    """The device token and the payload of a request that is as documented. Raises Refused."""
    if exchange.method != "POST":
        raise Refused("MethodNotAllowed")
    found = _path.fullmatch(exchange.path)
    if found is None:
        raise Refused("BadPath")
    token = found[1].lower()
    if not token:
        raise Refused("MissingDeviceToken")
    if not _device.fullmatch(token) or len(token) % 2 or not token.strip("0"):
        raise Refused("BadDeviceToken")
    _check_headers(exchange.headers)
    payload = bytes(exchange.body)
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
