"""Reading the record: rows for whoever shows them, entries for the index."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bson import ObjectId

from subscriptions import addresses, documents
from subscriptions.index import GroupEntry, IndexedAddress, ReceiverEntry, SuppressionEntry


@dataclass(frozen=True, slots=True)
class AddressRow:
    channel: str
    address: str
    hash: str
    status: str
    """active or retired"""
    created_at: datetime
    active_at: datetime
    """When it was last put after being new or retired, a device also in between: when it was registered.

    What is known to be older does not retire it, nor take it away.
    """
    reason: str | None = None
    retired_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ReceiverRow:
    id: ObjectId
    name: str
    addresses: tuple[AddressRow, ...]
    attributes: dict[str, Any]
    locale: str | None
    timezone: str | None
    created_at: datetime
    updated_at: datetime
    version: int
    index_pending: bool
    deleted: bool

    @property
    def channels(self) -> frozenset[str]:
        """The channels on which it has an address, active or retired, and those that need none."""
        return frozenset(address.channel for address in self.addresses) | channels_without_address()


@dataclass(frozen=True, slots=True)
class GroupRow:
    id: ObjectId
    name: str
    title: str | None
    channels: tuple[str, ...] | None
    """The only channels its subscribers are reached on; None for all."""
    created_at: datetime
    updated_at: datetime
    version: int
    index_pending: bool
    deleted: bool


@dataclass(frozen=True, slots=True)
class SubscriptionRow:
    id: ObjectId
    group: str
    receiver: str
    group_id: ObjectId
    receiver_id: ObjectId
    channels: tuple[str, ...] | None
    """None: every channel that the receiver has."""
    created_at: datetime
    version: int
    index_pending: bool
    deleted: bool


@dataclass(frozen=True, slots=True)
class SuppressionRow:
    id: str
    channel: str
    hash: str
    address: str | None
    """None where it is not known any more."""
    reason: str
    order: str
    at: datetime
    version: int
    index_pending: bool
    deleted: bool


def now() -> datetime:
    """With the milliseconds that the record keeps."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def channels_without_address() -> frozenset[str]:
    return frozenset(name for name in addresses.channels() if not addresses.kind_of(name).needs_address)


def find_receivers(query: dict[str, Any], limit: int = 0, sort: str = "name") -> list[ReceiverRow]:
    return [receiver_row(found) for found in documents.receivers().find(query).sort(sort, 1).limit(limit)]


def holders(tenant: str, channel: str, hashes: Iterable[str]) -> list[ReceiverRow]:
    """The receivers that have one of these addresses, active or retired. Asks for what one index holds, no more."""
    query = {"tenant": tenant, "addresses.channel": channel, "addresses.hash": {"$in": sorted(hashes)}}
    return [row for row in find_receivers(query) if not row.deleted]


def find_groups(query: dict[str, Any], limit: int = 0) -> list[GroupRow]:
    return [group_row(found) for found in documents.groups().find(query).sort("name", 1).limit(limit)]


def find_subscriptions(query: dict[str, Any], sort: str = "_id", limit: int = 0) -> list[SubscriptionRow]:
    return [subscription_row(found) for found in documents.subscriptions().find(query).sort(sort, 1).limit(limit)]


def find_suppressions(
    query: dict[str, Any], limit: int = 0, sort: str = "_id", direction: int = 1
) -> list[SuppressionRow]:
    return [suppression_row(found) for found in documents.suppressions().find(query).sort(sort, direction).limit(limit)]


def live(tenant: str, **query: Any) -> dict[str, Any]:
    return {"tenant": tenant, "deleted": False, **query}


def receiver_entries(receivers: list[ReceiverRow]) -> list[ReceiverEntry]:
    """What the index must say of them. Their subscriptions are read now: at least as new as the rows' versions."""
    found: dict[ObjectId, list[SubscriptionRow]] = {}
    for row in find_subscriptions({"receiver_id": {"$in": [receiver.id for receiver in receivers]}, "deleted": False}):
        found.setdefault(row.receiver_id, []).append(row)
    return [_entry(row, found.get(row.id, [])) for row in receivers]


