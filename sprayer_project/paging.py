"""Opaque cursors: every list of the API answers {"data": [...], "next_cursor": ... | null}."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sprayer_project import json_text
from sprayer_project.errors import Invalid

T = TypeVar("T")
P = TypeVar("P", str, int)
DEFAULT_LIMIT, MAX_LIMIT = 50, 500


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    data: list[T]
    next_cursor: str | None

    def body(self, represent: Callable[[T], Any]) -> dict[str, Any]:
        return {"data": [represent(row) for row in self.data], "next_cursor": self.next_cursor}


def encode(position: Any) -> str:
    """A JSON-able position as one URL-safe word."""
    return base64.urlsafe_b64encode(json.dumps(position, separators=(",", ":")).encode()).decode().rstrip("=")


def decode(cursor: str | None, kind: type[P]) -> P | None:
    """The position, None without a cursor. A number is one from 0 to 2**63 - 1. Raises Invalid."""
    if not cursor:
        return None
    try:
        position = json_text.parse(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if type(position) is not kind or (isinstance(position, int) and not 0 <= position < 2**63):
            raise ValueError("it is none of ours")
    except ValueError as error:
        raise Invalid("invalid_cursor", "Pass next_cursor of an earlier answer unchanged.", "?cursor") from error
    return position


def limit_of(raw: str | None) -> int:
    """The page size asked for, 1 to MAX_LIMIT. Raises Invalid."""
    if raw is None:
        return DEFAULT_LIMIT
    if not (raw.isdecimal() and len(raw) < 10 and 1 <= int(raw) <= MAX_LIMIT):
        raise Invalid("invalid_limit", f"limit is a whole number from 1 to {MAX_LIMIT}.", "?limit")
    return int(raw)


def page(rows: list[T], limit: int, position: Callable[[T], Any]) -> Page[T]:
    """A page from limit + 1 rows: the surplus one says that there are more."""
    if len(rows) <= limit:
        return Page(rows, None)
    return Page(rows[:limit], encode(position(rows[limit - 1])))
