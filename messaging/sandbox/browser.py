"""The sandbox's browsers: key pairs that follow from a name, so that nobody has to store them."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings
from django.utils.crypto import salted_hmac

from messaging.vapid import KEY_BYTES, encoded_point, to_base64url

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of the curve P-256 (FIPS 186)."""


@dataclass(frozen=True, slots=True)
class Browser:
    """What one subscription's browser holds."""

    id: str
    private_key: ec.EllipticCurvePrivateKey
    p256dh: bytes
    auth: bytes

    @property
    def subscription(self) -> dict[str, Any]:
        """As PushSubscription.toJSON() gives it."""
        endpoint = f"{settings.SANDBOX_URL}/webpush/{quote(self.id, safe='')}"
        keys = {"p256dh": to_base64url(self.p256dh), "auth": to_base64url(self.auth)}
        return {"endpoint": endpoint, "expirationTime": None, "keys": keys}


@lru_cache(maxsize=4096)
def browser(id: str) -> Browser:
    """The browser whose subscription has this id at the gateway."""
    key = ec.derive_private_key(_scalar("browser", id), ec.SECP256R1())
    return Browser(id, key, encoded_point(key.public_key()), _derived("auth", id)[:16])


def sandbox_private_key(tenant: str) -> str:
    """The VAPID key of a tenant's test messages."""
    return to_base64url(_scalar("tenant", tenant).to_bytes(KEY_BYTES))


def _scalar(purpose: str, name: str) -> int:
    return int.from_bytes(_derived(purpose, name)) % (_ORDER - 1) + 1


def _derived(purpose: str, name: str) -> bytes:
    """32 bytes."""
    return salted_hmac(f"sprayer.webpush.{purpose}", name, algorithm="sha256").digest()
