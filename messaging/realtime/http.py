"""The HTTP side of realtime: plain ASGI applications, so that a request that waits costs no thread.

They answer pages of other origins (CORS): the token authorises, no cookie is looked at.
"""

import json
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog
from django.conf import settings

from messaging.realtime import access, frames, hub
from messaging.realtime.bucket import Buckets
from messaging.realtime.refusals import Restarting, TooFast
from messaging.realtime.tokens import Claims
from sprayer_project import errors, json_text
from sprayer_project.errors import Invalid, SprayerError, TooLarge
from sprayer_project.logs import new_request_id

log = structlog.get_logger(__name__)

MAX_BODY = 16_384
_ALLOWED_HEADERS = "Authorization, Content-Type, Last-Event-ID"

_requests = Buckets(50_000)
"""How many requests each receiver makes at this process."""

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Handler = Callable[["Call"], Awaitable[None]]


class MethodNotAllowed(SprayerError):
    status = 405


class Call:
    """One request with a valid token."""

    def __init__(self, scope: access.Scope, receive: Receive, send: Send):
        self.scope = scope
        self.query = access.query(scope)
        self.started = False
        self.claims: Claims
        self._receive, self._send = receive, send
        self.id = new_request_id()
        self._headers: dict[str, str] = {"Cache-Control": "no-store", "X-Request-Id": self.id}

    def allow_origin(self) -> None:
        """Raises BadOrigin."""
        origin = access.check_origin(self.scope)
        if "*" in settings.REALTIME_ORIGINS:
            self._headers["Access-Control-Allow-Origin"] = "*"
        else:
            self._headers["Vary"] = "Origin"
            if origin:
                self._headers["Access-Control-Allow-Origin"] = origin
        self._headers["Access-Control-Expose-Headers"] = "Retry-After, X-Request-Id"

    async def body(self) -> bytes:
        """Raises TooLarge."""
        found: bytes = b""
        while True:
            message = await self._receive()
            found += message.get("body", b"")
            if len(found) > MAX_BODY:
                raise TooLarge("too_large", f"The body is larger than {MAX_BODY} bytes.")
            if not message.get("more_body"):
                return found

    async def gone(self) -> None:
        """Returns when the client has left."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def answer(self, status: int, text: str = "", headers: Mapping[str, str] | None = None) -> None:
        kind = {"Content-Type": "application/json"} if text else {}
        await self.start(status, kind | dict(headers or {}))
        await self.write(text, end=True)

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        self.started = True
        named = {**self._headers, **headers}
        if hub.current().draining:
            named["Connection"] = "close"
        encoded = [(name.lower().encode(), value.encode("latin1")) for name, value in named.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": encoded})

    async def write(self, text: str, end: bool = False) -> None:
        await self._send({"type": "http.response.body", "body": text.encode(), "more_body": not end})

    async def refuse(self, error: Exception) -> None:
        """A problem document. Raises the error again when it is not one of ours."""
        body = errors.as_problem(error)
        headers = {"Content-Type": errors.PROBLEM}
        if body["status"] == 401:
            headers["WWW-Authenticate"] = "Bearer"
        retry_after = getattr(error, "retry_after", None) or (2 if body["status"] == 503 else None)
        if retry_after is not None:
            headers["Retry-After"] = str(math.ceil(retry_after))
        await self.answer(body["status"], json.dumps(body), headers)


class Endpoint:
    """An ASGI application: a handler for each method."""

    def __init__(self, **handlers: Handler):
        self._handlers = handlers

    async def __call__(self, scope: access.Scope, receive: Receive, send: Send) -> None:
        call = Call(scope, receive, send)
        try:
            await self._handle(call)
        except (SprayerError, *errors.STORE_ERRORS) as error:
            await call.refuse(error)
        except Exception:
            log.exception("a realtime request failed", request=call.id, path=scope["path"])
            if call.started:
                raise
            await call.refuse(SprayerError("internal_error", "Sprayer failed on this request; it has been logged."))

    async def _handle(self, call: Call) -> None:
        call.allow_origin()
        method = call.scope["method"]
        if method == "OPTIONS":
            await self._preflight(call)
            return
        if method not in self._handlers:
            raise MethodNotAllowed("method_not_allowed", f"Use {' or '.join(self._handlers)} here.")
        if hub.current().draining:
            raise Restarting
        call.claims = await access.claims(call.scope)
        rate = settings.REALTIME_FRAMES
        if not _requests.take((call.claims.tenant, call.claims.receiver), rate, 10 * rate):
            raise TooFast("Too many requests: acknowledge several messages with one.")
        await self._handlers[method](call)

    async def _preflight(self, call: Call) -> None:
        headers = {
            "Access-Control-Allow-Methods": ", ".join((*self._handlers, "OPTIONS")),
            "Access-Control-Allow-Headers": _ALLOWED_HEADERS,
            "Access-Control-Max-Age": "600",
        }
        await call.answer(204, headers=headers)


class Routed:
    """An ASGI application that leads exact paths to endpoints, and everything else to another application."""

    def __init__(self, endpoints: Mapping[str, Endpoint], otherwise: Any):
        self._endpoints, self._otherwise = endpoints, otherwise

    async def __call__(self, scope: access.Scope, receive: Receive, send: Send) -> None:
        await self._endpoints.get(scope["path"], self._otherwise)(scope, receive, send)


def number(call: Call, name: str, default: int, most: int, least: int = 0) -> int:
    """A whole number of the query. Raises Invalid."""
    text = call.query.get(name, "")
    if text and not (text.isascii() and text.isdecimal() and len(text) < 10 and least <= int(text) <= most):
        raise Invalid("invalid", f"{name} is a whole number, {least} to {most}.", f"?{name}")
    return int(text) if text else default


def _offset(value: Any, pointer: str) -> int:
    found = frames.parse_offset(value)
    if found is None:
        raise Invalid("bad_offset", "offset is a string: pass it unchanged as the server named it.", pointer)
    return found


def offset_of(call: Call, name: str = "offset") -> int | None:
    """An offset of the query, if there is one. Raises Invalid."""
    return _offset(call.query[name], f"?{name}") if name in call.query else None


def resume_point(call: Call) -> tuple[str | None, int | None]:
    """epoch and offset of the query, both or none. Raises Invalid."""
    offset, epoch = offset_of(call), call.query.get("epoch")
    if (epoch is None) != (offset is None):
        raise Invalid("bad_epoch", "Pass epoch and offset together.", "?epoch")
    return epoch, offset


async def place(call: Call) -> tuple[str, int]:
    """epoch and offset of a JSON body. Raises Invalid, TooLarge."""
    try:
        body = json_text.parse(await call.body())
    except ValueError as error:
        raise Invalid("malformed_json", "The body is one JSON object.", "") from error
    if not isinstance(body, dict):
        raise Invalid("malformed_json", "The body is one JSON object.", "")
    if not isinstance(body.get("epoch"), str):
        raise Invalid("bad_epoch", "epoch is a string: pass it unchanged as the server named it.", "/epoch")
    return body["epoch"], _offset(body.get("offset"), "/offset")
