"""Firebase Cloud Messaging's HTTP v1 API and Google's token endpoint, played locally.

| path | what it is |
|---|---|
| POST /android/token | the token endpoint; what it checks is told in google.py beside this file |
| POST /android/v1/projects/<project>/messages:send | FCM; an access token counts for its own project alone |
| GET, DELETE /android/count | {"tokens": n, "sends": {"200": n, "404": n, ...}}; start again |

Sources: https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages/send and
https://firebase.google.com/docs/cloud-messaging/error-codes. A token or installation id that begins as Gateway.magic
declares decides, alone or followed by a hyphen and anything else; every other is accepted.

The name before the @ of a service account decides about its access tokens; every other is good for an hour:

| account | answer |
|---|---|
| brief | a token good for a minute: clients renew it at once |
| disabled | 400 invalid_grant |
| broken | 502 with a page of HTML |
"""

import asyncio
import json
import os
import re
import time
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from messaging.channels.base import Look
from messaging.looks import notification
from messaging.sandbox.base import Gateway as Base
from messaging.sandbox.base import Magic, Surroundings
from messaging.sandbox.google import DOMAIN, BadToken, access_token, account_of, project_of, verified_issuer

_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_MAX_PAYLOAD, _MAX_TTL, _KEPT = 4_096, 2_419_200, 10_000
_TARGETS = ("token", "fid", "topic", "condition")
_FIELDS = frozenset({*_TARGETS, "data", "notification", "android", "webpush", "apns", "fcm_options"})
_RESERVED = re.compile(r"from|message_type|google.*|gcm.*")
_TYPES = "type.googleapis.com/"


class Refused(Exception):
    """A request that FCM answers with an error document."""

    def __init__(self, fate: "Fate"):
        super().__init__(fate.code)
        self.fate = fate


@dataclass(frozen=True, slots=True)
class Fate:
    """An error document: HTTP status, google.rpc code, sentence, FCM's own code, the violated field, Retry-After."""

    status: int
    code: str
    words: str
    fcm: str = ""
    field: str = ""
    retry_after: str = ""

    @property
    def said(self) -> str:
        """In short, for people."""
        about = f", about {self.field}" if self.field else f": {self.words}" if self.status == 400 else ""
        wait = f", Retry-After: {self.retry_after}" if self.retry_after else ""
        return f"{self.status} {self.fcm or self.code}{about}{wait}"

    def answer(self) -> web.Response:
        details: list[dict[str, Any]] = []
        if self.fcm:
            details.append({"@type": f"{_TYPES}google.firebase.fcm.v1.FcmError", "errorCode": self.fcm})
        if self.field:
            violation = {"field": self.field, "description": self.words}
            details.append({"@type": f"{_TYPES}google.rpc.BadRequest", "fieldViolations": [violation]})
        error = {"code": self.status, "message": self.words, "status": self.code}
        headers = {"Retry-After": self.retry_after} if self.retry_after else None
        return web.json_response(
            {"error": error | ({"details": details} if details else {})}, status=self.status, headers=headers
        )


def _invalid(words: str, field: str = "") -> Fate:
    return Fate(400, "INVALID_ARGUMENT", words, "" if field else "INVALID_ARGUMENT", field)


