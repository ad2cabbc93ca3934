"""Reading totals over time."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from feedback.counting import AnySpeeds, Tally
from feedback.documents import PeriodTotals, collection
from feedback.events import Status
from feedback.periods import LENGTH, Interval, floor
from feedback.speeds import percentile
from sprayer_project.errors import Invalid

MOST = 1500
"""Periods of one answer."""
DEFAULT = {Interval.MINUTE: 60, Interval.HOUR: 24, Interval.DAY: 30}
"""Periods up to now, where nothing is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodRow:
    """The deliveries of the messages that were accepted in the period, as they stood at as_of."""

    start: datetime
    as_of: datetime
    channels: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Milliseconds from the acceptance of a message, of so many deliveries."""

    count: int
    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    interval: Interval
    since: datetime
    until: datetime
    rows: Sequence[PeriodRow]
    """Oldest first; periods without deliveries are left out."""
    channels: Mapping[str, Mapping[str, int]]
    """All of them together."""
    latency: Mapping[str, Mapping[str, Latency]]
    """channel -> status (sent, delivered) -> how long it took."""
    overall: Mapping[str, Latency]
    """status -> how long it took on all of these channels."""


def series(
    tenant: str,
    mode: str,
    interval: Interval,
    now: datetime,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    channel: str | None = None,
) -> Series:
    """The periods that begin from since until before until. Raises Invalid for more than MOST of them."""
    start, end = _bounds(interval, now, since, until)
    rows, together = [], Tally()
    for found in _found(tenant, mode, interval, start, end):
        counts, speeds = found.get("channels", {}), found.get("speeds", {})
        if channel is not None:
            counts = {name: counted for name, counted in counts.items() if name == channel}
            speeds = {name: counted for name, counted in speeds.items() if name == channel}
        if counts:
            together.add(counts, speeds)
            rows.append(PeriodRow(start=found["start"], as_of=found["as_of"], channels=counts))
    return Series(
        interval=interval,
        since=start,
        until=end,
        rows=rows,
        channels=dict(sorted(together.channels.items())),
        latency={name: _latencies(speeds) for name, speeds in sorted(together.speeds.items())},
        overall=_latencies(_over_all(together.speeds)),
    )


def _bounds(
    interval: Interval, now: datetime, since: datetime | None, until: datetime | None
) -> tuple[datetime, datetime]:
    length = LENGTH[interval]
    try:
        end = floor(now, interval) + length if until is None else _ceiling(until, interval)
        start = end - DEFAULT[interval] * length if since is None else floor(since, interval)
    except OverflowError as error:
        raise Invalid("invalid_time", "There are no periods so far away.", "?until") from error
    if (end - start) / length > MOST:
        detail = f"These are more than {MOST} periods: ask for a shorter time, or for longer periods."
        raise Invalid("too_many_periods", detail, "?since")
    return start, end


def ever(tenant: str, statuses: Collection[Status]) -> bool:
    """Whether a delivery of the tenant, live or test, stands at one of these statuses."""
    return any(
        counts.get(status)
        for mode in ("live", "test")
        for found in collection(PeriodTotals).find(
            {"tenant": tenant, "mode": mode, "interval": Interval.DAY.value}, {"channels": 1}
        )
        for counts in found.get("channels", {}).values()
        for status in statuses
    )


def _found(tenant: str, mode: str, interval: Interval, start: datetime, end: datetime) -> list[dict[str, Any]]:
    query = {"tenant": tenant, "mode": mode, "interval": interval.value, "start": {"$gte": start, "$lt": end}}
    return sorted(collection(PeriodTotals).find(query), key=lambda one: one["start"])


def _over_all(speeds: AnySpeeds) -> Mapping[str, Mapping[str, int]]:
    together = Tally()
    for measured in speeds.values():
        together.add({}, {"": measured})
    return together.speeds.get("", {})


def _latencies(speeds: Mapping[str, Mapping[str, int]]) -> dict[str, Latency]:
    return {
        status: Latency(
            count=sum(buckets.values()),
            p50=percentile(buckets, 0.5),
            p95=percentile(buckets, 0.95),
            p99=percentile(buckets, 0.99),
        )
        for status, buckets in sorted(speeds.items())
    }


def _ceiling(at: datetime, interval: Interval) -> datetime:
    start = floor(at, interval)
    return start if start == at else start + LENGTH[interval]
