"""Writing what became of messages: reporting events, the feeder's bulk upserts, rounds, totals."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from pymongo import UpdateMany, UpdateOne

from feedback import bulk, counting, parking, rollups, selectors, updates
from feedback.events import OPEN, DeliveryEvent, Event, Status
from feedback.selectors import DeliveryRow
from sprayer_project import amqp
from sprayer_project.errors import Conflict, NotFound

log = structlog.get_logger(__name__)

EVENTS_A_PUBLICATION = 200
_ROLL_UP_SHARE = 10
"""A message is counted again after so many times the time that counting took: a broadcast of millions stays cheap."""
MANY = 20
"""Deliveries of one message in one batch, from which on its totals are stored, not counted when somebody asks."""
RETRIABLE = frozenset({Status.FAILED, Status.EXPIRED, Status.SUPPRESSED})

Key = tuple[str, str]
"""tenant, delivery id"""
Message = tuple[str, str, str]
"""tenant, mode, message id"""


def publications(events: Iterable[bytes], exchange: str = amqp.EVENTS) -> Iterator[amqp.Publication]:
    """Events, each encoded, as AMQP messages: JSON arrays of at most EVENTS_A_PUBLICATION events."""
    bodies = list(events)
    for start in range(0, len(bodies), EVENTS_A_PUBLICATION):
        chunk = b",".join(bodies[start : start + EVENTS_A_PUBLICATION])
        yield amqp.Publication(exchange, "", b"[%b]" % chunk)


def tell_found(events: Iterable[DeliveryEvent]) -> None:
    """Tell all but the record of what travelled without its delivery. Raises amqp.BrokerUnavailable."""
    amqp.publish(list(publications((event.encoded() for event in events), amqp.FOUND)))


def report(events: Iterable[Event]) -> None:
    """Returns when the broker has confirmed the events. Raises amqp.BrokerUnavailable."""
    amqp.publish(list(publications(event.encoded() for event in events)))


async def areport(events: Iterable[Event]) -> None:
    await areport_encoded(event.encoded() for event in events)


async def areport_encoded(events: Iterable[bytes]) -> None:
    """For a caller that has encoded them already."""
    await amqp.apublish(list(publications(events)))


def write(events: Sequence[DeliveryEvent]) -> list[DeliveryEvent]:
    """Write events that passed updates.check: harmless in any order and any number of times.

    Inserts and upserts in bulk, then the version of the messages' totals: both are done when this returns.
    Returns the events, of these and earlier ones, whose delivery became known only now.
    """
    nameless = [event for event in events if not event.delivery]
    found = parking.park(nameless)
    named = [event for event in events if event.delivery] + found
    _upsert(named)
    if unparked := parking.collect(named):
        _upsert(unparked)
        parking.remove(unparked)
    parking.remove([event for event in nameless if event.event in {known.event for known in named}])
    return found + unparked


JOB_LEASE = timedelta(seconds=10)


def open_round(
    tenant: str, mode: str, delivery_id: str, now: datetime, *, expires_at: datetime | None = None
) -> DeliveryRow:
    """Open the next round of what failed, expired or was suppressed: it is queued again. Returns the new row.

    The caller publishes its job; due() names the row when nothing has come of it JOB_LEASE later.
    expires_at may extend the delivery's expiry. Raises NotFound, and Conflict for every other status and when
    somebody else was faster.
    """
    row = _row(tenant, mode, delivery_id)
    _check_retriable(row)
    event = replace(
        _event(row, Status.QUEUED, "retry", now),
        round=row.round + 1,
        due_at=now + JOB_LEASE,
        expires_at=max(filter(None, (row.expires_at, expires_at)), default=None),
    )
    slot, entry = updates.slot_of(event)
    changed: dict[str, Any] = {"state": updates.state_of(event), f"events.{slot}": entry}
    if event.expires_at:
        changed["expires_at"] = event.expires_at
    condition = {"_id": row.id, "tenant": tenant, "state.status": row.status.value, "state.round": row.round}
    if not selectors.rows().update_one(condition, {"$set": changed}).matched_count:
        raise Conflict("delivery_changed", "The delivery changed in this moment: look at it again.")
    _bump([event])
    return _row(tenant, mode, delivery_id)


def cancel_open(tenant: str, message: str, now: datetime) -> int:
    """Cancel what is not yet sent of a message; returns how many deliveries. Without the broker, in the record only."""
    rows = list(selectors.open_rows(tenant, message))
    end(rows, Status.CANCELLED, "cancelled", now)
    return len(rows)


def end(rows: Sequence[DeliveryRow], status: Status, reason: str, now: datetime) -> None:
    """These deliveries reach a status without an attempt. Without the broker, in the record only."""
    events = [_event(row, status, reason, now) for row in rows]
    try:
        report(events)
    except amqp.BrokerUnavailable:
        write(events)


def lease(deliveries: Sequence[DeliveryRow], until: datetime) -> None:
    """Keep these rows out of due() until then, while their job is under way. Rows that moved on are left alone."""
    found = [
        UpdateOne(
            {"_id": row.id, "tenant": row.tenant, "state.status": row.status.value, "state.at": row.at},
            {"$set": {"state.wake_at": until}},
        )
        for row in deliveries
    ]
    if found:
        selectors.rows().bulk_write(found, ordered=False)


def roll_up(limit: int) -> int:
    """Count messages whose totals are stale and store the result; returns how many. Safe to run twice at once."""
    now = datetime.now(UTC)
    query = {"stale": True, "next_at": {"$not": {"$gt": now}}}
    stale = list(selectors.summaries().find(query, {"tenant": 1, "mode": 1, "version": 1}).limit(limit))
    for found in stale:
        store_totals(found["_id"], found["tenant"], found["mode"], found["version"])
    return len(stale)


def store_totals(message: str, tenant: str, mode: str, version: int) -> bool:
    """Count and store as of this version, unless a later one is stored. Stays stale when events came meanwhile."""
    as_of = datetime.now(UTC)
    counted = counting.of_message(tenant, message)
    took = datetime.now(UTC) - as_of
    stored = selectors.summaries().update_one(
        {"_id": message, "tenant": tenant, "stored_version": {"$lt": version}},
        {
            "$set": {
                "stored_version": version,
                "channels": counted.channels,
                "speeds": counted.speeds,
                "as_of": as_of,
                "next_at": as_of + max(took * _ROLL_UP_SHARE, timedelta(milliseconds=500)),
            }
        },
    )
    rollups.mark_messages([(tenant, mode, message)])
    selectors.summaries().update_one(
        {"_id": message, "version": version, "stored_version": version}, {"$unset": {"stale": ""}}
    )
    return bool(stored.modified_count)


def _row(tenant: str, mode: str, delivery_id: str) -> DeliveryRow:
    row = selectors.states(tenant, [delivery_id]).get(delivery_id)
    if row is None or row.mode != mode:
        raise NotFound("delivery_not_found", f"There is no delivery {delivery_id!r}.")
    return row


def _event(row: DeliveryRow, status: Status, reason: str, now: datetime) -> DeliveryEvent:
    return DeliveryEvent(
        tenant=row.tenant,
        mode=row.mode,
        message=row.message,
        delivery=row.id,
        receiver=row.receiver,
        channel=row.channel,
        group=row.group,
        address_hash=row.address_hash,
        address_masked=row.address_masked,
        status=status,
        at=now,
        round=row.round,
        reason=reason,
        expires_at=row.expires_at,
        waiting=row.status is Status.SENT,
    )


def _check_retriable(row: DeliveryRow) -> None:
    if row.status in OPEN:
        raise Conflict("delivery_open", f"The delivery is {row.status}: it is going to be tried anyway.")
    if row.status not in RETRIABLE:
        raise Conflict(f"delivery_{row.status}", f"The delivery is {row.status}: there is nothing to retry.")
    if row.round >= updates.MAX_ROUNDS:
        raise Conflict(
            "too_many_rounds", f"A delivery can be retried {updates.MAX_ROUNDS - 1} times: send a new message."
        )


def _upsert(events: Sequence[DeliveryEvent]) -> None:
    changes = updates.merge(events)
    strangers = _bulk(changes)
    for tenant, delivery in strangers:
        log.warning("event refused: the delivery is another tenant's", tenant=tenant, delivery=delivery)
    _bump([change.event for key, change in changes.items() if key not in strangers], changes)


def _bulk(changes: dict[Key, updates.Change]) -> set[Key]:
    """New rows are inserted, which costs MongoDB a fraction of an upsert; then one bulk of upserts for all others.

    What is a duplicate key every time is another tenant's: those keys are returned.
    """
    new = [key for key, change in changes.items() if change.first]
    there = {new[index] for index in bulk.insert(selectors.rows(), [updates.row(changes[key]) for key in new])}
    keys = [key for key, change in changes.items() if not change.first or key in there]
    failed = bulk.write(selectors.rows(), [updates.operation(changes[key]) for key in keys])
    return {keys[index] for index in failed}


def _bump(events: Iterable[DeliveryEvent], changes: dict[Key, updates.Change] | None = None) -> None:
    """Raise the version of the totals of the events' messages, and of the periods of these.

    A message gets its document with the first event that names a group, or with many events at once; others (a
    provider's callback) raise the version where there is a document.
    """
    events = list(events)
    sizes = Counter((event.tenant, event.message) for event in events)
    grouped: set[Message] = set()
    others: set[Message] = set()
    for event in events:
        known = changes[event.tenant, event.delivery].known if changes else {"group": event.group}
        many = known.get("group") or sizes[event.tenant, event.message] >= MANY
        (grouped if many else others).add((event.tenant, event.mode, event.message))
    raised = {"$inc": {"version": 1}, "$set": {"stale": True}}
    operations: list[UpdateOne | UpdateMany] = [
        UpdateOne(
            {"_id": message, "tenant": tenant},
            {**raised, "$setOnInsert": {"mode": mode, "stored_version": 0}},
            upsert=True,
        )
        for tenant, mode, message in sorted(grouped)
    ]
    for tenant in {tenant for tenant, *_ in others - grouped}:
        left = sorted(message for owner, _, message in others - grouped if owner == tenant)
        operations.append(UpdateMany({"_id": {"$in": left}, "tenant": tenant}, raised))
    bulk.write(selectors.summaries(), operations)
    rollups.mark_messages(grouped | others)