_QUOTA = "Quota exceeded for quota metric 'Send requests' and limit 'Send requests per minute'."
_EXPIRED = Fate(
    401, "UNAUTHENTICATED", "Request had invalid authentication credentials. Expected OAuth 2 access token."
)
_DENIED = Fate(403, "PERMISSION_DENIED", "Permission 'cloudmessaging.messages.create' denied on resource.")
_UNAVAILABLE = Fate(503, "UNAVAILABLE", "The service is currently unavailable.", "UNAVAILABLE", retry_after="2")
FATES = {
    "unregistered": Fate(404, "NOT_FOUND", "Requested entity was not found.", "UNREGISTERED"),
    "sender-mismatch": Fate(403, "PERMISSION_DENIED", "SenderId mismatch", "SENDER_ID_MISMATCH"),
    "invalid-token": _invalid("The registration token is not a valid FCM registration token"),
    "invalid-field": _invalid("Invalid registration token", "message.token"),
    "invalid-argument": _invalid("Invalid value at 'message.android.ttl'", "message.android.ttl"),
    "quota": Fate(429, "RESOURCE_EXHAUSTED", _QUOTA, "QUOTA_EXCEEDED", retry_after="2"),
    "quota-unspecified": Fate(429, "RESOURCE_EXHAUSTED", _QUOTA, "QUOTA_EXCEEDED"),
    "unavailable": _UNAVAILABLE,
    "internal": Fate(500, "INTERNAL", "Internal error encountered.", "INTERNAL"),
    "unspecified": Fate(500, "UNKNOWN", "Unknown error.", "UNSPECIFIED_ERROR"),
    "deadline": Fate(504, "DEADLINE_EXCEEDED", "Deadline exceeded."),
    "third-party": Fate(401, "UNAUTHENTICATED", "Auth error from APNS or Web Push Service", "THIRD_PARTY_AUTH_ERROR"),
    "unauthenticated": _EXPIRED,
    "forbidden": _DENIED,
    "no-project": Fate(404, "NOT_FOUND", "Requested entity was not found."),
}
ONCE = {"unavailable-once": _UNAVAILABLE, "expired-once": _EXPIRED}
SPECIAL = {
    "gateway": "502 with a page of HTML, as from a front end",
    "slow": "200 after 30 seconds (`slow`)",
    "reset": "none: the connection is cut once the request has been read",
}
_magic = re.compile(rf"sandbox-({'|'.join(sorted((*FATES, *ONCE, *SPECIAL), key=len, reverse=True))})(-.*)?")


class Gateway(Base):
    """Arrivals, refused ones too: {"project", "answer" (HTTP status, 0 for none), "validate_only", "message"}."""

    magic = (
        *(Magic(f"sandbox-{name}", fate.said) for name, fate in FATES.items()),
        *(Magic(f"sandbox-{name}", f"{fate.said}; 200 from the second time on") for name, fate in ONCE.items()),
        *(Magic(f"sandbox-{name}", said) for name, said in SPECIAL.items()),
    )
    magic_place = "registration token or installation ID"

    @classmethod
    def seen(cls, arrival: Mapping[str, Any]) -> tuple[str, Look]:
        message = arrival["message"]
        target = message.get("token") or message.get("fid") or f"topic {message.get('topic', '')}"
        return str(target), notification({"message": message}, message.get("notification") or {})

    def __init__(self, channel: str, surroundings: Surroundings):
        super().__init__(channel, surroundings)
        self.tokens, self.sends = 0, Counter[str]()
        self._first: OrderedDict[str, str] = OrderedDict()

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        return [
            web.post("/token", self._token),
            web.post("/v1/projects/{project}/messages:send", self._send),
            web.get("/count", self._counted),
            web.delete("/count", self._restart),
        ]

    def owner(self, tenant: str) -> str:
        return project_of(tenant)

    async def _token(self, request: web.Request) -> web.Response:
        self.tokens += 1
        form = await request.post()
        if form.get("grant_type") != _GRANT:
            return _no_token("unsupported_grant_type", "Invalid grant_type")
        try:
            issuer = verified_issuer(str(form.get("assertion", "")))
        except BadToken as error:
            return _no_token("invalid_grant", str(error))
        name = issuer.partition("@")[0]
        if name == "broken":
            return _front_end()
        if name == "disabled":
            return _no_token("invalid_grant", "Invalid grant: account disabled")
        life = 60 if name == "brief" else 3_599
        token = {"access_token": access_token(issuer, life), "expires_in": life, "token_type": "Bearer"}
        return web.json_response(token)

    async def _send(self, request: web.Request) -> web.Response:
        project, raw, token = request.match_info["project"], await request.read(), _bearer(request)
        try:
            _authorize(token, project)
            body = _object(raw)
            message = _valid(body)
        except Refused as refused:
            self.sends[str(refused.fate.status)] += 1
            return refused.fate.answer()
        target = next(str(message[kind]) for kind in _TARGETS if kind in message)
        found = _magic.fullmatch(target)
        magic = found[1] if found else ""
        fate = FATES.get(magic)
        if magic in ONCE and self._refuses_once(magic, target, token, json.dumps(message.get("data"))):
            fate = ONCE[magic]
        status = 502 if magic == "gateway" else 0 if magic == "reset" else fate.status if fate else 200
        self.sends[str(status)] += 1
        validate_only = body.get("validate_only", False)
        arrival = {"project": project, "answer": status, "validate_only": validate_only, "message": message}
        self.arrived(project, arrival)
        if fate:
            return fate.answer()
        return await self._accept(request, magic, "fake_message_id" if validate_only else "")

    async def _accept(self, request: web.Request, magic: str, name: str) -> web.Response:
        if magic == "gateway":
            return _front_end()
        if magic == "reset" and request.transport is not None:
            request.transport.abort()
        if magic == "slow":
            await asyncio.sleep(self.control.slow)
        name = name or f"0:{time.time_ns() // 1_000}%{os.urandom(8).hex()}"
        return web.json_response({"name": f"projects/{request.match_info['project']}/messages/{name}"})

    def _refuses_once(self, magic: str, target: str, token: str, data: str) -> bool:
        """An access token that has expired stays so; a server that was away is there when the message comes again."""
        key = target if magic == "expired-once" else target + data
        if key in self._first:
            return magic == "expired-once" and self._first[key] == token
        self._first[key] = token
        if len(self._first) > _KEPT:
            self._first.popitem(last=False)
        return True

    async def _counted(self, request: web.Request) -> web.Response:
        return web.json_response({"tokens": self.tokens, "sends": self.sends})

    async def _restart(self, request: web.Request) -> web.Response:
        self.tokens, self.sends = 0, Counter()
        return web.Response(status=204)


