"""Firebase Cloud Messaging's HTTP v1 API: its messages, its words and what they mean to us, its client.

https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages/send
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from feedback.events import Status
from messaging.channels.base import DeliveryError, Look, Outcome, Outgoing, Recipient
from messaging.google_tokens import Account
from messaging.looks import notification
from sprayer_project.facts import fact
from sprayer_project.gate import Gate
from sprayer_project.limits import Limits
from sprayer_project.outbound import parse_retry_after
from sprayer_project.posting import Post

CONCURRENCY = 100
"""Requests under way to one server: FCM's own and the sandbox have their places apart."""
CONNECT_TIMEOUT, TIMEOUT = 5.0, 15.0
PROVIDER, DELIVERY_KEY = "fcm", "sprayer_delivery"
MAX_TTL, MAX_PAYLOAD = 2_419_200, 4_096
"""Seconds; bytes of names and texts in notification and data."""
FID = "fid:"
"""Before an address that is an installation id; without it one is a registration token."""
QUOTA_PAUSE = 60.0
"""Seconds after a 429 without Retry-After: https://firebase.google.com/docs/cloud-messaging/scale-fcm#handling-retries"""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a word of FCM's means to us."""

    status: Status
    reason: str
    retire: bool = False


ERRORS = {
    # https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode
    "UNSPECIFIED_ERROR": Meaning(Status.DEFERRED, "provider_unavailable"),
    "INVALID_ARGUMENT": Meaning(Status.FAILED, "provider_refused"),
    "UNREGISTERED": Meaning(Status.FAILED, "unregistered", retire=True),
    "SENDER_ID_MISMATCH": Meaning(Status.FAILED, "sender_mismatch", retire=True),
    "QUOTA_EXCEEDED": Meaning(Status.DEFERRED, "rate_limited"),
    "UNAVAILABLE": Meaning(Status.DEFERRED, "provider_unavailable"),
    "INTERNAL": Meaning(Status.DEFERRED, "provider_unavailable"),
    "THIRD_PARTY_AUTH_ERROR": Meaning(Status.FAILED, "third_party_auth"),
    # https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto, where FCM says nothing closer
    "UNAUTHENTICATED": Meaning(Status.FAILED, "credentials_refused"),
    "PERMISSION_DENIED": Meaning(Status.FAILED, "credentials_refused"),
    "NOT_FOUND": Meaning(Status.FAILED, "unknown_project"),
    "RESOURCE_EXHAUSTED": Meaning(Status.DEFERRED, "rate_limited"),
    "DEADLINE_EXCEEDED": Meaning(Status.DEFERRED, "timeout"),
}
INVALID_TOKEN = Meaning(Status.FAILED, "invalid_address", retire=True)
"""An INVALID_ARGUMENT that is about the address."""
_BY_STATUS = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 429: "QUOTA_EXCEEDED", 504: "DEADLINE_EXCEEDED"}
_RESERVED = len(DELIVERY_KEY) + len("dlv_") + 26 + 16  # what a delivery's id takes
_LOOK = ("click_action", "channel_id", "sound", "tag", "icon", "color")
_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, default=dict).encode
DRY_RUN = _json({"validate_only": True, "message": {"topic": "sprayer", "android": {"ttl": "0s"}}}).encode()
"""A request that FCM checks and carries no further; a topic needs no device."""
_ABOUT_THE_TOKEN = frozenset({"message.token", "message.fid"})


