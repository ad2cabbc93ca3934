"""Totals of deliveries as pictures, and JSON for people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from feedback.events import Status
from messaging import looks
from messaging.explain_verdicts import Verdict

register = template.Library()
register.filter("pretty", looks.pretty)

ORDER = (
    Status.READ,
    Status.DELIVERED,
    Status.SENT,
    Status.QUEUED,
    Status.SCHEDULED,
    Status.DEFERRED,
    Status.SUPPRESSED,
    Status.CANCELLED,
    Status.EXPIRED,
    Status.BOUNCED,
    Status.FAILED,
)
"""From the best to the worst: so a bar reads from left to right."""
_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


@dataclass(frozen=True, slots=True)
class Share:
    """A status and its number of deliveries."""

    status: Status
    count: int


@register.filter
def words(name: str) -> str:
    """A name of ours as people write it."""
    return name.replace("_", " ").capitalize().replace("Html", "HTML")


@register.filter
def targets(to: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Whom a message names, each with its kind: receiver, group or address."""
    return [
        *(("receiver", name) for name in to["receivers"]),
        *(("group", name) for name in to["groups"]),
        *(("address", plain["address"]) for plain in to["addresses"]),
    ]


@register.filter
def beyond(items: Sequence[object], most: int) -> int:
    """How many are left out by slice:most."""
    return max(0, len(items) - most)


@register.filter
def span(seconds: float) -> str:
    """A time in its largest whole unit: 90 is 90 s, 600 is 10 min."""
    unit, size = next((unit, size) for unit, size in _UNITS if seconds % size == 0 or size == 1)
    return f"{seconds / size:g} {unit}"


@register.filter
def look(shape: str) -> str:
    """The template that draws a channel's Look."""
    return f"messaging/looks/{shape}.html"


@register.simple_tag
def verdict_badge(verdict: str) -> SafeString:
    """What would become of a delivery, green where it would be sent."""
    kind = "delivered" if verdict == Verdict.WILL_SEND else "deferred"
    return format_html('<span class="badge status-{}">{}</span>', kind, verdict.replace("_", " "))


@register.filter
def shares(statuses: Mapping[str, int]) -> list[Share]:
    """Statuses that occur, in the order of a bar."""
    return [Share(status, statuses[status]) for status in ORDER if statuses.get(status)]


@register.filter
def together(channels: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """status -> number over all channels."""
    summed: dict[str, int] = {}
    for statuses in channels.values():
        for status, count in statuses.items():
            summed[status] = summed.get(status, 0) + count
    return summed


@register.filter
def count(statuses: Mapping[str, int]) -> int:
    return sum(statuses.values())


@register.filter
def most(channels: Mapping[str, Mapping[str, int]]) -> int:
    """The number of deliveries of the channel that has most."""
    return max(map(count, channels.values()), default=0)


@register.simple_tag
def bar(statuses: Mapping[str, int], size: str = "", of: int = 0) -> SafeString:
    """One stacked bar, in per mille of the whole or of `of`; its words are for those who do not see it."""
    parts = shares(statuses)
    whole = of or sum(part.count for part in parts)
    at, rects = 0.0, []
    for part in parts:
        width = 1000 * part.count / whole
        rects.append((part.status, f"{at:.2f}", f"{width:.2f}", f"{part.count} {part.status}"))
        at += width
    words = ", ".join(f"{part.count} {part.status}" for part in parts) or "no deliveries yet"
    drawn = format_html_join(
        "",
        '<rect class="status status-{}" x="{}" width="{}" height="10"><title>{}</title></rect>',
        rects,
    )
    return format_html(
        '<svg class="bar {}" viewBox="0 0 1000 10" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>',
        size,
        words,
        drawn,
    )
