"""Counting the record in steps that stay small: a broadcast to millions is never one query of a minute."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any

from feedback.documents import Collection, Delivery, MessageTotals, collection
from feedback.periods import LENGTH, Interval
from feedback.speeds import STATUSES
from sprayer_project.ids import first_id

STEP = 20_000
"""Rows that are counted at a time, about."""
LARGE = 5_000
"""A message with so many rows is not counted again with its minute: its own totals are taken."""

Channels = dict[str, dict[str, int]]
"""channel -> status -> deliveries"""
Speeds = dict[str, dict[str, dict[str, int]]]
"""channel -> status -> bucket -> deliveries that reached the status within the time of the bucket"""
AnyChannels = Mapping[str, Mapping[str, int]]
AnySpeeds = Mapping[str, Mapping[str, Mapping[str, int]]]


@dataclass(slots=True)
class Tally:
    channels: Channels = field(default_factory=dict)
    speeds: Speeds = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(sum(statuses.values()) for statuses in self.channels.values())

    def add(self, channels: AnyChannels, speeds: AnySpeeds) -> None:
        for channel, statuses in channels.items():
            _add(self.channels.setdefault(channel, {}), statuses)
        for channel, measured in speeds.items():
            for status, buckets in measured.items():
                _add(self.speeds.setdefault(channel, {}).setdefault(status, {}), buckets)


def of_message(tenant: str, message: str) -> Tally:
    """Delivery ids end with a hash, so that the first 256th of them tells in how many steps the rest is counted."""
    tally, stem = Tally(), f"dlv_{message[4:]}"
    within = {"tenant": tenant, "message": message}
    _count(tally, within, stem, f"{stem}01")
    steps = min(255, 1 + tally.total * 256 // STEP)
    bounds = [*(f"{stem}{1 + 255 * step // steps:02x}" for step in range(steps)), f"{stem}~"]
    for start, end in pairwise(bounds):
        _count(tally, within, start, end)
    return tally


def of_time(tenant: str, mode: str, start: datetime, end: datetime) -> Tally:
    """The deliveries of the messages that were accepted from start (a full minute) until end, minute by minute."""
    tally = Tally()
    while start < end:
        _count_minute(tally, tenant, mode, start)
        start += LENGTH[Interval.MINUTE]
    return tally


def _count_minute(tally: Tally, tenant: str, mode: str, start: datetime) -> None:
    within, end = {"tenant": tenant, "mode": mode}, start + LENGTH[Interval.MINUTE]
    after = first_id("dlv", start)
    for large in _large(within, start, end):
        tally.add(large["channels"], large.get("speeds", {}))
        stem = f"dlv_{large['_id'][4:]}"
        _count(tally, within, after, stem)
        after = f"{stem}~"
    _count(tally, within, after, first_id("dlv", end))


def _large(within: Mapping[str, str], start: datetime, end: datetime) -> list[dict[str, Any]]:
    """The stored totals of the large messages among those accepted in this time, in the order of their ids."""
    ids = {"$gte": first_id("msg", start), "$lt": first_id("msg", end)}
    found = collection(MessageTotals).find({**within, "_id": ids})
    large = [one for one in found if Tally(one.get("channels", {})).total >= LARGE]
    return sorted(large, key=lambda one: str(one["_id"]))


def _count(tally: Tally, within: Mapping[str, str], start: str, end: str) -> None:
    """Add the rows whose ids are from start until end."""
    key = {"channel": "$channel", "status": "$state.status", "scheduled": "$scheduled"}
    key |= {status.value: f"$speed.{status}" for status in STATUSES}
    match = {**within, "_id": {"$gte": start, "$lt": end}}
    for found in _rows().aggregate([{"$match": match}, {"$group": {"_id": key, "rows": {"$sum": 1}}}]):
        kind, rows = found["_id"], found["rows"]
        tally.add({kind["channel"]: {kind["status"]: rows}}, {kind["channel"]: dict(_measured(kind, rows))})


def _measured(kind: Mapping[str, Any], rows: int) -> Iterator[tuple[str, dict[str, int]]]:
    for status in STATUSES:
        if kind.get(status) is not None and not kind.get("scheduled"):
            yield status.value, {str(kind[status]): rows}


def _add(to: dict[str, int], counts: Mapping[str, int]) -> None:
    for name, count in counts.items():
        to[name] = to.get(name, 0) + count


def _rows() -> Collection:
    return collection(Delivery)
