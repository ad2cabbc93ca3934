"""Opaque ids with a prefix, sortable by the time at which they were made."""

import os
import time
from datetime import UTC, datetime

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id(prefix: str, at: datetime | None = None) -> str:
    """`<prefix>_` and 26 base-32 characters: 48 bits of Unix milliseconds, 80 random bits (the ULID layout)."""
    milliseconds = int((at.timestamp() if at else time.time()) * 1000)
    return f"{prefix}_{_base32(milliseconds, 10)}{_base32(int.from_bytes(os.urandom(10)), 16)}"


def first_id(prefix: str, at: datetime) -> str:
    """An id not greater than any that was made at this time or later, and greater than every earlier one."""
    milliseconds = min(max(int(at.timestamp() * 1000), 0), 2**48 - 1)
    return f"{prefix}_{_base32(milliseconds, 10)}{_base32(0, 16)}"


def time_of(identifier: str) -> datetime:
    """When an id of new_id was made. Raises ValueError for anything else."""
    return datetime.fromtimestamp(_number(identifier, 10) / 1000, UTC)


def order_of(identifier: str) -> int:
    """A number that grows as ids do: milliseconds and ten random bits, exact as a JavaScript number until 2248.

    Raises ValueError for anything but an id of new_id.
    """
    return _number(identifier, 12)


def _number(identifier: str, characters: int) -> int:
    value = 0
    for character in identifier.partition("_")[2][:characters]:
        value = value * 32 + _ALPHABET.index(character)
    return value


def _base32(value: int, length: int) -> str:
    return "".join(_ALPHABET[(value >> shift) & 31] for shift in range(5 * (length - 1), -1, -5))
