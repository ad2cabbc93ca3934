"""The live feed: a tenant's events as they happen, for who looks now. Best effort; it says where something is missing.

run_live puts them into the tenant's tail while somebody looks, or did a moment ago; web processes read it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from feedback import webhook_events
from feedback.events import DeliveryEvent, Event, Status
from feedback.webhook_events import PATTERNS
from sprayer_project import redis
from sprayer_project.errors import FieldError, Invalid, StoreUnavailable
from sprayer_project.tail import Tail

NAME = "live"
KEPT = 120
"""Seconds for which events are kept after somebody looked: who comes back within them misses nothing."""
_LENGTH = 1_000
BEAT = 1.0
_BEAT_KEY, _BEAT_LASTS = "sprayer:live:beat", 10


def tail_of(tenant: str) -> Tail:
    return Tail(tenant, NAME, _LENGTH, KEPT, on_demand=True)


def encoded(event: Event) -> str:
    """What a feedback webhook gets, with the mode: null where it belongs to both."""
    mode = event.mode if isinstance(event, DeliveryEvent) else None
    return orjson.dumps(webhook_events.body_of(event) | {"mode": mode}).decode()


@dataclass(frozen=True, slots=True)
class Filters:
    """Each empty, or what an event must be one of."""

    channel: Sequence[str] = ()
    status: Sequence[str] = ()
    message: Sequence[str] = ()
    receiver: Sequence[str] = ()
    type: Sequence[str] = ()
    """Patterns, as of webhooks."""

    def shows(self, body: Mapping[str, Any]) -> bool:
        names = ("channel", "status", "message", "receiver")
        fits = all(body.get(name) in wanted for name in names if (wanted := getattr(self, name)))
        return fits and (not self.type or webhook_events.wanted(self.type, body["type"]))


def filters_of(asked: Mapping[str, str]) -> Filters:
    """Of a query; several values are separated by commas, but a receiver's name may hold one. Raises Invalid."""
    found = {name: [part for part in asked.get(name, "").split(",") if part] for name in ("channel", "status", "type")}
    known = {"status": [status.value for status in Status], "type": PATTERNS}
    errors = [
        FieldError(f"?{name}", f"{part!r} is none of {', '.join(allowed)}.")
        for name, allowed in known.items()
        for part in found[name]
        if part not in allowed
    ]
    if errors:
        raise Invalid("invalid_filter", errors[0].detail, errors=errors)
    single = {name: [asked[name]] for name in ("message", "receiver") if asked.get(name)}
    return Filters(**found, **single)


def runs(tenant: str) -> bool:
    """Whether somebody writes the feed. Raises redis errors."""
    return bool(redis.client(tenant).exists(_BEAT_KEY))


def check_running(tenant: str) -> None:
    """Raises StoreUnavailable where nobody writes the feed, and redis errors."""
    if not runs(tenant):
        raise StoreUnavailable("The live feed", "The live feed is away at the moment: connect again.", 2)


async def beat(shard: int) -> None:
    """Say that somebody writes it. Raises redis errors."""
    await redis.ashard(shard).set(_BEAT_KEY, 1, ex=_BEAT_LASTS)
