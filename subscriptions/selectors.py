"""Reads: who is reached, where. The index answers while it is valid; the record answers the rest and every list."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import structlog
from pymongo.errors import PyMongoError
from redis.exceptions import RedisError

from sprayer_project import mongo, paging
from sprayer_project.errors import NotFound, StoreUnavailable
from sprayer_project.paging import Page
from subscriptions import addresses, documents, index, record, syncing
from subscriptions.index import Resolved as Resolved
from subscriptions.rebuild import ensure_index
from subscriptions.record import GroupRow, ReceiverRow, SubscriptionRow

log = structlog.get_logger(__name__)

T = TypeVar("T")
_ATTEMPTS = 3
_SETTLE = 1000
"""Pending changes that a first page waits for."""


async def expand_page(
    tenant: str, group: str, channel: str, cursor: str | None, limit: int
) -> tuple[list[str], str | None]:
    """The group's next subscribers on a channel in the order of their UTF-8 bytes, and the cursor of the next page.

    cursor is the last name of the page before; None asks for the first page and comes with the last. An unknown group
    has no subscribers. Builds the index where Redis lost it. Raises the store errors.
    """
    if cursor is None:
        await asyncio.to_thread(_settle, tenant)
    names = await _from_index(tenant, lambda: index.expand(tenant, group, channel, cursor, limit + 1))
    return (names[:limit], names[limit - 1]) if len(names) > limit else (names, None)


async def addresses_of(
    tenant: str, channel: str, receivers: Sequence[str], group: str | None = None, plain: Sequence[str] = ()
) -> tuple[dict[str, Resolved], dict[str, str]]:
    """Where each receiver is reached on a channel now; with a group also whether it still belongs to it.

    And of plain addresses, by their hashes, those that are suppressed, with the reasons. One round trip to Redis. Whom
    the index does not know, the record is asked for. Raises the store errors.
    """
    found, suppressed = await _from_index(tenant, lambda: index.resolve(tenant, channel, receivers, group, plain))
    resolved = {name: row for name, row in zip(receivers, found, strict=True) if row.known}
    if missing := [name for name in receivers if name not in resolved]:
        resolved |= await asyncio.to_thread(_resolved_from_record, tenant, channel, missing, group)
    return resolved, suppressed


async def members_of(tenant: str, channel: str, groups: Sequence[str], receivers: Sequence[str]) -> frozenset[str]:
    """Those whom one of the groups reaches on a channel now, as far as the index knows. Raises the store errors."""
    found = await _from_index(tenant, lambda: index.members(tenant, channel, groups, receivers))
    return frozenset(name for name, member in zip(receivers, found, strict=True) if member)


def unknown_receivers(tenant: str, names: Sequence[str]) -> list[str]:
    """Those that are no receivers of the tenant, in the order given. Works without Redis."""
    if not names:
        return []
    return _unknown(names, _receiver_channels_in_index(tenant, names), lambda left: _live_receivers(tenant, left))


def unknown_groups(tenant: str, names: Sequence[str]) -> list[str]:
    """Those that are no groups of the tenant, in the order given. Works without Redis."""
    if not names:
        return []
    found = _asked(tenant, names, lambda: index.channels_of_groups(tenant, names, ()))
    return _unknown(names, found, lambda left: {row.name for row in _live_groups(tenant, left)})


def receiver_channels(tenant: str, receivers: Sequence[str]) -> dict[str, frozenset[str]]:
    """The channels on which each has an address (also a retired one) or needs none; unknown receivers are left out."""
    if not receivers:
        return {}
    everywhere = record.channels_without_address()
    found = _receiver_channels_in_index(tenant, receivers)
    known = {name: channels | everywhere for name, channels in found.items() if channels is not None}
    left = [name for name in receivers if name not in known]
    return known | {name: row.channels for name, row in _live_receivers(tenant, left).items()} if left else known


def group_channels(tenant: str, groups: Sequence[str]) -> dict[str, frozenset[str]]:
    """The channels on which each group may reach anybody; unknown groups are left out.

    Exactly those with subscribers while the index is valid, else every channel that the group allows.
    """
    if not groups:
        return {}
    channels = addresses.channels()
    found = _asked(tenant, groups, lambda: index.channels_of_groups(tenant, groups, channels))
    known = {name: subscribed for name, subscribed in found.items() if subscribed is not None}
    left = [name for name in groups if name not in known]
    return known | {row.name: frozenset(row.channels or channels) for row in _live_groups(tenant, left)}


def receiver(tenant: str, name: str) -> ReceiverRow:
    """Raises NotFound."""
    for row in record.find_receivers(record.live(tenant, name=name), 1):
        return row
    raise NotFound("not_found", "There is no such receiver.")


def group(tenant: str, name: str) -> GroupRow:
    """Raises NotFound."""
    for row in record.find_groups(record.live(tenant, name=name), 1):
        return row
    raise NotFound("not_found", "There is no such group.")


def receivers(tenant: str, cursor: str | None, limit: int) -> Page[ReceiverRow]:
    """By name. Raises Invalid for a bad cursor."""
    rows = record.find_receivers(record.live(tenant, name={"$gt": after(cursor)}), limit + 1)
    return paging.page(rows, limit, lambda row: row.name)


def groups(tenant: str, cursor: str | None, limit: int) -> Page[GroupRow]:
    """By name. Raises Invalid for a bad cursor."""
    rows = record.find_groups(record.live(tenant, name={"$gt": after(cursor)}), limit + 1)
    return paging.page(rows, limit, lambda row: row.name)


def receiver_subscriptions(tenant: str, name: str, cursor: str | None, limit: int) -> Page[SubscriptionRow]:
    """By group. Raises NotFound, Invalid for a bad cursor."""
    query = {"receiver_id": receiver(tenant, name).id, "deleted": False, "group": {"$gt": after(cursor)}}
    found = paging.page(record.find_subscriptions(query, "group", limit + 1), limit, lambda row: row.group)
    ids = [row.group_id for row in found.data]
    alive = {document["_id"] for document in documents.groups().find({"_id": {"$in": ids}, "deleted": False})}
    return Page([row for row in found.data if row.group_id in alive], found.next_cursor)


def group_subscriptions(
    tenant: str, name: str, channel: str | None, cursor: str | None, limit: int
) -> Page[SubscriptionRow]:
    """By receiver; with a channel only those that the group reaches on it. Raises NotFound, Invalid."""
    owner, last = group(tenant, name), after(cursor)
    if channel is not None:
        addresses.kind_of(channel)
        if owner.channels is not None and channel not in owner.channels:
            return Page([], None)
    kept: list[SubscriptionRow] = []
    while len(kept) <= limit:
        query = {"tenant": tenant, "group_id": owner.id, "deleted": False, "receiver": {"$gt": last}}
        rows = record.find_subscriptions(query, "receiver", limit + 1)
        kept += rows if channel is None else _reached(rows, channel)
        if len(rows) <= limit:
            break
        last = rows[-1].receiver
    return paging.page(kept[: limit + 1], limit, lambda row: row.receiver)


def _reached(rows: Sequence[SubscriptionRow], channel: str) -> list[SubscriptionRow]:
    found = record.find_receivers({"_id": {"$in": [row.receiver_id for row in rows]}, "deleted": False})
    members = {row.id: row for row in found}
    return [
        row
        for row in rows
        if row.receiver_id in members and channel in record.effective_channels(members[row.receiver_id], row.channels)
    ]


async def _from_index(tenant: str, read: Callable[[], Awaitable[T]]) -> T:
    for _ in range(_ATTEMPTS):
        try:
            return await read()
        except index.NotValid:
            await asyncio.to_thread(ensure_index, tenant)
    raise StoreUnavailable("Redis", "The subscription index is lost again and again.")


def _settle(tenant: str) -> None:
    """Changes that Redis missed while it could not be reached come first; without MongoDB the index goes on alone."""
    try:
        query = {"tenant": tenant, "index_pending": True}
        with mongo.patience(mongo.TIMEOUT_MS / 1000):
            found = (documents.receivers(), documents.groups(), documents.subscriptions())
            pending = any(collection.find_one(query) for collection in found)
        if pending:
            syncing.finish_tenant(tenant, _SETTLE)
    except PyMongoError as error:
        log.warning("pending subscriptions not read", tenant=tenant, error=type(error).__name__)


def _resolved_from_record(tenant: str, channel: str, names: Sequence[str], group: str | None) -> dict[str, Resolved]:
    rows = _live_receivers(tenant, names)
    members: set[str] = set()
    for owner in _live_groups(tenant, [group]) if group is not None else []:
        query = {"group_id": owner.id, "receiver_id": {"$in": [row.id for row in rows.values()]}, "deleted": False}
        if owner.channels is None or channel in owner.channels:
            members = {row.receiver for row in _reached(record.find_subscriptions(query), channel)}
    found = {
        name: index.resolved(record.indexed(row.addresses).get(channel, ()), name in members)
        for name, row in rows.items()
    }
    return {name: found.get(name, index.NOBODY) for name in names}


def _receiver_channels_in_index(tenant: str, names: Sequence[str]) -> dict[str, frozenset[str] | None]:
    return _asked(tenant, names, lambda: index.channels_of_receivers(tenant, names))


def _asked(
    tenant: str, names: Sequence[str], read: Callable[[], list[frozenset[str] | None]]
) -> dict[str, frozenset[str] | None]:
    """What the index says of each name; nothing of any where it is not valid or cannot be reached."""
    try:
        return dict(zip(names, read(), strict=True))
    except index.NotValid:
        return {}
    except RedisError as error:
        log.warning("subscription index not reached", tenant=tenant, error=type(error).__name__)
        return {}


def _unknown(
    names: Sequence[str],
    found: Mapping[str, frozenset[str] | None],
    in_record: Callable[[list[str]], Mapping[str, Any] | set[str]],
) -> list[str]:
    left = [name for name in names if found.get(name) is None]
    known = in_record(left) if left else set()
    return [name for name in left if name not in known]


def _live_receivers(tenant: str, names: Sequence[str]) -> dict[str, ReceiverRow]:
    return {row.name: row for row in record.find_receivers(record.live(tenant, name={"$in": list(names)}))}


def _live_groups(tenant: str, names: Sequence[str]) -> list[GroupRow]:
    return record.find_groups(record.live(tenant, name={"$in": list(names)})) if names else []


def after(cursor: str | None) -> str:
    """The name at which a page ended, empty without a cursor. Raises Invalid."""
    return paging.decode(cursor, str) or ""


def tenants() -> list[str]:
    """Every tenant that has receivers or groups."""
    found = (
        collection.distinct("tenant", {"deleted": False}) for collection in (documents.receivers(), documents.groups())
    )
    return sorted({tenant for names in found for tenant in names})