def receiver_pages(tenant: str, size: int) -> Iterator[list[ReceiverEntry]]:
    """Every receiver of a tenant as the index must have it, by name."""
    after = ""
    while rows := find_receivers(live(tenant, name={"$gt": after}), size):
        yield receiver_entries(rows)
        after = rows[-1].name


def group_pages(tenant: str, size: int) -> Iterator[list[GroupEntry]]:
    after = ""
    while rows := find_groups(live(tenant, name={"$gt": after}), size):
        yield [group_entry(row) for row in rows]
        after = rows[-1].name


def suppression_pages(tenant: str, size: int) -> Iterator[list[SuppressionEntry]]:
    after = ""
    while rows := find_suppressions(live(tenant, _id={"$gt": after}), size):
        yield [suppression_entry(row) for row in rows]
        after = rows[-1].id


def suppression_entry(row: SuppressionRow) -> SuppressionEntry:
    return SuppressionEntry(f"{row.channel}/{row.hash}", row.version, row.deleted, row.reason)


def group_entry(row: GroupRow) -> GroupEntry:
    return GroupEntry(row.name, row.version, row.deleted, str(row.id), row.channels)


def indexed(rows: Iterable[AddressRow]) -> dict[str, tuple[IndexedAddress, ...]]:
    """Addresses by channel. The reason of a retired one is never empty."""
    found: dict[str, list[IndexedAddress]] = {}
    for row in rows:
        retired = (row.reason or "retired") if row.status == "retired" else None
        found.setdefault(row.channel, []).append(IndexedAddress(row.address, row.hash, retired))
    return {channel: tuple(members) for channel, members in found.items()}


def effective_channels(receiver: ReceiverRow, chosen: Sequence[str] | None) -> frozenset[str]:
    """On which channels a subscription reaches a receiver, before the group's own restriction."""
    return receiver.channels if chosen is None else frozenset(chosen)


def receiver_row(found: dict[str, Any]) -> ReceiverRow:
    return ReceiverRow(
        id=found["_id"],
        name=found["name"],
        addresses=tuple(AddressRow(**address) for address in found.get("addresses", ())),
        attributes=found.get("attributes") or {},
        locale=found.get("locale"),
        timezone=found.get("timezone"),
        created_at=found["created_at"],
        updated_at=found["updated_at"],
        version=found["version"],
        index_pending=found["index_pending"],
        deleted=found["deleted"],
    )


def group_row(found: dict[str, Any]) -> GroupRow:
    return GroupRow(
        id=found["_id"],
        name=found["name"],
        title=found.get("title"),
        channels=_channels(found),
        created_at=found["created_at"],
        updated_at=found["updated_at"],
        version=found["version"],
        index_pending=found["index_pending"],
        deleted=found["deleted"],
    )


def subscription_row(found: dict[str, Any]) -> SubscriptionRow:
    names = ("group", "receiver", "group_id", "receiver_id", "created_at", "version", "index_pending", "deleted")
    return SubscriptionRow(id=found["_id"], channels=_channels(found), **{name: found[name] for name in names})


def suppression_row(found: dict[str, Any]) -> SuppressionRow:
    names = ("channel", "hash", "reason", "order", "at", "version", "index_pending", "deleted")
    return SuppressionRow(id=found["_id"], address=found.get("address"), **{name: found[name] for name in names})


def _channels(found: dict[str, Any]) -> tuple[str, ...] | None:
    channels = found.get("channels")
    return None if channels is None else tuple(channels)


def _entry(receiver: ReceiverRow, subscriptions: Sequence[SubscriptionRow]) -> ReceiverEntry:
    if receiver.deleted:
        return ReceiverEntry(receiver.name, receiver.version, True, {}, ())
    memberships = {
        (str(row.group_id), channel) for row in subscriptions for channel in effective_channels(receiver, row.channels)
    }
    addresses = indexed(receiver.addresses)
    return ReceiverEntry(receiver.name, receiver.version, False, addresses, tuple(sorted(memberships)))
