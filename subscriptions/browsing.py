"""Looking around in the record: for people, and for whoever takes all of it away page by page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sprayer_project import paging
from sprayer_project.paging import Page
from subscriptions import addresses, documents, record, selectors
from subscriptions.record import GroupRow, ReceiverRow, SubscriptionRow

__all__ = ["Count", "GroupRow", "Page", "ReceiverRow", "SubscriptionRow", "groups", "receivers"]

_LAST = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class Count:
    """How many there are; more: at least so many."""

    number: int
    more: bool = False


def receivers(tenant: str, prefix: str, cursor: str | None, limit: int) -> Page[ReceiverRow]:
    """Those whose name begins so, by name. Raises Invalid for a bad cursor."""
    query = record.live(tenant, name=_names(prefix, cursor))
    return paging.page(record.find_receivers(query, limit + 1), limit, lambda row: row.name)


def receivers_at(tenant: str, address: str) -> list[ReceiverRow]:
    """Those who have just this address, on whatever channel, by name. A Web Push subscription is its JSON text."""
    try:
        value = addresses.written(address)
    except ValueError:
        return []
    found: dict[str, ReceiverRow] = {}
    for channel in addresses.channels():
        if hashes := _hashes(tenant, channel, (address, value)):
            found |= {row.name: row for row in record.holders(tenant, channel, hashes)}
    return [found[name] for name in sorted(found)]


def groups(tenant: str, prefix: str, cursor: str | None, limit: int) -> Page[GroupRow]:
    """Those whose name begins so, by name. Raises Invalid for a bad cursor."""
    query = record.live(tenant, name=_names(prefix, cursor))
    return paging.page(record.find_groups(query, limit + 1), limit, lambda row: row.name)


def members(tenant: str, group: str, prefix: str, cursor: str | None, limit: int) -> Page[SubscriptionRow]:
    """The group's subscriptions of receivers whose name begins so, by receiver. Raises NotFound, Invalid."""
    owner = selectors.group(tenant, group)
    query = {"tenant": tenant, "group_id": owner.id, "deleted": False, "receiver": _names(prefix, cursor)}
    return paging.page(record.find_subscriptions(query, "receiver", limit + 1), limit, lambda row: row.receiver)


def member_count(tenant: str, group: GroupRow, most: int) -> Count:
    """A group's subscriptions, counted up to `most`."""
    query = {"tenant": tenant, "group_id": group.id, "deleted": False}
    found = documents.subscriptions().count_documents(query, limit=most + 1)
    return Count(min(found, most), found > most)


def _names(prefix: str, cursor: str | None) -> dict[str, str]:
    """Names compare byte by byte, and none sorts behind U+10FFFF."""
    after = selectors.after(cursor)
    lower = {"$gt": after} if after >= prefix else {"$gte": prefix}
    return lower | ({"$lt": prefix + _LAST} if prefix else {})


def _hashes(tenant: str, channel: str, values: Sequence[Any]) -> set[str]:
    kind, hashes = addresses.kind_of(channel), set[str]()
    if kind.needs_address:
        for value in values:
            try:
                hashes.add(addresses.address_hash(tenant, channel, kind.clean_address(value)))
            except ValueError:
                continue
    return hashes
