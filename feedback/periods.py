"""Minutes, hours and days, in UTC: the periods by whose messages totals over time are kept."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum


class Interval(StrEnum):
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"


LENGTH = {
    Interval.MINUTE: timedelta(minutes=1),
    Interval.HOUR: timedelta(hours=1),
    Interval.DAY: timedelta(days=1),
}
KEPT = {Interval.MINUTE: timedelta(days=2), Interval.HOUR: timedelta(days=60), Interval.DAY: timedelta(days=1100)}
"""How long the totals of a period are kept after it."""
ABOVE = {Interval.MINUTE: Interval.HOUR, Interval.HOUR: Interval.DAY}
BELOW = {above: below for below, above in ABOVE.items()}

_SKEW = timedelta(hours=1)
"""Clocks may disagree: what one process marks, another one must still find to be a part."""


@dataclass(frozen=True, slots=True)
class Period:
    """One tenant's messages of one mode that were accepted in one minute, hour or day."""

    tenant: str
    mode: str
    interval: Interval
    start: datetime

    @property
    def id(self) -> str:
        return f"{self.tenant}/{self.mode}/{self.interval}/{self.start:%Y-%m-%dT%H:%M}"

    @property
    def end(self) -> datetime:
        return self.start + LENGTH[self.interval]

    @property
    def parent(self) -> "Period | None":
        above = ABOVE.get(self.interval)
        return period_of(self.tenant, self.mode, above, self.start) if above else None

    def has_parts(self, now: datetime) -> bool:
        """Whether every period that it consists of is still kept. Else it can be counted from the record alone."""
        below = BELOW.get(self.interval)
        return below is not None and now < self.end + KEPT[below]


def period_of(tenant: str, mode: str, interval: Interval, at: datetime) -> Period:
    return Period(tenant, mode, interval, floor(at, interval))


def finest(tenant: str, mode: str, at: datetime, now: datetime) -> Period | None:
    """The shortest period around a time that has to be counted when something changed; None for what is forgotten."""
    for interval in (Interval.MINUTE, Interval.HOUR):
        period = period_of(tenant, mode, interval, at)
        if period.parent and period.parent.has_parts(now - _SKEW):
            return period
    day = period_of(tenant, mode, Interval.DAY, at)
    return day if now < day.end + KEPT[Interval.DAY] else None


def floor(at: datetime, interval: Interval) -> datetime:
    """The start of the period around a time."""
    at = at.astimezone(UTC).replace(second=0, microsecond=0)
    if interval is Interval.MINUTE:
        return at
    return at.replace(minute=0) if interval is Interval.HOUR else at.replace(hour=0, minute=0)
