"""The console's first page of a tenant."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from messaging import charts
from messaging import overview as pages
from messaging.overview import KINDS, RANGES, Overview
from tenants import console
from tenants.models import Membership
from tenants.rights import can

MODES = ("live", "test")
_FIRST = "day"


@console.page()
def overview(request: HttpRequest, member: Membership) -> HttpResponse:
    """How deliveries went, which channels have trouble, what is still to be set up."""
    context = _context(request, member)
    steps = pages.steps(member.tenant.slug)
    if not all(step.done for step in steps):
        context["steps"] = [(step, can(member.role, step.right)) for step in steps]
    return console.show(request, member, "messaging/overview.html", context)


@console.page()
def overview_live(request: HttpRequest, member: Membership) -> HttpResponse:
    """Its moving part alone."""
    return console.show(request, member, "messaging/_overview_live.html", _context(request, member))


def _context(request: HttpRequest, member: Membership) -> dict[str, Any]:
    tenant, now = member.tenant.slug, datetime.now(UTC)
    span = _one_of(request.GET.get("range"), RANGES, _FIRST)
    channel = request.GET.get("channel", "")
    asked = request.GET.get("mode")
    mode = _one_of(asked, MODES, "live")
    shown = pages.overview(tenant, mode, span, now, channel)
    if asked is None and not shown.lines:
        # A new tenant tries the sandbox first.
        tried = pages.overview(tenant, "test", span, now, channel)
        mode, shown = ("test", tried) if tried.lines else (mode, shown)
    today = shown if (mode, span) == ("live", "day") else pages.overview(tenant, "live", "day", now)
    chosen = {"mode": mode, "range": span} | ({"channel": channel} if shown.everything.name else {})
    return {
        "section": "overview",
        "shown": shown,
        "chart": _chart(shown) if shown.lines else None,
        "kinds": KINDS,
        "rows": [(column, [column.counts.get(kind, 0) for kind in KINDS]) for column in shown.columns if column.total],
        "mode": mode,
        "modes": [(name, _query(chosen | {"mode": name}), name == mode) for name in MODES],
        "ranges": [(label, _query(chosen | {"range": name}), name == span) for name, (label, *_) in RANGES.items()],
        "lines": [(line, _query(chosen | {"channel": line.name})) for line in shown.lines],
        "all_query": _query({name: value for name, value in chosen.items() if name != "channel"}),
        "troubles": pages.troubles(tenant, today.lines),
        "record": pages.record(),
        "live_url": f"{reverse('console-overview-live', args=[tenant])}{_query(chosen)}",
    }


def _chart(shown: Overview) -> str:
    counts = ", ".join(
        f"{shown.everything.kinds[kind]:,} {label.lower()}"
        for kind, label in KINDS.items()
        if kind in shown.everything.kinds
    )
    return charts.stacked(shown.columns, KINDS, shown.times, f"{shown.everything.label}: {counts}. The table has all.")


def _one_of(asked: str | None, known: Collection[str], otherwise: str) -> str:
    return asked if asked is not None and asked in known else otherwise


def _query(chosen: dict[str, str]) -> str:
    return f"?{urlencode(chosen)}"
