"""What a crash, a store's absence or the clock left to do. Every action may be repeated and run in two processes."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from django.conf import settings

from feedback import rollups
from feedback import selectors as rows
from feedback import services as feedback
from feedback.events import Status
from feedback.selectors import Totals
from messaging import channels, erasure, errands, removal, retention, selectors, services, unit_of_work
from messaging.documents import Message, UndecodableJob
from sprayer_project import amqp
from subscriptions import services as subscriptions

log = structlog.get_logger(__name__)

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
        changes = {"status": "accepted", "progress_at": now, "look_at": now + timedelta(seconds=settings.SWEEP_AGE)}
        if _messages().update_one({"_id": record["_id"], "status": "scheduled"}, {"$set": changes}).modified_count:
            unit_of_work.start(record | changes)
    return len(found)


def publish_accepted() -> int:
    """Messages that were accepted, and whose jobs are not known to be with the broker."""
    if not amqp.connected():
        return 0
    now = datetime.now(UTC)
    found = list(_messages().find({"status": "accepted", "look_at": {"$lte": now}}).limit(_LIMIT))
    routed = 0
    for record in found:
        if not unit_of_work.route(record):
            break
        routed += 1
    later = {"look_at": now + timedelta(seconds=settings.SWEEP_AGE)}
    _messages().update_many({"_id": {"$in": [record["_id"] for record in found[:routed]]}}, {"$set": later})
    if routed:
        log.info("published what was left", messages=routed)
    return routed


def look_after_routed() -> int:
    """Messages under way: settle what is complete, route anew what stands still."""
    now = datetime.now(UTC)
    found = list(_messages().find({"status": {"$in": ["routing", "routed"]}, "look_at": {"$lte": now}}).limit(_LIMIT))
    totals = rows.counts(sorted({record["tenant"] for record in found}), [record["_id"] for record in found])
    ended: dict[str, list[str]] = {"settled": [], "expired": []}
    for record in found:
        counted = totals.get(record["_id"], Totals(as_of=now))
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


def _look_later(record: Mapping[str, Any], counted: Totals, now: datetime) -> None:
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
    publish_accepted,
    release_deferred,
    expire,
    roll_up,
    roll_up_periods,
    finish_index,
    look_after_routed,
    put_back,
    forget_keys,
    errands.go_on,
)


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
