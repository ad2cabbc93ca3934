"""Plain addresses that messages do not go to: the record, its index for dispatchers, and what people see of it.

A receiver's address has a health of its own; this is for addresses that are nobody's. They are known by their hashes:
a lifted one keeps only that, so that an older report of a bounce does not bring it back.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sprayer_project import paging
from sprayer_project.errors import Invalid, NotFound
from sprayer_project.ids import new_id
from sprayer_project.paging import Page
from subscriptions import addresses, documents, record, syncing
from subscriptions.inputs import CleanAddress
from subscriptions.record import SuppressionRow

__all__ = ["SuppressionRow", "clean", "erase_address", "lift", "one", "page", "put", "states", "suppress"]


def clean(tenant: str, channel: str, text: str) -> CleanAddress:
    """An address as it stands in a path or field; a Web Push subscription is its JSON. Raises Invalid."""
    kind = addresses.kind_of(channel)
    try:
        if not kind.needs_address:
            raise ValueError(f"{channel} has no addresses.")
        address = kind.clean_address(addresses.written(text))
        return CleanAddress(channel, address, addresses.address_hash(tenant, channel, address))
    except ValueError as error:
        raise Invalid("invalid_address", f"Not an address of {channel}: {error}", "/address") from error


def put(tenant: str, address: CleanAddress, reason: str) -> SuppressionRow:
    """No live message goes to this plain address from now on; one that is suppressed keeps its first reason."""
    lifted = {"deleted": True}
    return _suppress(tenant, address.channel, address.hash, address.address, reason, record.now(), lifted)


def suppress(tenant: str, channel: str, address_hash: str, address: str | None, reason: str, at: datetime) -> None:
    """Its owner or a provider gave the address up at that time. Repeating it is harmless, also after a later lifting.

    address: None where nobody knows it any more.
    """
    _suppress(tenant, channel, address_hash, address, reason, at, {"deleted": True, "lifted_at": {"$lt": at}})


def lift(tenant: str, channel: str, address_hash: str) -> None:
    """Messages may go there again; nothing happens when they might anyway."""
    now = record.now()
    change = {
        "$set": {"deleted": True, "index_pending": True, "lifted_at": now},
        "$unset": {"address": ""},
        "$inc": {"version": 1},
    }
    identifier = _id(tenant, channel, address_hash)
    if documents.suppressions().update_one({"_id": identifier, "deleted": False}, change).modified_count:
        _sync(tenant, identifier)


def erase_address(tenant: str, address_hash: str) -> None:
    """What is suppressed stays so, known by its hash alone."""
    ids = [_id(tenant, channel, address_hash) for channel in addresses.channels()]
    documents.suppressions().update_many({"_id": {"$in": ids}}, {"$set": {"address": None}})


def one(tenant: str, channel: str, address_hash: str) -> SuppressionRow:
    """Raises NotFound."""
    for row in record.find_suppressions(record.live(tenant, _id=_id(tenant, channel, address_hash)), 1):
        return row
    raise NotFound("not_found", "This address is not suppressed.")


def states(tenant: str, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], SuppressionRow]:
    """Those of (channel, hash) that are suppressed, from the record."""
    ids = [_id(tenant, channel, hashed) for channel, hashed in wanted]
    rows = record.find_suppressions(record.live(tenant, _id={"$in": ids})) if ids else []
    return {(row.channel, row.hash): row for row in rows}


def page(tenant: str, channel: str | None, cursor: str | None, limit: int) -> Page[SuppressionRow]:
    """The newest first. Raises Invalid for a bad cursor or channel."""
    before = paging.decode(cursor, str)
    query = record.live(tenant) | ({"order": {"$lt": before}} if before is not None else {})
    if channel:
        query["channel"] = addresses.kind_of(channel).name
    return paging.page(record.find_suppressions(query, limit + 1, "order", -1), limit, lambda row: row.order)


def _suppress(
    tenant: str,
    channel: str,
    address_hash: str,
    address: str | None,
    reason: str,
    at: datetime,
    lifted: Mapping[str, Any],
) -> SuppressionRow:
    """lifted: the query of those that were lifted and are suppressed again now."""
    identifier = _id(tenant, channel, address_hash)
    values: dict[str, Any] = {"tenant": tenant, "channel": channel, "hash": address_hash, "reason": reason, "at": at}
    values |= {"order": new_id("sup", at), "address": address, "deleted": False, "index_pending": True}
    collection = documents.suppressions()
    first = values | {"version": 1}
    changed = collection.update_one({"_id": identifier}, {"$setOnInsert": first}, upsert=True).upserted_id
    if changed is None:
        again = {"$set": values, "$unset": {"lifted_at": ""}, "$inc": {"version": 1}}
        changed = collection.update_one({"_id": identifier, **lifted}, again).modified_count
    if changed:
        _sync(tenant, identifier)
    return record.find_suppressions({"_id": identifier}, 1)[0]


def _sync(tenant: str, identifier: str) -> None:
    """The index hears of it at once, or by the sweeper when its server is back."""
    rows = record.find_suppressions({"_id": identifier})
    syncing.attempt(tenant, lambda: syncing.sync_suppressions(tenant, rows))


def _id(tenant: str, channel: str, address_hash: str) -> str:
    return f"{tenant}/{channel}/{address_hash}"
