"""A browser's push subscription: its canonical form, and encryption that its browser alone can undo.

https://www.w3.org/TR/push-api/#dom-pushsubscriptionjson and https://www.rfc-editor.org/rfc/rfc8291
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import http_ece
from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings
from yarl import URL

from messaging.vapid import from_base64url, to_base64url
from sprayer_project import json_text, outbound

MAX_TEXT = 3_993
"""Bytes before encryption: a push service takes 4,096, of which the header, padding and tag are 103 (RFC 8291, 4)."""
_MAX_ENDPOINT, _MAX_JSON = 2_048, 8_192
_POINT, _AUTH = 65, 16
_ascii = re.compile(r"[!-~]+")
_host = re.compile(r"[A-Za-z0-9_.-]+|[0-9a-f:.]+")


@dataclass(frozen=True, slots=True)
class Subscription:
    """p256dh is the browser's public key as an uncompressed point of P-256, auth 16 bytes that it shares."""

    endpoint: str
    p256dh: bytes
    auth: bytes

    @classmethod
    def read(cls, canonical: str) -> "Subscription":
        """From canonical text, which is not checked again."""
        found = json.loads(canonical)
        keys = found["keys"]
        return cls(found["endpoint"], from_base64url(keys["p256dh"]), from_base64url(keys["auth"]))

    @property
    def canonical(self) -> str:
        """JSON that is the same for the same subscription; expirationTime is no part of it, since it may change."""
        keys = {"p256dh": to_base64url(self.p256dh), "auth": to_base64url(self.auth)}
        return json.dumps({"endpoint": self.endpoint, "keys": keys}, separators=(",", ":"))

    @property
    def origin(self) -> str:
        """Scheme, host and port of the push service."""
        return str(URL(self.endpoint, encoded=True).origin())

    @property
    def at_the_sandbox(self) -> bool:
        return self.endpoint.startswith(f"{settings.SANDBOX_URL}/webpush/")

    def encrypted(self, text: bytes) -> bytes:
        """A body in the content encoding aes128gcm, with a key pair of its own. text has at most MAX_TEXT bytes."""
        key = ec.generate_private_key(ec.SECP256R1())
        keys = {"private_key": key, "dh": self.p256dh, "auth_secret": self.auth}
        return bytes(http_ece.encrypt(text, version="aes128gcm", **keys))


def cleaned(value: Any) -> Subscription:
    """From what PushSubscription.toJSON() gives, or its JSON text. Raises ValueError with a sentence."""
    found = _object(value)
    keys = found.get("keys")
    if not isinstance(keys, dict):
        raise ValueError("A subscription object has keys: p256dh and auth.")
    point, auth = _key(keys, "p256dh"), _key(keys, "auth")
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point if len(point) == _POINT else b"")
    except ValueError as error:
        raise ValueError("p256dh is not an uncompressed point of P-256 in base64url.") from error
    if len(auth) != _AUTH:
        raise ValueError(f"auth is not {_AUTH} bytes in base64url.")
    return Subscription(_endpoint(found.get("endpoint")), point, auth)


def _object(value: Any) -> Mapping[str, Any]:
    if isinstance(value, str) and len(value) <= _MAX_JSON:
        try:
            value = json_text.parse(value)
        except ValueError:
            value = None
    if not isinstance(value, dict):
        raise ValueError("A Web Push address is the browser's subscription object, or its JSON.")
    return value


def _key(keys: Mapping[str, Any], name: str) -> bytes:
    text = keys.get(name)
    if not isinstance(text, str):
        raise ValueError(f"A subscription's keys have {name} as text.")
    try:
        return from_base64url(text)
    except ValueError as error:
        raise ValueError(f"{name} of the subscription's keys is not base64url.") from error


def _endpoint(value: Any) -> str:
    """Its origin in canonical form; what follows means something to the push service alone, so that it stays as it is.

    Where the host leads is checked at every request, since names change.
    """
    if not isinstance(value, str) or not _ascii.fullmatch(value) or len(value) > _MAX_ENDPOINT:
        raise ValueError(f"A subscription's endpoint is a URL of at most {_MAX_ENDPOINT:,} ASCII characters.")
    try:
        url, parts = URL(value), urlsplit(value)
    except ValueError as error:
        raise ValueError("The subscription's endpoint is not a URL.") from error
    if not _host.fullmatch(url.raw_host or "") or not url.port or url.raw_user is not None or url.raw_fragment:
        raise ValueError("A subscription's endpoint is a URL with a host, without user name, password or #fragment.")
    if url.scheme != "https" and not _may_be_plain(url):
        raise ValueError("A subscription's endpoint starts with https://.")
    return f"{url.origin()}{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"


def _may_be_plain(url: URL) -> bool:
    """Whether http:// will do: the sandbox, and what the operator allows by name."""
    allowed = outbound.is_allowed_private(url.raw_host or "", url.port or 0)
    return (allowed and str(url).startswith("http://")) or url.origin() == URL(settings.SANDBOX_URL).origin()


def topic(collapse_key: str) -> str:
    """32 characters that stand for a collapse key, which the push service need not know."""
    return to_base64url(hashlib.blake2b(collapse_key.encode(), digest_size=24).digest())
