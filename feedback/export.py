"""Deliveries as files: page by page, so that a million rows take no more memory than one page."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import orjson

from feedback import search
from feedback.search import Wanted
from feedback.selectors import DeliveryRow
from feedback.serializers import row_body
from sprayer_project import mongo
from sprayer_project.paging import Page

PAGE = 500
PATIENCE = 10.0
"""Seconds that one page may take."""
TIMES = ("sent", "delivered", "read", "failed", "bounced")
COLUMNS = (
    *("id", "message", "receiver", "channel", "group", "status", "reason", "round", "address", "attempts"),
    *("provider", "provider_id", "due_at", "expires_at", "dead"),
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes a cell that begins so for a formula: https://owasp.org/www-community/attacks/CSV_Injection"""

Pages = Iterator[Sequence[DeliveryRow]]


@dataclass(frozen=True, slots=True)
class Format:
    content_type: str
    write: Callable[[Pages], Iterator[bytes]]
    """A chunk of the file a page."""


def pages(tenant: str, mode: str, wanted: Wanted, channels: Sequence[str]) -> Pages:
    """All that fit, in the order of their ids. The first page is read at once: raises Invalid and MongoDB's errors."""
    first = _page(tenant, mode, wanted, channels, None)
    return chain([first.data], _following(tenant, mode, wanted, channels, first.next_cursor))


def _following(tenant: str, mode: str, wanted: Wanted, channels: Sequence[str], cursor: str | None) -> Pages:
    while cursor:
        found = _page(tenant, mode, wanted, channels, cursor)
        cursor = found.next_cursor
        yield found.data


@mongo.patience(PATIENCE)
def _page(tenant: str, mode: str, wanted: Wanted, channels: Sequence[str], cursor: str | None) -> Page[DeliveryRow]:
    return search.deliveries(tenant, mode, wanted, channels, cursor=cursor, limit=PAGE, newest_first=False)


def _csv(found: Pages) -> Iterator[bytes]:
    """RFC 4180 with a head. An apostrophe stands before what a spreadsheet would take for a formula."""
    yield _lines([[*COLUMNS, *(f"{status}_at" for status in TIMES)]])
    for rows in found:
        yield _lines([_cells(row) for row in rows])


def _ndjson(found: Pages) -> Iterator[bytes]:
    """One JSON object a line, each as the API answers it."""
    for rows in found:
        yield b"".join(orjson.dumps(row_body(row), option=orjson.OPT_APPEND_NEWLINE) for row in rows)


def _cells(row: DeliveryRow) -> list[str]:
    body = row_body(row)
    values = [*(body[name] for name in COLUMNS), *(body["times"].get(status) for status in TIMES)]
    return [_cell(value) for value in values]


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _lines(cells: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(cells)
    return text.getvalue().encode()


FORMATS = {"csv": Format("text/csv; charset=utf-8", _csv), "ndjson": Format("application/x-ndjson", _ndjson)}
