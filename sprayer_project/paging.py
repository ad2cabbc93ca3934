"""Opaque cursors: every list of the API answers {"data": [...], "next_cursor": ... | null}."""

import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sprayer_project import json_text
from sprayer_project.errors import Invalid

T = TypeVar("T")
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


def decode(cursor: str | None) -> Any | None:
    """The position, None without a cursor. Raises Invalid."""
    if not cursor:
        return None
    try:
        return json_text.parse(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error, UnicodeDecodeError) as error:
        raise Invalid("invalid_cursor", "Pass next_cursor of an earlier answer unchanged.", "?cursor") from error


def limit_of(raw: str | None) -> int:
    """The page size asked for, 1 to MAX_LIMIT. Raises Invalid."""
    if raw is None:
        return DEFAULT_LIMIT
    if not raw.isdecimal() or not 1 <= int(raw) <= MAX_LIMIT:
        raise Invalid("invalid_limit", f"limit is a whole number from 1 to {MAX_LIMIT}.", "?limit")
    return int(raw)


def page(rows: list[T], limit: int, position: Callable[[T], Any]) -> Page[T]:
    """A page from limit + 1 rows: the surplus one says that there are more."""
    if len(rows) <= limit:
        return Page(rows, None)
    return Page(rows[:limit], encode(position(rows[limit - 1])))
