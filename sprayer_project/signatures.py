"""Signed webhooks: secrets and the three headers of Standard Webhooks.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hmac
import os
import time
from collections.abc import Sequence
from functools import lru_cache


def new_secret() -> str:
    """A signing secret: `whsec_` and 32 random bytes in base64."""
    return "whsec_" + base64.b64encode(os.urandom(32)).decode()


@lru_cache(maxsize=4096)
def secret_key(secret: str) -> bytes:
    """The key inside `whsec_<base64 of 24 to 64 bytes>`. Raises ValueError with a sentence."""
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError:
        key = b""
    if not secret.startswith("whsec_") or not 24 <= len(key) <= 64:
        raise ValueError("A signing secret is whsec_ and 24 to 64 bytes in base64.")
    return key


def sign(secrets: Sequence[str], identifier: str, body: bytes, at: float | None = None) -> dict[str, str]:
    """The three headers of Standard Webhooks, a signature a secret (two while a secret is being replaced).

    identifier is the same on every attempt; at is in Unix seconds, now by default. Raises ValueError for a bad secret.
    """
    timestamp = str(int(time.time() if at is None else at))
    content = b"%s.%s.%s" % (identifier.encode(), timestamp.encode(), body)
    digests = [hmac.digest(secret_key(secret), content, "sha256") for secret in secrets]
    signature = " ".join("v1," + base64.b64encode(digest).decode() for digest in digests)
    return {"webhook-id": identifier, "webhook-timestamp": timestamp, "webhook-signature": signature}
