"""Keeping totals over time: whoever changes deliveries marks their periods, the sweeper counts marked ones anew.

A minute is counted from the record, an hour is the sum of its minutes, a day the sum of its hours; where these are
gone, the record is counted. A late event costs the more patience the older its message is. What is counted belongs to
the version of the mark that it has seen: repeats, any order and two sweepers at once give the same totals.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from pymongo import UpdateMany, UpdateOne

from feedback import bulk, counting
from feedback.counting import Tally
from feedback.documents import Collection, PeriodTotals, collection
from feedback.periods import BELOW, KEPT, Interval, Period, finest
from feedback.speeds import accepted_at
from sprayer_project.errors import STORE_ERRORS
from tenants import selectors as tenants

log = structlog.get_logger(__name__)

_SHARE = 10
"""A period is counted again after so many times the time that counting took; an old one after a share of its age."""
_YOUNG, _AGE_SHARE, _LONGEST = timedelta(hours=1), 30, timedelta(hours=3)
_LEAST = {
    Interval.MINUTE: timedelta(seconds=1),
    Interval.HOUR: timedelta(seconds=5),
    Interval.DAY: timedelta(seconds=10),
}
_MARGIN = {Interval.MINUTE: timedelta(hours=2), Interval.HOUR: timedelta(days=2), Interval.DAY: timedelta(days=2)}
"""So much longer than KEPT a period is there, so that its parent never misses one."""


def mark_messages(messages: Iterable[tuple[str, str, str]]) -> None:
    """(tenant, mode, id): the totals of the periods in which these were accepted have to be counted anew."""
    now = datetime.now(UTC)
    mark(filter(None, {finest(tenant, mode, accepted_at(message), now) for tenant, mode, message in messages}))


def mark(periods: Iterable[Period]) -> None:
    """The totals of these periods have to be counted anew."""
    operations: list[UpdateOne | UpdateMany] = []
    for period in periods:
        known = {"tenant": period.tenant, "mode": period.mode, "interval": period.interval.value, "start": period.start}
        change = {"$inc": {"version": 1}, "$set": {"stale": True}, "$setOnInsert": known | {"stored_version": 0}}
        operations.append(UpdateOne({"_id": period.id}, change, upsert=True))
    bulk.write(totals(), operations)


def roll_up(limit: int, now: datetime | None = None) -> int:
    """Count the periods that are marked and due; returns how many. Safe to run twice at once.

    One that cannot be counted waits, and holds up no other.
    """
    now = now or datetime.now(UTC)
    query = {"stale": True, "next_at": {"$not": {"$gt": now}}}
    stale = list(totals().find(query, {"channels": 0, "speeds": 0}).limit(limit))
    kept = tenants.retentions() if stale else {}
    for found in stale:
        try:
            _store(found, now, kept)
        except STORE_ERRORS:
            raise
        except Exception:
            log.exception("a period could not be counted", tenant=found["tenant"], period=found["_id"])
            totals().update_one({"_id": found["_id"]}, {"$set": {"next_at": now + _LONGEST}})
    return len(stale)


def prune(now: datetime | None = None) -> int:
    """Remove periods that are over for longer than their kind is kept; returns how many."""
    now = now or datetime.now(UTC)
    removed = 0
    for interval in Interval:
        before = now - KEPT[interval] - _MARGIN[interval]
        removed += totals().delete_many({"interval": interval.value, "start": {"$lt": before}}).deleted_count
    return removed


def totals() -> Collection:
    return collection(PeriodTotals)


def _store(found: Mapping[str, Any], now: datetime, kept: Mapping[str, int]) -> None:
    """Count a period and store that; then its parent is marked, and only then its own mark goes."""
    period = Period(found["tenant"], found["mode"], Interval(found["interval"]), found["start"])
    version, began = found["version"], datetime.now(UTC)
    tally = _count(period, now, kept)
    if tally is not None:
        age = max(timedelta(0), began - period.end - _YOUNG)
        took = datetime.now(UTC) - began
        wait = max(took * _SHARE, min(age / _AGE_SHARE, _LONGEST), _LEAST[period.interval])
        stored = {"stored_version": version, "channels": tally.channels, "speeds": tally.speeds}
        totals().update_one(
            {"_id": period.id, "stored_version": {"$lt": version}},
            {"$set": stored | {"as_of": began, "next_at": began + wait}},
        )
        if period.parent:
            mark([period.parent])
    totals().update_one({"_id": period.id, "version": version}, {"$unset": {"stale": ""}})


def _count(period: Period, now: datetime, kept: Mapping[str, int]) -> Tally | None:
    """None where the record may have lost rows by now: then what was counted before stands."""
    if period.has_parts(now):
        return _sum(period)
    days = kept.get(period.tenant)
    if days is None or (days and period.start < now - timedelta(days=days)):
        return None
    return counting.of_time(period.tenant, period.mode, period.start, period.end)


def _sum(period: Period) -> Tally:
    tally, below = Tally(), BELOW[period.interval]
    for part in totals().find(
        {
            "tenant": period.tenant,
            "mode": period.mode,
            "interval": below.value,
            "start": {"$gte": period.start, "$lt": period.end},
        }
    ):
        tally.add(part.get("channels", {}), part.get("speeds", {}))
    return tally
