"""What a crash, a store's absence or the clock left to do. Every action may be repeated and run in two processes."""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from django.conf import settings
from pymongo import UpdateOne

from feedback import rollups
from feedback import selectors as rows
from feedback import services as feedback
from feedback.events import Status
from feedback.selectors import Totals
from messaging import channels, erasure, errands, published, removal, retention, selectors, services, unit_of_work
from messaging.documents import Message, UndecodableJob
from sprayer_project import amqp
from subscriptions import services as subscriptions

log = structlog.get_logger(__name__)

Record = Mapping[str, Any]

FULL = _LIMIT = 200
"""An action that did so many has more to do."""
_MOST_ROUTINGS = 5
_RETRY_LEASE = timedelta(seconds=120)
_RETRY_GRACE = timedelta(seconds=2)


def release_scheduled() -> int:
    """Messages whose time to be sent has come."""
    now = datetime.now(UTC)
    found = list(_messages().find({"status": "scheduled", "send_at": {"$lte": now}}).limit(_LIMIT))
    for record in found:
        changes = {"status": "accepted", "progress_at": now, "look_at": now + unit_of_work.FIRST_LOOK}
        if _messages().update_one({"_id": record["_id"], "status": "scheduled"}, {"$set": changes}).modified_count:
            unit_of_work.start(record | changes)
    return len(found)


def look_after_accepted() -> int:
    """Messages that were accepted a moment ago: settle what is complete, publish what may not be with the broker.

    Returns how many it brought further.
    """
    now = datetime.now(UTC)
    found = list(_messages().find({"status": "accepted", "look_at": {"$lte": now}}).limit(_LIMIT))
    totals = _counted(found)
    noted = published.noted(_keys(found))
    fates: dict[str, list[Record]] = {"settled": [], "routing": [], "routed": []}
    left = []
    for record in found:
        if selectors.is_settled(record, totals[record["_id"]]):
            fates["settled"].append(record)
        elif (record["tenant"], record["_id"]) in noted:
            fates["routing" if record["routes"] else "routed"].append(record)
        else:
            left.append(record)
    for record in _published(left, now):
        fates["routing" if record["routes"] else "routed"].append(record)
    for status, records in fates.items():
        if records:
            query = {"_id": {"$in": [record["_id"] for record in records]}, "status": "accepted"}
            changes = {"status": status, "look_at": now + unit_of_work.FIRST_LOOK}
            _messages().update_many(query, {"$set": changes})
    published.forget(noted)
    return sum(map(len, fates.values()))


def _published(records: Sequence[Record], now: datetime) -> list[Record]:
    """Those whose jobs are with the broker now. The jobs of young ones may be under way: they are looked at again."""
    age = timedelta(seconds=settings.SWEEP_AGE)
    young = [record for record in records if now - record["progress_at"] < age]
    if young:
        changes = [
            UpdateOne({"_id": record["_id"], "status": "accepted"}, {"$set": {"look_at": record["progress_at"] + age}})
            for record in young
        ]
        _messages().bulk_write(changes, ordered=False)
    done: list[Record] = []
    for record in records if amqp.connected() else ():
        if now - record["progress_at"] >= age:
            if not unit_of_work.route(record):
                break
            done.append(record)
    if done:
        log.info("published what was left", messages=len(done))
    return done


def look_after_routed() -> int:
    """Messages under way: settle what is complete, route anew what stands still."""
    now = datetime.now(UTC)
    found = list(_messages().find({"status": {"$in": ["routing", "routed"]}, "look_at": {"$lte": now}}).limit(_LIMIT))
    totals = _counted(found)
    ended: dict[str, list[str]] = {"settled": [], "expired": []}
    for record in found:
        counted = totals[record["_id"]]
        if selectors.is_settled(record, counted):
            ended["settled"].append(record["_id"])
        elif record["expires_at"] <= now and not counted.open:
            ended["expired"].append(record["_id"])
        else:
            _look_later(record, counted, now)
    for status, ids in ended.items():
        if ids:
            query = {"_id": {"$in": ids}, "status": {"$in": ["routing", "routed"]}}
            _messages().update_many(query, {"$set": {"status": status}})
    return len(found)