@fact
class Answer:
    """status is the HTTP status; body is empty where the answer is no JSON object (a front-end's HTML page)."""

    status: int
    body: Mapping[str, Any]
    retry_after: float | None = None

    @property
    def name(self) -> str:
        """The message's name: projects/<project>/messages/<id>; empty when it was refused."""
        return str(self.body.get("name", ""))

    @property
    def words(self) -> str:
        return str(self._error.get("message", ""))

    @property
    def code(self) -> str:
        """FCM's error code, or else the general one, or else what the HTTP status says."""
        named = [detail.get("errorCode") for detail in self._details] + [self._error.get("status")]
        known = [code for code in named if code in ERRORS]
        fallback = "UNAVAILABLE" if self.status >= 500 else "INVALID_ARGUMENT"
        return str(known[0] if known else _BY_STATUS.get(self.status, fallback))

    @property
    def meaning(self) -> Meaning:
        return INVALID_TOKEN if self.code == "INVALID_ARGUMENT" and self._blames_the_token() else ERRORS[self.code]

    def _blames_the_token(self) -> bool:
        """Either a field violation names it, or the sentence does: the two forms of Google's page on error codes."""
        violations = [one for detail in self._details for one in detail.get("fieldViolations", ())]
        fields = {one.get("field") for one in violations if isinstance(one, Mapping)}
        return bool(fields & _ABOUT_THE_TOKEN) or "is not a valid FCM registration token" in self.words

    @property
    def _error(self) -> Mapping[str, Any]:
        error = self.body.get("error")
        return error if isinstance(error, Mapping) else {}

    @property
    def _details(self) -> list[Mapping[str, Any]]:
        return [detail for detail in self._error.get("details") or () if isinstance(detail, Mapping)]


