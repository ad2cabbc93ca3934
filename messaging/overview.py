"""What a tenant's first page tells: how deliveries went, which channels have trouble, what is still to be set up.

Everything over time comes from the totals that are kept anyway: the page costs the same with ten deliveries as with
millions.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from redis.exceptions import RedisError

from feedback import backlog, webhooks
from feedback.backlog import Backlog
from feedback.events import Status
from feedback.periods import LENGTH, Interval
from feedback.series import Latency, Series, ever, series
from messaging import breaker, channel_forms, selectors
from messaging.channel_forms import ON, ChannelState
from messaging.charts import Column
from tenants import selectors as tenants

log = structlog.get_logger(__name__)

KINDS = {
    "delivered": "Delivered",
    "sent": "Sent",
    "waiting": "On the way",
    "ended": "Not sent",
    "failed": "Failed",
}
"""What statuses are to a glance, from the bottom of a bar to its top."""
KIND_OF = {
    Status.DELIVERED: "delivered",
    Status.READ: "delivered",
    Status.SENT: "sent",
    Status.SCHEDULED: "waiting",
    Status.QUEUED: "waiting",
    Status.DEFERRED: "waiting",
    Status.SUPPRESSED: "ended",
    Status.CANCELLED: "ended",
    Status.EXPIRED: "failed",
    Status.FAILED: "failed",
    Status.BOUNCED: "failed",
}
RANGES = {
    "hour": ("1 hour", Interval.MINUTE, 60),
    "day": ("24 hours", Interval.HOUR, 24),
    "month": ("30 days", Interval.DAY, 30),
}
"""Name -> label, and of which periods, and how many."""
_ALARMING, _ENOUGH = 0.1, 20
"""The share of failures that is trouble, of at least so many deliveries."""

Counts = Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One channel, or all of them."""

    name: str
    label: str
    statuses: Counts
    kinds: Counts
    """By the names of KINDS."""
    latency: Mapping[str, Latency]

    @property
    def total(self) -> int:
        return sum(self.statuses.values())

    @property
    def success(self) -> float | None:
        """Of what came to an end at a provider, the share that did not fail; None of nothing."""
        good = self.kinds.get("delivered", 0) + self.kinds.get("sent", 0)
        ended = good + self.kinds.get("failed", 0)
        return good / ended if ended else None


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why somebody should look at a channel."""

    channel: str
    label: str
    words: str
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """url names the page on which it is done; right is what a member needs for it."""

    words: str
    done: bool
    url: str
    right: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    columns: Sequence[Column]
    times: str
    everything: Line
    """Of the channel that is looked at, or of all."""
    lines: Sequence[Line]
    """Of every channel with deliveries."""
    as_of: datetime | None


def overview(tenant: str, mode: str, span: str, now: datetime, channel: str = "") -> Overview:
    """span is one of RANGES; channel may be empty. Raises the errors of MongoDB and SQL."""
    _, interval, count = RANGES[span]
    since = now - (count - 1) * LENGTH[interval]
    found = series(tenant, mode, interval, now, since=since)
    labels = {state.name: state.label for state in channel_forms.states(tenant)}
    lines = [_line(found, name, labels.get(name, name)) for name in found.channels]
    chosen = next((line for line in lines if line.name == channel), None)
    return Overview(
        columns=_columns(found, chosen.name if chosen else ""),
        times="day" if interval is Interval.DAY else "hour",
        everything=chosen or _all(found, lines),
        lines=lines,
        as_of=min((row.as_of for row in found.rows[-1:]), default=None),
    )


def troubles(tenant: str, lines: Sequence[Line]) -> list[Trouble]:
    """Of live deliveries; lines are those of a time that is short enough to matter now."""
    states = {state.name: state for state in channel_forms.states(tenant)}
    return [*_refused(states), *_opened(tenant, states), *_failing(lines)]


def steps(tenant: str) -> list[Step]:
    """What a new tenant does first, each with whether it is done."""
    configured = any(state.state == ON and state.configurable for state in channel_forms.states(tenant))
    return [
        Step("Configure a channel", configured, "console-channels", "channels"),
        Step("Create an API key", tenants.api_keys(tenant).exists(), "console-keys", "keys"),
        Step("Send a message", selectors.has_messages(tenant), "console-send", "send"),
        Step("See it delivered", ever(tenant, (Status.DELIVERED, Status.READ)), "console-messages", "read"),
        Step("Have feedback posted to you", webhooks.of_tenant(tenant).exists(), "console-webhooks", "webhooks"),
    ]


def record() -> Backlog:
    return backlog.read()


def _columns(found: Series, channel: str) -> list[Column]:
    rows = {row.start: row.channels for row in found.rows}
    columns, start = [], found.since
    while start < found.until:
        counts: dict[str, int] = {}
        for name, statuses in rows.get(start, {}).items():
            if channel in ("", name):
                _sum(counts, _kinds(statuses))
        columns.append(Column(start, counts))
        start += LENGTH[found.interval]
    return columns


def _line(found: Series, name: str, label: str) -> Line:
    statuses = found.channels[name]
    latency = found.latency.get(name, {})
    return Line(name=name, label=label, statuses=statuses, kinds=_kinds(statuses), latency=latency)


def _all(found: Series, lines: Sequence[Line]) -> Line:
    statuses: dict[str, int] = {}
    for line in lines:
        _sum(statuses, line.statuses)
    return Line(name="", label="All channels", statuses=statuses, kinds=_kinds(statuses), latency=found.overall)


def _kinds(statuses: Counts) -> dict[str, int]:
    kinds: dict[str, int] = {}
    for status, count in statuses.items():
        _sum(kinds, {KIND_OF[Status(status)]: count})
    return kinds


def _sum(to: dict[str, int], counts: Counts) -> None:
    for name, count in counts.items():
        to[name] = to.get(name, 0) + count


def _refused(states: Mapping[str, ChannelState]) -> Iterator[Trouble]:
    for state in states.values():
        if state.refused_at and state.state == ON:
            words = f"The provider refuses the credentials: {state.refused_words}"
            yield Trouble(state.name, state.label, words, state.refused_at)


def _opened(tenant: str, states: Mapping[str, ChannelState]) -> Iterator[Trouble]:
    try:
        circuits = breaker.opened(tenant)
    except RedisError as error:
        log.warning("breakers not asked", tenant=tenant, error=type(error).__name__)
        return
    hosts: dict[str, list[str]] = {}
    for circuit in circuits:
        hosts.setdefault(circuit.channel, []).append(circuit.host)
    for name, found in hosts.items():
        named = ", ".join(host for host in found[:3] if host)
        where = f" at {named}{' and others' if len(found) > 3 else ''}" if named else ""
        words = f"Nobody answers{where}: deliveries wait, and single ones find out when it is over."
        yield Trouble(name, states[name].label if name in states else name, words)


def _failing(lines: Sequence[Line]) -> Iterator[Trouble]:
    for line in lines:
        ended = sum(line.kinds.get(kind, 0) for kind in ("delivered", "sent", "failed"))
        if line.success is not None and ended >= _ENOUGH and 1 - line.success >= _ALARMING:
            words = f"{1 - line.success:.0%} of the deliveries of the last {RANGES['day'][0]} failed."
            yield Trouble(line.name, line.label, words)