def _counted(records: Sequence[Record]) -> Mapping[str, Totals]:
    by_tenant: dict[str, list[str]] = defaultdict(list)
    for record in records:
        by_tenant[record["tenant"]].append(record["_id"])
    totals: dict[str, Totals] = {}
    for tenant, ids in by_tenant.items():
        totals |= rows.totals_of(tenant, ids)
    return totals


def _keys(records: Sequence[Record]) -> list[published.Key]:
    return [(record["tenant"], record["_id"]) for record in records]


def _look_later(record: Record, counted: Totals, now: datetime) -> None:
    """Look again when as much time has passed as until now; a message that stands still is routed anew.

    Claims make the second routing harmless. A delivery that is still to be tried is progress enough.
    """
    stalled = now - record["progress_at"] >= timedelta(seconds=settings.STALLED_AGE) and not counted.open
    if stalled and record.get("routings", 0) < _MOST_ROUTINGS:
        log.warning("routing anew", tenant=record["tenant"], message=record["_id"])
        _messages().update_one({"_id": record["_id"]}, {"$inc": {"routings": 1}, "$set": {"progress_at": now}})
        unit_of_work.route(record)
    wait = min(now - record["created_at"], timedelta(seconds=settings.STALLED_AGE))
    _messages().update_one({"_id": record["_id"]}, {"$set": {"look_at": now + max(wait, unit_of_work.FIRST_LOOK)}})


def expire() -> int:
    """Deliveries that waited past their message's time to live, and messages that never left."""
    found = rows.open_expired(datetime.now(UTC), _LIMIT)
    feedback.end(found, Status.EXPIRED, "expired", datetime.now(UTC))
    return len(found)


def release_deferred() -> int:
    """Deliveries whose next attempt is due and not with the broker."""
    now = datetime.now(UTC)
    found = rows.due(now - _RETRY_GRACE, _LIMIT)
    amqp.publish([services.next_attempt(row, row.attempt + 1) for row in found])
    feedback.lease(found, now + _RETRY_LEASE)
    return len(found)


def roll_up() -> int:
    return feedback.roll_up(_LIMIT)


def roll_up_periods() -> int:
    return rollups.roll_up(_LIMIT)


def forget_keys() -> int:
    """Idempotency keys older than a day."""
    late = {"key_expires_at": {"$lte": datetime.now(UTC)}}
    unset = {"idempotency": "", "key_expires_at": ""}
    return int(_messages().update_many(late, {"$unset": unset}).modified_count)


def finish_index() -> int:
    return subscriptions.finish_pending(_LIMIT)


def put_back() -> int:
    """What waits for its receiver in a memory that was lost."""
    return sum(found.put_back(_LIMIT) for found in channels.registry().values() if found.sent_waits)


ACTIONS: tuple[Callable[[], int], ...] = (
    release_scheduled,
    look_after_accepted,
    release_deferred,
    expire,
    finish_index,
    look_after_routed,
    put_back,
    forget_keys,
    errands.go_on,
)


COUNTING: tuple[Callable[[], int], ...] = (roll_up, roll_up_periods)
"""What may take minutes where messages are large: done with pauses in proportion."""


EVERY_MINUTE: tuple[Callable[[], int], ...] = (retention.prune, rollups.prune, erasure.go_on, removal.go_on)
"""What nobody waits for."""


def keep_undecodable(raw: bytes, queue: str) -> None:
    """Copy a message of the undecodable dead letters to the record."""
    text = raw.decode(errors="replace")
    try:
        wrapped = json.loads(text)
        origin, reason, body = wrapped["queue"], wrapped["reason"], wrapped["body"]
    except (ValueError, KeyError, TypeError):
        origin, reason, body = queue, "delivery_limit", text
    job = _fields(body)
    UndecodableJob._get_collection().insert_one(
        {
            "queue": str(origin),
            "reason": str(reason),
            "body": str(body)[:100_000],
            "tenant": job.get("tenant"),
            "message": job.get("message"),
            "at": datetime.now(UTC),
        }
    )
    log.error("undecodable job kept", queue=origin, reason=reason)


def _fields(body: Any) -> dict[str, Any]:
    try:
        job = json.loads(body)
    except (ValueError, TypeError, RecursionError):
        return {}
    if not isinstance(job, dict):
        return {}
    # A lone surrogate is text to JSON, and none to MongoDB.
    return {name: value.encode(errors="replace").decode() for name, value in job.items() if isinstance(value, str)}


def _messages() -> Any:
    return Message._get_collection()
