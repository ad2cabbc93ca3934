"""Receivers and a group's members as files, page by page: what importing takes back."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson

from sprayer_project import mongo
from sprayer_project.spreadsheet import lines
from subscriptions import addresses, browsing
from subscriptions.browsing import Page, ReceiverRow, SubscriptionRow
from subscriptions.serializers import receiver_body, subscription_body

PAGE = 500
PATIENCE = 10.0
"""Seconds that one page may take."""

Chunks = Iterator[bytes]
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Format:
    content_type: str
    receivers: Callable[[str, str], Chunks]
    """(tenant, beginning of the names) -> chunks of the file"""
    members: Callable[[str, str], Chunks]
    """(tenant, group) -> chunks of the file. Raises NotFound with the first."""


def _receiver_csv(tenant: str, prefix: str) -> Chunks:
    """A column a channel, its active addresses apart by spaces: a retired one would be used again once it is imported.

    attributes is a JSON object.
    """
    channels = [name for name in addresses.channels() if addresses.kind_of(name).needs_address]
    yield lines([["receiver", "locale", "timezone", "attributes", *channels, "created_at", "updated_at"]])
    for rows in _receivers(tenant, prefix):
        yield lines([_receiver_cells(row, channels) for row in rows])


def _receiver_cells(row: ReceiverRow, channels: Sequence[str]) -> list[object]:
    attributes = json.dumps(row.attributes, ensure_ascii=False) if row.attributes else ""
    active = [address for address in row.addresses if address.status == "active"]
    found = [" ".join(one.address for one in active if one.channel == name) for name in channels]
    return [row.name, row.locale, row.timezone, attributes, *found, row.created_at, row.updated_at]


def _receiver_ndjson(tenant: str, prefix: str) -> Chunks:
    """One object a line, as the API answers it: with every address and its health."""
    return (_objects([receiver_body(row) for row in rows]) for rows in _receivers(tenant, prefix))


def _member_csv(tenant: str, group: str) -> Chunks:
    """channels apart by spaces; empty: every channel that the receiver has."""
    yield lines([["receiver", "group", "channels", "created_at"]])
    for rows in _members(tenant, group):
        yield lines([[row.receiver, row.group, " ".join(row.channels or ()), row.created_at] for row in rows])


def _member_ndjson(tenant: str, group: str) -> Chunks:
    return (_objects([subscription_body(row) for row in rows]) for rows in _members(tenant, group))


def _objects(bodies: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(orjson.dumps(body, option=orjson.OPT_APPEND_NEWLINE) for body in bodies)


def _receivers(tenant: str, prefix: str) -> Iterator[list[ReceiverRow]]:
    return _pages(lambda cursor: browsing.receivers(tenant, prefix, cursor, PAGE))


def _members(tenant: str, group: str) -> Iterator[list[SubscriptionRow]]:
    return _pages(lambda cursor: browsing.members(tenant, group, "", cursor, PAGE))


def _pages(read: Callable[[str | None], Page[Row]]) -> Iterator[list[Row]]:
    cursor: str | None = None
    while True:
        with mongo.patience(PATIENCE):
            page = read(cursor)
        yield page.data
        cursor = page.next_cursor
        if cursor is None:
            return


FORMATS = {
    "csv": Format("text/csv; charset=utf-8", _receiver_csv, _member_csv),
    "ndjson": Format("application/x-ndjson", _receiver_ndjson, _member_ndjson),
}
