"""What waits for each feedback webhook, in MongoDB: batches, and the lane in which one daemon at a time sends them.

A lane's hold ends by itself when its daemon is killed: the batches are sent again, with the same ids.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from pymongo import DeleteOne, ReturnDocument, UpdateOne

from feedback.documents import Collection, WebhookBatch, WebhookLane, collection
from feedback.webhook_events import Batch
from sprayer_project import metrics
from sprayer_project.ids import new_id

DELAYS = (5, 30, 120, 600, 3600)
"""Seconds before attempt 2, 3 ...; the last one again and again, until SPRAYER_FEEDBACK_WEBHOOK_PATIENCE is over."""
JITTER = 0.1
FAILURES = 5
"""In a row, after which single probes find out whether the endpoint is back."""
LONGEST_REST = 60.0
LOG = 100
"""Attempts kept of each webhook."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One request and what came of it."""

    batch: Batch
    at: datetime
    milliseconds: int
    status: int | None = None
    """HTTP's; None where no answer came."""
    error: str = ""
    """Why none came."""
    retry_after: float | None = None

    @property
    def delivered(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def gone(self) -> bool:
        return self.status == 410


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    webhook: str
    tenant: str
    holder: str = ""
    failures: int = 0
    """In a row."""
    failing_since: datetime | None = None
    rest_until: datetime | None = None
    delivered_at: datetime | None = None
    dropped: int = 0
    """Events that were never delivered."""
    log: Sequence[Mapping[str, Any]] = field(default=())
    """Newest first: {"id", "at", "attempt", "events", "status"?, "error"?, "milliseconds", "next_at"?}"""


def store(batches: Iterable[Batch], now: datetime) -> None:
    """Keep the batches and wake their lanes; a webhook with too much waiting loses them. Raises pymongo's errors."""
    added: dict[str, list[Batch]] = {}
    for batch in batches:
        added.setdefault(batch.webhook, []).append(batch)
    lanes = []
    for webhook, found in added.items():
        most = settings.FEEDBACK_WEBHOOK_BACKLOG
        room = max(0, most - _batches().count_documents({"webhook": webhook}, limit=most))
        if kept := found[:room]:
            _batches().insert_many([_document(batch, now) for batch in kept], ordered=False)
        lost = sum(batch.events for batch in found[room:])
        _dropped(lost)
        change = {"$setOnInsert": {"tenant": found[0].tenant}, "$min": {"wake_at": now}}
        change["$inc"] = {"version": 1, "dropped": lost}
        lanes.append(UpdateOne({"_id": webhook}, change, upsert=True))
    if lanes:
        _lanes().bulk_write(lanes, ordered=False)


def claim(limit: int) -> list[Lane]:
    """Take up to `limit` lanes that have something to do and nobody who does it, those first that wait longest."""
    now = datetime.now(UTC)
    free = {"$not": {"$gt": now}}
    idle = {"wake_at": {"$lte": now}, "held_until": free, "rest_until": free}
    taken = []
    for found in list(_lanes().find(idle, {"_id": 1}).sort("wake_at", 1).limit(limit)):
        hold = {"$set": {"holder": new_id("hold"), "held_until": now + _lease()}}
        got = _lanes().find_one_and_update(
            {"_id": found["_id"], **idle}, hold, {"log": 0}, return_document=ReturnDocument.AFTER
        )
        if got is not None:
            taken.append(_lane(got))
    return taken


def due(lane: Lane, limit: int) -> list[Batch]:
    """The lane's batches that are due, longest waiting first."""
    query = {"webhook": lane.webhook, "wake_at": {"$lte": datetime.now(UTC)}}
    return [_batch(found) for found in _batches().find(query).sort("wake_at", 1).limit(limit)]


def record(lane: Lane, attempts: Sequence[Attempt]) -> Lane | None:
    """Write what came of attempts, and go on holding the lane; None when another daemon holds it by now."""
    now = datetime.now(UTC)
    plans = [(attempt, _next(attempt)) for attempt in attempts]
    _batches().bulk_write([_outcome(attempt, next_at) for attempt, next_at in plans], ordered=False)
    lost = sum(attempt.batch.events for attempt, next_at in plans if next_at is None and not attempt.delivered)
    _count(plans, lost)
    change: dict[str, Any] = {
        "$push": {"log": {"$each": [_entry(*plan) for plan in plans], "$slice": -LOG}},
        "$inc": {"dropped": lost},
        "$set": {"held_until": now + _lease()},
    }
    if any(attempt.delivered for attempt in attempts):
        change["$set"] |= {"failures": 0, "delivered_at": now}
        change["$unset"] = {"failing_since": "", "rest_until": ""}
    else:
        failures = lane.failures + len(attempts)
        change["$set"] |= {"failures": failures, "failing_since": lane.failing_since or attempts[0].at}
        if failures >= FAILURES:
            rest = min(LONGEST_REST, 2.0 ** min(failures - FAILURES, 10))
            change["$set"]["rest_until"] = now + timedelta(seconds=rest)
    mine = {"_id": lane.webhook, "holder": lane.holder}
    got = _lanes().find_one_and_update(mine, change, {"log": 0}, return_document=ReturnDocument.AFTER)
    return _lane(got) if got is not None else None


def note(attempt: Attempt) -> None:
    """Log an attempt that somebody asked for; how the webhook is doing does not follow from it."""
    batch = attempt.batch
    change = {
        "$setOnInsert": {"tenant": batch.tenant},
        "$push": {"log": {"$each": [_entry(attempt, None)], "$slice": -LOG}},
    }
    _lanes().update_one({"_id": batch.webhook}, change, upsert=True)


def release(lane: Lane) -> None:
    """Give the lane up until its next batch is due."""
    mine = {"_id": lane.webhook, "holder": lane.holder}
    seen = _lanes().find_one(mine, {"version": 1})
    following = _batches().find_one({"webhook": lane.webhook}, {"wake_at": 1}, sort=[("wake_at", 1)])
    if seen is None:
        return
    idle: dict[str, Any] = {"holder": "", "held_until": ""}
    change = {"$unset": idle | {"wake_at": ""}}
    if following is not None:
        change = {"$unset": idle, "$set": {"wake_at": following["wake_at"]}}
    if not _lanes().update_one(mine | {"version": seen.get("version", 0)}, change).matched_count:
        _lanes().update_one(mine, {"$set": {"wake_at": datetime.now(UTC)}, "$unset": idle})


def clear(lane: Lane) -> None:
    """Drop what waits: its webhook is off or gone."""
    events = sum(found["events"] for found in _batches().find({"webhook": lane.webhook}, {"events": 1}))
    _batches().delete_many({"webhook": lane.webhook})
    _dropped(events)
    _lanes().update_one({"_id": lane.webhook, "holder": lane.holder}, {"$inc": {"dropped": events}})


def forgive(webhook: str) -> None:
    """Forget that it failed: it is turned on again."""
    change = {"$set": {"failures": 0}, "$unset": {"failing_since": "", "rest_until": ""}}
    _lanes().update_one({"_id": webhook}, change)


def remove(webhooks: Sequence[str]) -> None:
    """Forget all about webhooks that are deleted."""
    _batches().delete_many({"webhook": {"$in": list(webhooks)}})
    _lanes().delete_many({"_id": {"$in": list(webhooks)}})


def ids() -> list[str]:
    """Every webhook that has a lane."""
    return [found["_id"] for found in _lanes().find({}, {"_id": 1})]


def states(tenant: str, webhooks: Sequence[str], log: bool = False) -> dict[str, Lane]:
    """How each of a tenant's webhooks is doing."""
    query = {"_id": {"$in": list(webhooks)}, "tenant": tenant}
    known = {found["_id"]: _lane(found) for found in _lanes().find(query, None if log else {"log": 0})}
    return {webhook: known.get(webhook, Lane(webhook=webhook, tenant=tenant)) for webhook in webhooks}


def waiting(webhook: str) -> int:
    """How many batches wait."""
    return int(_batches().count_documents({"webhook": webhook}))


def _next(attempt: Attempt) -> datetime | None:
    """When to try again; None for what is delivered or given up."""
    if attempt.delivered or attempt.at >= (end := _first(attempt) + _patience()):
        return None
    delay = DELAYS[min(attempt.batch.attempts, len(DELAYS) - 1)] * random.uniform(1 - JITTER, 1 + JITTER)
    return min(attempt.at + timedelta(seconds=max(delay, attempt.retry_after or 0)), end)


def _outcome(attempt: Attempt, next_at: datetime | None) -> DeleteOne | UpdateOne:
    this = {"_id": attempt.batch.id}
    later = {"$set": {"wake_at": next_at, "first_at": _first(attempt)}, "$inc": {"attempts": 1}}
    return UpdateOne(this, later) if next_at else DeleteOne(this)


def _first(attempt: Attempt) -> datetime:
    return attempt.batch.first_at or attempt.at


def _patience() -> timedelta:
    return timedelta(seconds=settings.FEEDBACK_WEBHOOK_PATIENCE)


def _entry(attempt: Attempt, next_at: datetime | None) -> dict[str, Any]:
    batch = attempt.batch
    entry = {"id": batch.id, "at": attempt.at, "attempt": batch.attempts + 1, "events": batch.events}
    more = {"status": attempt.status, "error": attempt.error, "next_at": next_at}
    return entry | {"milliseconds": attempt.milliseconds} | {name: value for name, value in more.items() if value}


def _count(plans: Sequence[tuple[Attempt, datetime | None]], lost: int) -> None:
    for attempt, next_at in plans:
        if attempt.delivered:
            metrics.WEBHOOK_EVENTS.labels("delivered").inc(attempt.batch.events)
        elif next_at:
            metrics.WEBHOOK_EVENTS.labels("failed").inc(attempt.batch.events)
    _dropped(lost)


def _dropped(events: int) -> None:
    if events:
        metrics.WEBHOOK_EVENTS.labels("dropped").inc(events)


def _lease() -> timedelta:
    return timedelta(seconds=30 + 2 * settings.WEBHOOK_TIMEOUT)


def _document(batch: Batch, now: datetime) -> dict[str, Any]:
    names = ("tenant", "webhook", "events", "attempts", "created_at")
    values = {name: getattr(batch, name) for name in names}
    return {"_id": batch.id, "body": batch.body.decode(), "wake_at": now} | values


def _batch(found: Mapping[str, Any]) -> Batch:
    names = ("tenant", "webhook", "events", "attempts", "created_at")
    known = {name: found[name] for name in names}
    return Batch(id=found["_id"], body=found["body"].encode(), first_at=found.get("first_at"), **known)


def _lane(found: Mapping[str, Any]) -> Lane:
    names = ("tenant", "holder", "failures", "failing_since", "rest_until", "delivered_at", "dropped")
    known = {name: found[name] for name in names if name in found}
    return Lane(webhook=found["_id"], log=found.get("log", [])[::-1], **known)


def _batches() -> Collection:
    return collection(WebhookBatch)


def _lanes() -> Collection:
    return collection(WebhookLane)
