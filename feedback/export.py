"""Deliveries as files: page by page, so that a million rows take no more memory than one page."""

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
from sprayer_project.spreadsheet import lines

PAGE = 500
PATIENCE = 10.0
"""Seconds that one page may take."""
TIMES = ("sent", "delivered", "read", "failed", "bounced")
COLUMNS = (
    *("id", "message", "receiver", "channel", "group", "status", "reason", "round", "address", "attempts"),
    *("provider", "provider_id", "due_at", "expires_at", "dead"),
)
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
    yield lines([[*COLUMNS, *(f"{status}_at" for status in TIMES)]])
    for rows in found:
        yield lines([_cells(row) for row in rows])


def _ndjson(found: Pages) -> Iterator[bytes]:
    """One JSON object a line, each as the API answers it."""
    for rows in found:
        yield b"".join(orjson.dumps(row_body(row), option=orjson.OPT_APPEND_NEWLINE) for row in rows)


def _cells(row: DeliveryRow) -> list[object]:
    body = row_body(row)
    return [*(body[name] for name in COLUMNS), *(body["times"].get(status) for status in TIMES)]


FORMATS = {"csv": Format("text/csv; charset=utf-8", _csv), "ndjson": Format("application/x-ndjson", _ndjson)}
