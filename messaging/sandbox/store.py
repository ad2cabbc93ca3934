"""What the sandbox remembers, in bounded memory, and how it behaves."""

import os
from collections import OrderedDict, deque
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Any

PER_OWNER, TOTAL = 1_000, 20_000


class Arrivals:
    """The newest arrivals of each channel and owner; beyond TOTAL the owner that was quiet longest is forgotten."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], deque[dict[str, Any]]] = OrderedDict()
        self._count = 0

    def add(self, channel: str, owner: str, content: dict[str, Any]) -> None:
        key = (channel, owner)
        arrivals = self._kept.setdefault(key, deque())
        self._kept.move_to_end(key)
        arrivals.appendleft({"arrival": os.urandom(8).hex(), "at": datetime.now(UTC).isoformat(), **content})
        self._count += 1
        if len(arrivals) > PER_OWNER:
            arrivals.pop()
            self._count -= 1
        while self._count > TOTAL:
            self._count -= len(self._kept.popitem(last=False)[1])

    def newest(self, channel: str, owner: str | None, limit: int) -> list[dict[str, Any]]:
        """Newest first; without an owner those of all, in the order of their time."""
        if owner is not None:
            return list(islice(self._kept.get((channel, owner), ()), limit))
        everything = chain.from_iterable(rows for (name, _), rows in self._kept.items() if name == channel)
        return sorted(everything, key=lambda row: str(row["at"]), reverse=True)[:limit]

    def clear(self, channel: str, owner: str | None) -> None:
        for key in [key for key in self._kept if key[0] == channel and owner in (None, key[1])]:
            self._count -= len(self._kept.pop(key))


@dataclass(slots=True)
class Control:
    """The switches of PUT /control, for every gateway."""

    callbacks: bool = True
    """Whether providers call back at all."""
    delay: float = 0.1
    """Seconds before each callback."""
    slow: float = 30.0
    """Seconds that a slow address takes."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def change(self, wanted: dict[str, Any]) -> None:
        """Set some switches. Raises ValueError with a sentence, and then changes nothing."""
        known = {field.name for field in fields(self)}
        for name, value in wanted.items():
            if name not in known:
                raise ValueError(f"{name!r} is not a switch: use one of {', '.join(sorted(known))}.")
            if name == "callbacks" and not isinstance(value, bool):
                raise ValueError("callbacks is true or false.")
            if name != "callbacks" and (isinstance(value, bool) or not isinstance(value, int | float) or value < 0):
                raise ValueError(f"{name} is a number of seconds.")
        for name, value in wanted.items():
            setattr(self, name, value)
