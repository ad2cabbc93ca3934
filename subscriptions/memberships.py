"""Writes to groups and subscriptions."""

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pymongo import ReturnDocument, UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

from sprayer_project.errors import Conflict, FieldError, Invalid, NotFound, SprayerError
from subscriptions import documents, record, syncing
from subscriptions.inputs import clean_channels, named
from subscriptions.record import GroupRow, ReceiverRow, SubscriptionRow

_TRIES = 10
_DUPLICATE = 11000
_PAGES = 10
"""Chunks of a deleted group's subscriptions that its deletion removes itself; the sweeper removes the rest."""


def put_group(tenant: str, name: str, title: str | None = None, channels: Sequence[str] | None = None) -> GroupRow:
    """Make a group be exactly this. channels: the only ones that its subscribers are reached on, None for all.

    Raises Invalid with pointers.
    """
    name, values = named(name, "/group"), {"title": title, "channels": clean_channels(channels)}
    for _ in range(_TRIES):
        now = datetime.now(UTC)
        row = _group_or_none(tenant, name)
        if row and (row.title, list(row.channels) if row.channels else None) == (title, values["channels"]):
            break
        change = {"$set": values | {"updated_at": now, "index_pending": True}, "$inc": {"version": 1}}
        if row:
            documents.groups().update_one({"_id": row.id, "deleted": False}, change)
            continue
        first = {"version": time.time_ns() // 1_000_000, "index_pending": True, "created_at": now, "updated_at": now}
        try:
            documents.groups().insert_one(record.live(tenant, name=name) | values | first)
        except DuplicateKeyError:
            continue
    else:
        raise Conflict("busy", "The group is being changed by others: repeat the request.", retry_after=1)
    if row.index_pending:
        syncing.attempt(tenant, lambda: syncing.sync_groups(tenant, [row], 0))
    return row


def delete_group(tenant: str, name: str) -> None:
    """Remove a group with its subscriptions; nothing happens when there is none.

    Nobody is reached through it from now on; a large group's subscriptions leave the record a little later.
    """
    change = {"$set": {"deleted": True, "index_pending": True}, "$inc": {"version": 1}}
    found = documents.groups().find_one_and_update(
        record.live(tenant, name=name), change, return_document=ReturnDocument.AFTER
    )
    if found:
        syncing.attempt(tenant, lambda: syncing.sync_groups(tenant, [record.group_row(found)], _PAGES))


def subscribe(tenant: str, group: str, receiver: str, channels: Sequence[str] | None = None) -> SubscriptionRow:
    """Let a group reach a receiver on these channels, None for every channel that the receiver has.

    Raises NotFound for an unknown group or receiver, Invalid with pointers.
    """
    (result,) = subscribe_many(tenant, group, [(receiver, channels)])
    if isinstance(result, SprayerError):
        raise result
    return result


def subscribe_many(
    tenant: str, group: str, items: Sequence[tuple[str, Sequence[str] | None]]
) -> list[SubscriptionRow | SprayerError]:
    """subscribe for many: a row or what is wrong with the item, in their order. Raises NotFound for the group."""
    owner = _group(tenant, group)
    receivers = _receivers(tenant, [name for name, _ in items])
    wanted: dict[str, list[str] | None] = {}
    results: list[SubscriptionRow | SprayerError | str] = []
    for name, channels in items:
        try:
            if name not in receivers:
                raise NotFound("not_found", "There is no such receiver.", [FieldError("/receiver", "Put it first.")])
            if name in wanted:
                raise Invalid("duplicate_receiver", "This receiver is in the batch already.", "/receiver")
            wanted[name] = _within(owner, clean_channels(channels))
            results.append(name)
        except SprayerError as error:
            results.append(error)
    rows = _write(tenant, owner, {receivers[name].name: (receivers[name], wanted[name]) for name in wanted})
    return [rows[result] if isinstance(result, str) else result for result in results]


def unsubscribe(tenant: str, group: str, receiver: str) -> None:
    """The group does not reach the receiver any more; nothing happens when it did not."""
    owner, members = _group_or_none(tenant, group), _receivers(tenant, [receiver])
    if not owner or not members:
        return
    query = {"group_id": owner.id, "receiver_id": members[receiver].id}
    rows = record.find_subscriptions(query)
    syncing.delete_subscriptions(row.id for row in rows if not row.deleted)
    syncing.attempt(tenant, lambda: syncing.sync_subscriptions(tenant, record.find_subscriptions(query)))


def _within(group: GroupRow, channels: list[str] | None) -> list[str] | None:
    if group.channels is None or channels is None or set(channels) <= set(group.channels):
        return channels
    raise Invalid("channel_not_in_group", f"The group reaches only {', '.join(group.channels)}.", "/channels")


def _write(
    tenant: str, group: GroupRow, wanted: Mapping[str, tuple[ReceiverRow, list[str] | None]]
) -> dict[str, SubscriptionRow]:
    todo = dict(wanted)
    for _ in range(_TRIES):
        rows = _subscriptions(group, wanted)
        todo = {name: item for name, item in wanted.items() if not _holds(rows.get(name), item[1])}
        if not todo:
            break
        _upsert([_operation(tenant, group, receiver, channels) for receiver, channels in todo.values()])
    else:
        raise Conflict("busy", "The subscriptions are being changed by others: repeat the request.", retry_after=1)
    pending = [row for row in rows.values() if row.index_pending]
    current = _group_or_none(tenant, group.name) if pending else group
    if current is None or current.id != group.id:
        syncing.delete_subscriptions(row.id for row in pending)
        raise NotFound("not_found", "The group was deleted meanwhile.")
    if pending:
        syncing.attempt(tenant, lambda: syncing.sync_subscriptions(tenant, pending))
    return rows


def _holds(row: SubscriptionRow | None, channels: list[str] | None) -> bool:
    return row is not None and not row.deleted and row.channels == (None if channels is None else tuple(channels))


def _operation(tenant: str, group: GroupRow, receiver: ReceiverRow, channels: list[str] | None) -> UpdateOne:
    values = {"tenant": tenant, "group": group.name, "receiver": receiver.name, "channels": channels}
    change = {
        "$set": values | {"deleted": False, "index_pending": True},
        "$setOnInsert": {"created_at": datetime.now(UTC)},
        "$inc": {"version": 1},
    }
    return UpdateOne({"group_id": group.id, "receiver_id": receiver.id}, change, upsert=True)


def _upsert(operations: Sequence[UpdateOne]) -> None:
    try:
        documents.subscriptions().bulk_write(operations, ordered=False)
    except BulkWriteError as error:
        problems = error.details["writeErrors"] if error.details else []
        if not problems or any(problem["code"] != _DUPLICATE for problem in problems):
            raise


def _subscriptions(group: GroupRow, wanted: Mapping[str, Any]) -> dict[str, SubscriptionRow]:
    ids = [receiver.id for receiver, _ in wanted.values()]
    rows = record.find_subscriptions({"group_id": group.id, "receiver_id": {"$in": ids}})
    return {row.receiver: row for row in rows}


def _receivers(tenant: str, names: Iterable[str]) -> dict[str, ReceiverRow]:
    return {row.name: row for row in record.find_receivers(record.live(tenant, name={"$in": list(set(names))}))}


def _group(tenant: str, name: str) -> GroupRow:
    if (row := _group_or_none(tenant, name)) is None:
        raise NotFound("not_found", "There is no such group.")
    return row


def _group_or_none(tenant: str, name: str) -> GroupRow | None:
    return next(iter(record.find_groups(record.live(tenant, name=name), 1)), None)