class Fcm:
    """One connection pool. Belongs to the event loop that made it."""

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
            cookie_jar=aiohttp.DummyCookieJar(),
            request_class=Post,
            headers={"Content-Type": "application/json", "User-Agent": "Sprayer/1"},
        )
        self._gates: dict[str, Gate] = {}
        self._limits = Limits()

    def gate(self, server: str) -> Gate:
        """Bounds what is under way; the time limit of a request starts behind it."""
        return self._gates.setdefault(server, Gate(CONCURRENCY))

    async def post(self, url: str, token: str, body: bytes) -> Answer:
        """Raises DeliveryError when no answer came."""
        headers = {"Authorization": f"Bearer {token}"}
        try:
            with self._limits.within(TIMEOUT):
                # An answer that was read to its end, or could not be, has given its connection back.
                answer = await self._session.post(url, data=body, headers=headers, allow_redirects=False)
                content = answer.content  # which mostly came with the head
                said = _parsed(content.read_nowait() if content.is_eof() else await content.read())
            return Answer(
                status=answer.status, body=said, retry_after=parse_retry_after(answer.headers.get("Retry-After"))
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise DeliveryError("provider_unavailable") from error
        except TimeoutError as error:
            raise DeliveryError("timeout", unknown=True) from error
        except aiohttp.ClientError as error:
            raise DeliveryError("connection_lost", unknown=True) from error

    async def close(self) -> None:
        await self._session.close()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tenant's messages go, and as whom."""

    fcm: Fcm
    account: Account
    server: str
    url: str


def _parsed(raw: bytes) -> Mapping[str, Any]:
    try:
        body = orjson.loads(raw)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def check_accepted(answer: Answer) -> None:
    """Raises DeliveryError where the answer to a dry run is no."""
    if not 200 <= answer.status < 300:
        permanent = answer.meaning.status is Status.FAILED
        raise DeliveryError(answer.meaning.reason, permanent, detail=answer.words[:200])


def outcome_of(recipient: Recipient, answer: Answer) -> Outcome:
    if 200 <= answer.status < 300:
        detail: dict[str, Any] = {"http_status": answer.status}
        return Outcome(
            delivery=recipient.delivery,
            status=Status.SENT,
            provider=PROVIDER,
            provider_id=answer.name,
            detail=detail,
        )
    meaning = answer.meaning
    words = answer.words.replace(recipient.address.removeprefix(FID), "...")[:200]
    return Outcome(
        delivery=recipient.delivery,
        status=meaning.status,
        reason=meaning.reason,
        provider=PROVIDER,
        retry_after=answer.retry_after or (QUOTA_PAUSE if meaning.reason == "rate_limited" else None),
        unknown=answer.code == "DEADLINE_EXCEEDED",
        retire=meaning.retire,
        detail={"http_status": answer.status, "code": answer.code} | ({"message": words} if words else {}),
    )


def message_parts(message: Outgoing) -> dict[str, Any]:
    """What the recipients' FCM messages have in common, without empty parts.

    Raises DeliveryError for a payload beyond FCM's limit, which counts names and texts.
    """
    own = message.overrides
    data = own.get("data", message.content.get("data"))
    named = data if isinstance(data, Mapping) else {} if data is None else {"data": data}
    if kind := message.content.get("type"):
        named = {"type": kind, **named}
    texts = {name: value if isinstance(value, str) else _json(value) for name, value in named.items()}
    shown = {name: own.get(name, message.content.get(name)) for name in ("title", "body", "image")}
    shown = {name: text for name, text in shown.items() if text}
    if _size(texts, shown) > MAX_PAYLOAD - _RESERVED:
        raise DeliveryError("payload_too_large", permanent=True, detail=f"FCM takes {MAX_PAYLOAD} bytes at most.")
    parts = {"data": texts, "notification": shown, "android": _android(message, bool(shown))}
    if "analytics_label" in own:
        parts["fcm_options"] = {"analytics_label": own["analytics_label"]}
    return {name: part for name, part in parts.items() if part}


def preview(message: Outgoing) -> dict[str, Any]:
    """The bytes that FCM counts, those of the delivery's id included, and its limit. Raises DeliveryError."""
    parts = message_parts(message)
    counted = _size(parts.get("data", {}), parts.get("notification", {})) + _RESERVED
    return {"payload_bytes": counted, "limit": MAX_PAYLOAD, "priority": parts["android"]["priority"].lower()}


def look(message: Outgoing) -> Look:
    """Raises DeliveryError."""
    parts = message_parts(message)
    return notification({"message": parts}, parts.get("notification", {}))


def _size(*parts: Mapping[str, str]) -> int:
    return sum(len(text.encode(errors="replace")) for part in parts for item in part.items() for text in item)


def _android(message: Outgoing, shown: bool) -> dict[str, Any]:
    own = message.overrides
    android: dict[str, Any] = {"priority": own.get("priority", message.priority).upper()}
    if key := own.get("collapse_key", message.collapse_key):
        android["collapse_key"] = key
    if shown and (look := {name: own[name] for name in _LOOK if name in own}):
        android["notification"] = look
    return android


def body_maker(message: Outgoing) -> Callable[[Recipient], bytes]:
    """Makes the bodies of a message's requests, of which the recipients' common parts are encoded once.

    Each has the time to live that is left now, and the delivery's id: an app tells repeats by it. Raises DeliveryError.
    """
    parts = message_parts(message)
    texts = {name: text for name, text in parts.pop("data", {}).items() if name != DELIVERY_KEY}
    android, expires = _members(parts.pop("android")), message.expires_at.timestamp()
    begin = b'{"message":{%b"data":{%b"%b":"' % (_members(parts), _members(texts), DELIVERY_KEY.encode())
    middle = b'"},"android":{%b"ttl":"' % android

    def body(recipient: Recipient) -> bytes:
        left = max(0, min(MAX_TTL, int(expires - time.time())))
        address = recipient.address
        kind, name = (b"fid", address[len(FID) :]) if address.startswith(FID) else (b"token", address)
        own = (begin, recipient.delivery.encode(), middle, left, kind, orjson.dumps(name))
        return b'%b%b%b%ds"},"%b":%b}}' % own

    return body


def _members(values: Mapping[str, Any]) -> bytes:
    """A JSON object's members, each with a comma behind it."""
    try:
        encoded = orjson.dumps(values)
    except TypeError:
        encoded = _json(values).encode(errors="replace")  # a lone surrogate in a tenant's text
    return encoded[1:-1] + b"," if values else b""
