"""API keys as text: made here, hashed here, stored nowhere."""

import hashlib
import secrets
from dataclasses import dataclass

MODES = ("live", "test")
_SHOWN = 8
"""Random characters that lists show, so that people can tell their keys apart; 207 secret bits remain."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """plain goes to its owner once; prefix and hash are what we keep."""

    plain: str
    prefix: str
    hash: str


def generate(mode: str) -> NewKey:
    """`spr_<mode>_` and 256 random bits in URL-safe base64."""
    start = f"spr_{mode}_"
    plain = start + secrets.token_urlsafe(32)
    return NewKey(plain, plain[: len(start) + _SHOWN], hash_of(plain))


def hash_of(plain: str) -> str:
    """SHA-256 in hex. No salt and no stretching: the key is 256 random bits, there is nothing to guess."""
    return hashlib.sha256(plain.encode()).hexdigest()


def looks_like_key(text: str) -> bool:
    return any(text.startswith(f"spr_{mode}_") for mode in MODES)
