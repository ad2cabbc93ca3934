"""Opaque ids with a prefix, sortable by the time at which they were made."""

import os
import threading
import time
from datetime import UTC, datetime

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_RANDOM = 80
_lock = threading.Lock()
_last = 0


def new_id(prefix: str, at: datetime | None = None) -> str:
    """`<prefix>_` and 26 base-32 characters: 48 bits of Unix milliseconds, 80 random bits (the ULID layout).

    Those that a process makes one after the other for the same millisecond grow, too.
    """
    global _last
    milliseconds = int((at.timestamp() if at else time.time()) * 1000)
    with _lock:
        if _last >> _RANDOM == milliseconds:
            _last += 1 + int.from_bytes(os.urandom(5))
        else:
            _last = milliseconds << _RANDOM | int.from_bytes(os.urandom(_RANDOM // 8))
        value = _last
    return f"{prefix}_{_base32(value >> _RANDOM, 10)}{_base32(value & (1 << _RANDOM) - 1, 16)}"


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
