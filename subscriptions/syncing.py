"""The second half of the dual write: from the record to the index. Devices find their one receiver first.

A write marks what it changes with index_pending in the same step. Then the index gets the state of the record, read
after the write, under the receiver's version (an older state never replaces a newer one), and the mark is cleared on
condition that the version is still the same. Whatever dies or fails in between stays marked: finish_pending repeats it.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import groupby
from typing import Any, TypeVar

import structlog
from bson import ObjectId
from pymongo.collection import Collection
from redis.exceptions import RedisError

from subscriptions import documents, index, moving, record
from subscriptions.record import GroupRow, ReceiverRow, SubscriptionRow, SuppressionRow

log = structlog.get_logger(__name__)

T = TypeVar("T")
_ROUNDS = 3
_Row = ReceiverRow | GroupRow | SubscriptionRow | SuppressionRow
_Id = ObjectId | str


def sync_receivers(tenant: str, ids: Iterable[ObjectId]) -> set[ObjectId]:
    """Bring the index to the record's state of these receivers and clear their marks.

    Returns those that the index still has otherwise: they stay pending. Raises the store errors.
    """
    wanted, unsettled = list(dict.fromkeys(ids)), set[ObjectId]()
    for start in range(0, len(wanted), index.CHUNK):
        chunk: Sequence[ObjectId] = wanted[start : start + index.CHUNK]
        for _ in range(_ROUNDS):
            if chunk:
                chunk = _sync_chunk(tenant, chunk)
        unsettled |= set(chunk)
    return unsettled


def sync_subscriptions(tenant: str, rows: Sequence[SubscriptionRow]) -> int:
    """The same for subscriptions that have been written. Returns how many are settled.

    Their receivers get a new version first: whoever applies that version or a later one has read these rows.
    """
    ids = list({row.receiver_id for row in rows})
    change = {"$inc": {"version": 1}, "$set": {"index_pending": True}}
    documents.receivers().update_many({"_id": {"$in": ids}}, change)
    unsettled = sync_receivers(tenant, ids)
    settled = [row for row in rows if row.receiver_id not in unsettled]
    _clear(documents.subscriptions(), [row for row in settled if not row.deleted])
    _remove(documents.subscriptions(), [row for row in settled if row.deleted])
    return len(settled)


def sync_groups(tenant: str, rows: Sequence[GroupRow], pages: int) -> bool:
    """The same for groups; a deleted one loses its subscriptions, CHUNK at a time, at most `pages` chunks now.

    Returns whether everything is done.
    """
    answers = index.apply(tenant, [record.group_entry(row) for row in rows])
    _outgrow(documents.groups(), rows, answers)
    settled = [row for row, newer in zip(rows, answers, strict=True) if not newer]
    _clear(documents.groups(), [row for row in settled if not row.deleted])
    emptied = [row for row in settled if row.deleted and _empty(tenant, row, pages)]
    _remove(documents.groups(), emptied)
    return len(emptied) + sum(not row.deleted for row in settled) == len(rows)


def sync_suppressions(tenant: str, rows: Sequence[SuppressionRow]) -> None:
    """The same for suppressions that have been written; lifted ones stay in the record."""
    answers = index.apply(tenant, [record.suppression_entry(row) for row in rows])
    _outgrow(documents.suppressions(), rows, answers)
    settled = [row for row, newer in zip(rows, answers, strict=True) if not newer]
    _clear(documents.suppressions(), settled)


def finish_pending(limit: int) -> int:
    """Repeat what stayed pending, at most `limit` of each kind and tenant. Returns how many were tried.

    A tenant whose Redis is away is left for the next time. Raises the store errors of MongoDB.
    """
    tenants: set[str] = set()
    for collection in (
        documents.receivers(),
        documents.groups(),
        documents.subscriptions(),
        documents.suppressions(),
    ):
        tenants |= set(collection.distinct("tenant", {"index_pending": True}))
    return sum(attempt(tenant, partial(finish_tenant, tenant, limit)) or 0 for tenant in sorted(tenants))


def finish_tenant(tenant: str, limit: int) -> int:
    """finish_pending for one tenant. Raises the store errors of Redis too."""
    query = {"tenant": tenant, "index_pending": True}
    groups = record.find_groups(query, limit)
    sync_groups(tenant, groups, pages=limit // index.CHUNK + 1)
    subscriptions = record.find_subscriptions(query, limit=limit)
    if subscriptions:
        _drop_orphans(subscriptions)
        sync_subscriptions(tenant, _again(subscriptions))
    receivers = record.find_receivers(query, limit, sort="_id")
    sync_receivers(tenant, [row.id for row in receivers])
    suppressions = record.find_suppressions(query, limit)
    sync_suppressions(tenant, suppressions)
    return len(groups) + len(subscriptions) + len(receivers) + len(suppressions)


def attempt(tenant: str, step: Callable[[], T]) -> T | None:
    """Do a step that needs Redis; where Redis fails, what it would have finished stays pending."""
    try:
        return step()
    except RedisError as error:
        log.warning("subscription index not reached", tenant=tenant, error=type(error).__name__)
        return None


def _sync_chunk(tenant: str, ids: Sequence[ObjectId]) -> list[ObjectId]:
    """Returns the ids to do again: the index already held a newer version than the record."""
    rows = record.find_receivers({"_id": {"$in": list(ids)}})
    if moved := moving.move(tenant, rows):
        rows = record.find_receivers({"_id": {"$in": list(moved | set(ids))}})
    if missing := set(ids) - {row.id for row in rows}:
        documents.subscriptions().delete_many({"receiver_id": {"$in": list(missing)}})
    answers = index.apply(tenant, record.receiver_entries(rows))
    again = _outgrow(documents.receivers(), rows, answers)
    settled = [row for row, newer in zip(rows, answers, strict=True) if not newer]
    gone = [row for row in settled if row.deleted]
    if gone:
        documents.subscriptions().delete_many({"receiver_id": {"$in": [row.id for row in gone]}})
    _clear(documents.receivers(), [row for row in settled if not row.deleted])
    _remove(documents.receivers(), gone)
    return again


def _outgrow(collection: Collection[dict[str, Any]], rows: Sequence[_Row], answers: Sequence[int]) -> list[Any]:
    """Where the index holds a version that the record never had (clocks that disagree): go past it."""
    again = []
    for row, newer in zip(rows, answers, strict=True):
        if newer:
            collection.update_one({"_id": row.id, "version": row.version}, {"$set": {"version": newer + 1}})
            again.append(row.id)
    return again


def _clear(collection: Collection[dict[str, Any]], rows: Iterable[_Row]) -> None:
    for version, ids in _by_version(row for row in rows if row.index_pending):
        collection.update_many({"_id": {"$in": ids}, "version": version}, {"$set": {"index_pending": False}})


def _remove(collection: Collection[dict[str, Any]], rows: Iterable[_Row]) -> None:
    for version, ids in _by_version(rows):
        collection.delete_many({"_id": {"$in": ids}, "version": version, "deleted": True})


def _by_version(rows: Iterable[_Row]) -> list[tuple[int, list[_Id]]]:
    ordered = sorted(rows, key=lambda row: row.version)
    return [(version, [row.id for row in same]) for version, same in groupby(ordered, lambda row: row.version)]


def _empty(tenant: str, group: GroupRow, pages: int) -> bool:
    """Remove a deleted group's subscriptions from record and index; whether none is left."""
    for _ in range(pages):
        rows = record.find_subscriptions({"tenant": tenant, "group_id": group.id}, sort="receiver", limit=index.CHUNK)
        if not rows:
            return True
        delete_subscriptions(row.id for row in rows)
        sync_subscriptions(tenant, _again(rows))
    return not record.find_subscriptions({"tenant": tenant, "group_id": group.id}, limit=1)


def _drop_orphans(rows: Sequence[SubscriptionRow]) -> None:
    """A subscription that was being written while its group went away."""
    ids = list({row.group_id for row in rows})
    alive = {found["_id"] for found in documents.groups().find({"_id": {"$in": ids}, "deleted": False}, {"_id": 1})}
    delete_subscriptions(row.id for row in rows if row.group_id not in alive)


def _again(rows: Sequence[SubscriptionRow]) -> list[SubscriptionRow]:
    return record.find_subscriptions({"_id": {"$in": [row.id for row in rows]}})


def delete_subscriptions(ids: Iterable[ObjectId]) -> None:
    """Mark them as deleted; sync_subscriptions removes them."""
    change = {"$set": {"deleted": True, "index_pending": True}, "$inc": {"version": 1}}
    documents.subscriptions().update_many({"_id": {"$in": list(ids)}}, change)
