"""What a crash, a store's absence or the clock left to do. Every action may be repeated and run in two processes."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from django.conf import settings

from feedback import selectors as rows
from feedback import services as feedback
from feedback.events import Status
from messaging import endings, selectors, services, unit_of_work
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
        changes = {"status": "accepted", "progress_at": now}
        if _messages().update_one({"_id": record["_id"], "status": "scheduled"}, {"$set": changes}).modified_count:
            unit_of_work.route(record | changes)
    return len(found)


def publish_accepted() -> int:
    """Messages that were accepted, and whose jobs are not known to be with the broker."""
    if not amqp.connected():
        return 0
    before = datetime.now(UTC) - timedelta(seconds=settings.SWEEP_AGE)
    found = list(_messages().find({"status": "accepted", "progress_at": {"$lt": before}}).limit(_LIMIT))
    routed = 0
    for record in found:
        if not unit_of_work.route(record):
            break
        routed += 1
    if routed:
        log.info("published what was left", messages=routed)
    return routed


def route_stalled() -> int:
    """Messages whose routing stands still, or that have fewer deliveries than it promised: routed anew."""
    now = datetime.now(UTC)
    before = now - timedelta(seconds=settings.STALLED_AGE)
    query = {"status": {"$in": ["routing", "routed"]}, "progress_at": {"$lt": before}}
    stalled = 0
    for record in _messages().find(query).limit(_LIMIT):
        _messages().update_one({"_id": record["_id"]}, {"$set": {"progress_at": now}})
        totals = rows.count(record["tenant"], record["_id"])
        if selectors.is_settled(record, totals):
            _finish(record["_id"], "settled")
        elif record["expires_at"] <= now and not totals.open:
            _finish(record["_id"], "expired")
        elif not totals.open and record.get("routings", 0) < _MOST_ROUTINGS:
            log.warning("routing anew", tenant=record["tenant"], message=record["_id"])
            _messages().update_one({"_id": record["_id"]}, {"$inc": {"routings": 1}})
            unit_of_work.route(record)
            stalled += 1
    return stalled


def expire() -> int:
    """Deliveries that waited past their message's time to live, and messages that never left."""
    found = rows.open_expired(datetime.now(UTC), _LIMIT)
    endings.end(found, Status.EXPIRED, "expired")
    late = {"status": {"$in": ["scheduled", "accepted"]}, "expires_at": {"$lte": datetime.now(UTC)}}
    _messages().update_many(late, {"$set": {"status": "expired"}})
    return len(found)


def release_deferred() -> int:
    """Deliveries whose next attempt is due and not with the broker."""
    now = datetime.now(UTC)
    found = rows.due(now - _RETRY_GRACE, _LIMIT)
    amqp.publish([services.next_attempt(row, row.attempt + 1) for row in found])
    feedback.lease(found, now + _RETRY_LEASE)
    return len(found)


def roll_up() -> int:
    """Totals that events made stale, and the messages that they settle."""
    counted = feedback.roll_up(_LIMIT)
    query = {"_id": {"$in": list(counted)}, "status": "routed"}
    routed = _messages().find(query, {"status": 1, "expected": 1, "routed": 1})
    settled = [record["_id"] for record in routed if selectors.is_settled(record, counted[record["_id"]])]
    if settled:
        _messages().update_many({"_id": {"$in": settled}, "status": "routed"}, {"$set": {"status": "settled"}})
    return len(counted)


def forget_keys() -> int:
    """Idempotency keys older than a day."""
    late = {"key_expires_at": {"$lte": datetime.now(UTC)}}
    unset = {"idempotency_key": "", "key_expires_at": ""}
    return int(_messages().update_many(late, {"$unset": unset}).modified_count)


def finish_index() -> int:
    return subscriptions.finish_pending(_LIMIT)


ACTIONS: tuple[Callable[[], int], ...] = (
    release_scheduled,
    publish_accepted,
    release_deferred,
    expire,
    roll_up,
    finish_index,
    route_stalled,
    forget_keys,
)


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
    except (ValueError, TypeError):
        return {}
    return {name: value for name, value in job.items() if isinstance(value, str)} if isinstance(job, dict) else {}


def _finish(message: str, status: str) -> None:
    _messages().update_one({"_id": message, "status": {"$in": ["routing", "routed"]}}, {"$set": {"status": status}})


def _messages() -> Any:
    return Message._get_collection()
