"""A Web Push service and its browsers: checks what a real one checks, then decrypts as the browser would.

Source: RFC 8030 (https://www.rfc-editor.org/rfc/rfc8030), 8188, 8291 and 8292.

    POST /webpush/<subscription>   201 with Location; 400, 401, 413 or 415 with a sentence for what breaks the rules
    GET  /webpush/<subscription>   the subscription object: every name has one, with keys of its own

The subscription's name decides, as Gateway.magic declares. A name may go on after a hyphen, so that there are many of a
kind: 410-alice. Every other is answered 201.
"""

import asyncio
import json
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import http_ece
import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec

from messaging.channels.base import Look
from messaging.looks import decoded, notification
from messaging.sandbox.base import Gateway as Base
from messaging.sandbox.base import Magic, Surroundings
from messaging.sandbox.browser import Browser, browser
from messaging.vapid import from_base64url

MAX_BODY = 4096
_DAY = 86_400
_KEPT = 10_000
_magic = re.compile(r"(?P<status>[45][0-9]{2})(?P<once>-once)?(?:-.*)?", re.DOTALL)
_credentials = re.compile(r"vapid\s+t=([\w.-]+)\s*,\s*k=([\w-]+)", re.ASCII | re.IGNORECASE)
_topic = re.compile(r"[A-Za-z0-9_-]{1,32}")
_urgencies = frozenset({"", "very-low", "low", "normal", "high"})


class Refused(Exception):
    """What a push service answers to a request that breaks the rules."""

    def __init__(self, status: int, sentence: str):
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


class Gateway(Base):
    """Arrivals, refused ones included:

    {"subscription", "path", "headers" (names in lower case), "status" (answered), "vapid" (claims), "body" (decrypted)}
    """

    magic = (
        Magic("<status>", "that status, 400 to 599: 403 for another sender's subscription, 404, 410, 413, 500 ..."),
        Magic("429", "429 with Retry-After: 2"),
        Magic("<status>-once", "that status to the first request, then 201"),
        Magic("slow", "201 after 30 seconds (`slow`)"),
        Magic("reset", "none: the connection is cut once the request has been read"),
    )
    magic_place = "last part of the endpoint, /webpush/..."

    @classmethod
    def seen(cls, arrival: Mapping[str, Any]) -> tuple[str, Look]:
        shown = decoded(arrival.get("body", ""))
        raw = Look(shape="code", payload=str(arrival.get("error") or arrival.get("body", "")))
        return str(arrival["subscription"]), notification(shown) if isinstance(shown, dict) else raw

    def __init__(self, channel: str, surroundings: Surroundings):
        super().__init__(channel, surroundings)
        self._refused_once: OrderedDict[str, None] = OrderedDict()

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        return [web.post("/{name}", self._push), web.get("/{name}", self._subscription)]

    async def _subscription(self, request: web.Request) -> web.Response:
        return web.json_response(browser(request.match_info["name"]).subscription)

    async def _push(self, request: web.Request) -> web.Response:
        name, body = request.match_info["name"], await request.read()
        headers = {header.lower(): value for header, value in request.headers.items()}
        arrival: dict[str, Any] = {"subscription": name, "path": request.path_qs, "headers": headers, "status": 201}
        location = f"{request.scheme}://{request.host}/{self.channel}/m/{secrets.token_urlsafe(16)}"
        answer = web.Response(status=201, headers={"Location": location, "TTL": headers.get("ttl", "")})
        try:
            arrival["vapid"] = _sender(headers.get("authorization", ""), f"{request.scheme}://{request.host}")
            _check(headers, body)
            arrival["body"] = _decrypted(browser(name), body)
            self._misbehave(name)
        except Refused as refused:
            answer = _refusal(refused)
            arrival |= {"status": refused.status, "error": refused.sentence}
        self.arrived(headers.get("sprayer-tenant", ""), arrival)
        if name.partition("-")[0] == "slow":
            await asyncio.sleep(self.control.slow)
        if name.partition("-")[0] == "reset" and request.transport is not None:
            request.transport.abort()
        return answer

    def _misbehave(self, name: str) -> None:
        """Raises Refused where the name asks for it."""
        found = _magic.fullmatch(name)
        if found is None or (found["once"] and name in self._refused_once):
            return
        self._refused_once[name] = None
        if len(self._refused_once) > _KEPT:
            self._refused_once.popitem(last=False)
        raise Refused(int(found["status"]), "This subscription's name asks for it.")


def _refusal(refused: Refused) -> web.Response:
    headers = {"Retry-After": "2"} if refused.status == 429 else {}
    headers |= {"WWW-Authenticate": "vapid"} if refused.status == 401 else {}
    return web.json_response({"error": refused.sentence}, status=refused.status, headers=headers)


def _sender(authorization: str, origin: str) -> dict[str, Any]:
    """The claims of a sender's token, verified. Raises Refused."""
    found = _credentials.fullmatch(authorization)
    if found is None:
        raise Refused(401, "Authorization must be vapid t=<token>, k=<public key>.")
    try:
        claims: dict[str, Any] = json.loads(_claims(found[1], found[2], origin))
    except (jwt.InvalidTokenError, ValueError) as error:
        raise Refused(401, f"The VAPID token does not hold: {error}.") from error
    if not isinstance(claims["exp"], int) or not time.time() < claims["exp"] <= time.time() + _DAY:
        raise Refused(401, "The VAPID token's exp must be within the next 24 hours.")
    if not str(claims["sub"]).startswith(("mailto:", "https:")):
        raise Refused(401, "The VAPID token's sub must be a mailto: or https: URL.")
    return claims


@lru_cache(maxsize=1024)
def _claims(token: str, public_key: str, origin: str) -> str:
    """JSON of the claims; exp is left to the caller, since time goes on. Raises InvalidTokenError, ValueError."""
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), from_base64url(public_key))
    claims = jwt.decode(
        token,
        key,
        algorithms=["ES256"],
        audience=origin,
        options={"require": ["aud", "exp", "sub"], "verify_exp": False},
    )
    return json.dumps(claims)


def _check(headers: Mapping[str, str], body: bytes) -> None:
    """Raises Refused for what RFC 8030 does not allow."""
    if not re.fullmatch(r"[0-9]{1,10}", headers.get("ttl", "")):
        raise Refused(400, "TTL must be a number of seconds.")
    if headers.get("urgency", "") not in _urgencies:
        raise Refused(400, "Urgency must be very-low, low, normal or high.")
    if "topic" in headers and not _topic.fullmatch(headers["topic"]):
        raise Refused(400, "Topic must be 1 to 32 characters of the base64url alphabet.")
    if len(body) > MAX_BODY:
        raise Refused(413, f"The body must be at most {MAX_BODY} bytes.")
    if headers.get("content-encoding") != "aes128gcm" or headers.get("content-type") != "application/octet-stream":
        raise Refused(415, "The body must be an application/octet-stream in the content encoding aes128gcm.")


def _decrypted(owner: Browser, body: bytes) -> str:
    """The text as the browser's service worker would see it. Raises Refused."""
    try:
        data: bytes = http_ece.decrypt(body, private_key=owner.private_key, auth_secret=owner.auth, version="aes128gcm")
        return data.decode()
    except (http_ece.ECEException, ValueError) as error:
        raise Refused(400, f"The browser cannot decrypt the body: {type(error).__name__}.") from error