def _no_token(error: str, description: str) -> web.Response:
    return web.json_response({"error": error, "error_description": description}, status=400)


def _front_end() -> web.Response:
    page = "<!DOCTYPE html><title>Error 502 (Server Error)!!1</title>"
    return web.Response(status=502, text=page, content_type="text/html")


def _bearer(request: web.Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token if scheme == "Bearer" else ""


def _authorize(token: str, project: str) -> None:
    try:
        account = account_of(token)
    except BadToken as error:
        raise Refused(_EXPIRED) from error
    if account.partition("@")[2] != project + DOMAIN:
        raise Refused(_DENIED)


def _object(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise Refused(_invalid("Invalid JSON payload received.")) from error
    if not isinstance(body, dict) or set(body) - {"message", "validate_only"}:
        raise Refused(_invalid("Invalid JSON payload received. Unknown name.", "message"))
    return body


def _valid(body: Mapping[str, Any]) -> dict[str, Any]:
    """The message of a request, as far as FCM would take it. Raises Refused."""
    message = body.get("message")
    if not isinstance(message, dict) or (unknown := sorted(set(message) - _FIELDS)):
        raise Refused(_invalid(f"Unknown name: {unknown if isinstance(message, dict) else 'message'}.", "message"))
    if len([kind for kind in _TARGETS if isinstance(message.get(kind), str)]) != 1:
        raise Refused(_invalid("Exactly one of token, fid, topic or condition is required", "message"))
    if not all(isinstance(message.get(name, {}), dict) for name in _FIELDS - {*_TARGETS}):
        raise Refused(_invalid("Invalid value (TYPE_MESSAGE)", "message"))
    data, notification = message.get("data", {}), message.get("notification", {})
    for index, (name, value) in enumerate(data.items()):
        if not isinstance(value, str):
            raise Refused(_invalid(f"Invalid value (TYPE_STRING), {value}", f"message.data[{index}].value"))
        if _RESERVED.fullmatch(name):
            raise Refused(_invalid(f"Invalid data payload key: {name}"))
    texts = [str(text) for part in (data, notification) for item in part.items() for text in item]
    if sum(len(text.encode(errors="replace")) for text in texts) > _MAX_PAYLOAD:
        raise Refused(_invalid("Android message is too big"))
    android = message.get("android", {})
    ttl = re.fullmatch(r"(\d{1,9})(\.\d{1,9})?s", str(android.get("ttl", "0s")))
    if ttl is None or int(ttl[1]) > _MAX_TTL:
        raise Refused(_invalid("Invalid value at 'message.android.ttl'", "message.android.ttl"))
    if str(android.get("priority", "NORMAL")).upper() not in ("NORMAL", "HIGH"):
        raise Refused(_invalid("Invalid value at 'message.android.priority'", "message.android.priority"))
    return message
