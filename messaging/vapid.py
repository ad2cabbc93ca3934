"""VAPID: a tenant's key pair, and the header by which a push service knows who sends.

https://www.rfc-editor.org/rfc/rfc8292
"""

import base64
import time
from functools import lru_cache

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

KEY_BYTES = 32
_RENEWAL = 6 * 3600
"""Seconds that a token is used; it is good for twice as long, and a push service accepts at most a day."""


def to_base64url(data: bytes) -> str:
    """Without padding, as everything in Web Push."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    """Takes the other alphabet and padding, too. Raises ValueError."""
    text = text.rstrip("=").replace("-", "+").replace("_", "/")
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def new_private_key() -> str:
    """32 bytes in base64url."""
    return to_base64url(ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value.to_bytes(KEY_BYTES))


def public_key(private_key: str) -> str:
    """What a browser's pushManager.subscribe() takes as applicationServerKey. Raises ValueError for what is no key."""
    return to_base64url(encoded_point(_loaded(private_key).public_key()))


def encoded_point(key: ec.EllipticCurvePublicKey) -> bytes:
    """65 bytes: the uncompressed form."""
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def authorization(private_key: str, subject: str, origin: str, now: float | None = None) -> str:
    """The Authorization header for the push service at an origin (scheme, host and port).

    subject is a mailto: or https: URL by which the service reaches the sender; now is in Unix seconds.
    """
    return _authorization(private_key, subject, origin, int((time.time() if now is None else now) // _RENEWAL))


@lru_cache(maxsize=4096)
def _authorization(private_key: str, subject: str, origin: str, period: int) -> str:
    claims = {"aud": origin, "exp": (period + 2) * _RENEWAL, "sub": subject}
    return f"vapid t={jwt.encode(claims, _loaded(private_key), 'ES256')},k={public_key(private_key)}"


@lru_cache(maxsize=1024)
def _loaded(private_key: str) -> ec.EllipticCurvePrivateKey:
    try:
        raw = from_base64url(private_key)
        return ec.derive_private_key(int.from_bytes(raw if len(raw) == KEY_BYTES else b""), ec.SECP256R1())
    except ValueError as error:
        raise ValueError(f"A VAPID private key is {KEY_BYTES} bytes in base64url.") from error
