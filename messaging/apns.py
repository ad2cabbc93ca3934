"""APNs' provider API: one HTTP/2 connection and one provider token for each team's key.

https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns
https://developer.apple.com/documentation/usernotifications/establishing-a-token-based-connection-to-apns
"""

import asyncio
import base64
import json
import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key

from feedback.events import Status
from messaging.http2 import ConnectionLost, Http2Connection, Reply, connect, tls_context
from sprayer_project.gate import Gate
from sprayer_project.outbound import parse_retry_after

STREAMS = 100
"""Requests in flight on one connection; fewer where the server's settings say so."""
CONNECT_TIMEOUT, TIMEOUT = 5.0, 10.0
"""Seconds. A page of recipients has to end before its claims do, even when every request hangs."""
NOBODY = "0" * 64
"""A device token that Apple never gives out: asked for it, APNs says BadDeviceToken to whoever may ask at all."""
_TOKEN_AGE = 2_400.0
"""Seconds; Apple refuses tokens older than an hour, and a new one more often than every 20 minutes."""
_TOKEN_PAUSE = 1_200.0
_IDLE = 240.0
"""Seconds of silence after which a connection may have been forgotten on its way."""
_PAUSE_AFTER_FAILURE = 1.0
_pem = re.compile(r"-----BEGIN PRIVATE KEY-----([A-Za-z0-9+/=\s]+)-----END PRIVATE KEY-----")


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a reason of APNs means to us, and our word for it."""

    status: Status
    reason: str
    retire: bool = False
    retry_after: float | None = None


_FAILED, _DEFERRED = Status.FAILED, Status.DEFERRED
_CREDENTIALS = Refusal(_FAILED, "credentials_refused")
_REQUEST = Refusal(_FAILED, "provider_refused")
_AWAY = Refusal(_DEFERRED, "provider_unavailable")
REASONS = {
    # https://developer.apple.com/documentation/usernotifications/handling-notification-responses-from-apns
    "BadCollapseId": _REQUEST,
    "BadDeviceToken": Refusal(_FAILED, "invalid_address", retire=True),
    "BadExpirationDate": _REQUEST,
    "BadMessageId": _REQUEST,
    "BadPriority": _REQUEST,
    "BadTopic": Refusal(_FAILED, "invalid_topic"),
    "DeviceTokenNotForTopic": Refusal(_FAILED, "address_of_other_topic", retire=True),
    "DuplicateHeaders": _REQUEST,
    "IdleTimeout": _AWAY,
    "InvalidPushType": _REQUEST,
    "MissingDeviceToken": _REQUEST,
    "MissingTopic": Refusal(_FAILED, "invalid_topic"),
    "PayloadEmpty": _REQUEST,
    "TopicDisallowed": Refusal(_FAILED, "topic_not_allowed"),
    "BadCertificate": _CREDENTIALS,
    "BadCertificateEnvironment": _CREDENTIALS,
    "BadEnvironmentKeyIdInToken": _CREDENTIALS,
    "UnrelatedKeyIdInToken": _CREDENTIALS,
    "ExpiredProviderToken": Refusal(_DEFERRED, "provider_token_expired", retry_after=60),
    "Forbidden": _REQUEST,
    "InvalidProviderToken": _CREDENTIALS,
    "MissingProviderToken": _CREDENTIALS,
    "BadPath": _REQUEST,
    "MethodNotAllowed": _REQUEST,
    "ExpiredToken": Refusal(_FAILED, "address_expired", retire=True),
    "Unregistered": Refusal(_FAILED, "unregistered", retire=True),
    "PayloadTooLarge": Refusal(_FAILED, "payload_too_large"),
    "TooManyProviderTokenUpdates": Refusal(_DEFERRED, "rate_limited", retry_after=_TOKEN_PAUSE),
    "TooManyRequests": Refusal(_DEFERRED, "rate_limited", retry_after=30),
    "InternalServerError": _AWAY,
    "ServiceUnavailable": _AWAY,
    "Shutdown": _AWAY,
}


class NoAnswer(Exception):
    """unknown: the request left, so that APNs may have taken it. reachable: the connection stood."""

    def __init__(self, reason: str, detail: str, unknown: bool = False, reachable: bool = True):
        super().__init__(detail)
        self.reason, self.detail, self.unknown, self.reachable = reason, detail, unknown, reachable


@dataclass(frozen=True, slots=True)
class Answer:
    """APNs' answer to one request."""

    status: int
    reason: str
    """Apple's word, empty with 200."""
    unregistered_at: datetime | None
    retry_after: float | None
    headers: Mapping[str, str]

    @property
    def refusal(self) -> Refusal:
        """Raises KeyError for a yes."""
        if self.status == 200:
            raise KeyError(self.status)
        away = self.status == 429 or self.status >= 500
        return REASONS.get(self.reason, _AWAY if away else _REQUEST)


@dataclass(frozen=True, slots=True)
class Credentials:
    """A team's signing key."""

    team_id: str
    key_id: str
    private_key: str
    """PEM."""


def key_of(text: str) -> str:
    """The PEM of a P-256 private key, also where a single-line field took its line ends. Raises ValueError."""
    found = _pem.fullmatch(text.strip())
    if found is None:
        raise ValueError("Give the whole .p8 file, from -----BEGIN PRIVATE KEY----- to -----END PRIVATE KEY-----.")
    try:
        key = load_der_private_key(base64.b64decode("".join(found[1].split()), validate=True), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError("This private key cannot be read: copy the .p8 file again.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("This is a private key, but not one of APNs: those are of the kind P-256.")
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


class ProviderToken:
    """The JWT (ES256) that stands for a team, kept as long as Apple wants it kept."""

    def __init__(self, credentials: Credentials):
        self._credentials = credentials
        self._text, self._made, self._forced = "", 0.0, float("-inf")

    def current(self) -> str:
        if not self._text or time.monotonic() - self._made > _TOKEN_AGE:
            self._mint()
        return self._text

    def replace(self, refused: str) -> bool:
        """Whether there is another token than the refused one: a new one is made once in 20 minutes at most."""
        now = time.monotonic()
        if refused == self._text and now - self._forced > _TOKEN_PAUSE:
            self._forced = now
            self._mint()
        return refused != self._text

    def _mint(self) -> None:
        own = self._credentials
        claims = {"iss": own.team_id, "iat": int(time.time())}
        self._text = jwt.encode(claims, own.private_key, algorithm="ES256", headers={"kid": own.key_id})
        self._made = time.monotonic()


class Apns:
    """One team's key at one server. Apple takes the tokens of one team alone on a connection."""

    def __init__(self, url: str, ca: str | None, credentials: Credentials):
        self._url, self._context = urlsplit(url), tls_context(ca)
        self._token = ProviderToken(credentials)
        self._connection: Http2Connection | None = None
        self._connecting: asyncio.Task[Http2Connection] | None = None
        self._failed: tuple[float, NoAnswer] | None = None
        self.gate = Gate(STREAMS)
        """To be passed before push, whose time limit begins behind it."""

    @property
    def idle(self) -> bool:
        return self._connecting is None and (self._connection is None or self._connection.idle)

    async def push(self, address: str, headers: Mapping[str, str], payload: bytes) -> Answer:
        """One notification. Raises NoAnswer."""
        token = self._token.current()
        answer = await self._exchange(address, headers, payload, token)
        if answer.reason == "ExpiredProviderToken" and self._token.replace(token):
            answer = await self._exchange(address, headers, payload, self._token.current())
        return answer

    async def aclose(self) -> None:
        if self._connecting:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if self._connection:
            await self._connection.aclose()

    async def _exchange(self, address: str, headers: Mapping[str, str], payload: bytes, token: str) -> Answer:
        everything = {"authorization": f"bearer {token}", **headers, "content-length": str(len(payload))}
        try:
            connection = await self._connected()
            try:
                return _answer(await self._request(connection, address, everything, payload))
            except ConnectionLost as error:
                if error.unknown:
                    raise
                # The server said that it did not look at the request: a new connection takes it at once.
                connection = await self._connected()
                return _answer(await self._request(connection, address, everything, payload))
        except ConnectionLost as error:
            raise NoAnswer("connection_lost", str(error), error.unknown) from error

    async def _request(
        self, connection: Http2Connection, address: str, headers: Mapping[str, str], payload: bytes
    ) -> Reply:
        started = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(TIMEOUT):
                return await connection.request(f"/3/device/{address}", headers, payload)
        except TimeoutError as error:
            if connection.heard_at < started:
                connection.close()  # not one octet in all that time: nobody is there any more
            raise NoAnswer("timeout", "No answer came in time.", unknown=True) from error

    async def _connected(self) -> Http2Connection:
        """The connection, made when there is none; everybody who asks meanwhile waits for the same one."""
        now = asyncio.get_running_loop().time()
        found = self._connection
        if found and found.idle and found.usable and now - found.heard_at > _IDLE:
            found.close()
        if found and found.usable:
            return found
        if self._failed and now - self._failed[0] < _PAUSE_AFTER_FAILURE:
            raise self._failed[1]
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect())
        return await asyncio.shield(self._connecting)

    async def _connect(self) -> Http2Connection:
        try:
            self._connection = await connect(self._url, self._context, CONNECT_TIMEOUT, STREAMS)
            return self._connection
        except (OSError, ConnectionLost) as error:
            word = "tls_failed" if isinstance(error, ssl.SSLError) else "provider_unavailable"
            failure = NoAnswer(word, type(error).__name__, reachable=False)
            self._failed = asyncio.get_running_loop().time(), failure
            raise failure from error
        finally:
            self._connecting = None


def _answer(reply: Reply) -> Answer:
    said: Any = {}
    if reply.status != 200:
        try:
            said = json.loads(reply.body)
        except ValueError:
            said = {}
    said = said if isinstance(said, dict) else {}
    at = said.get("timestamp")
    return Answer(
        status=reply.status,
        reason=str(said.get("reason", ""))[:100],
        unregistered_at=datetime.fromtimestamp(at / 1000, UTC) if isinstance(at, int) and 0 < at < 2**42 else None,
        retry_after=parse_retry_after(reply.headers.get("retry-after")),
        headers=reply.headers,
    )
