"""Console pages of the sandbox: what arrived at each gateway for the tenant, and its magic addresses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.clickjacking import xframe_options_sameorigin

from messaging.channels import registry
from messaging.channels.base import Channel, Look
from messaging.framing import framed, with_frames
from messaging.sandbox import declared
from messaging.sandbox.base import Gateway
from messaging.sandbox_client import arrived
from sprayer_project.errors import StoreUnavailable
from tenants import console
from tenants.models import Membership

SHOWN = 50
_SHORT = 120
_APART = frozenset({"arrival", "at", "html"})


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request or mail, as the page shows it."""

    id: str
    at: datetime
    to: str
    look: Look
    headline: str
    answer: str
    """What the gateway answered; empty where it always says yes."""
    refused: bool
    facts: Sequence[tuple[str, Any]]
    """What fits on a line."""
    texts: Sequence[tuple[str, str]]
    parts: Sequence[tuple[str, Any]]
    """JSON."""


@console.page()
def index(request: HttpRequest, member: Membership) -> HttpResponse:
    return redirect("console-sandbox", member.tenant.slug, next(iter(declared())))


@console.page()
def sandbox(request: HttpRequest, member: Membership, channel: str) -> HttpResponse:
    """What arrived on one channel, newest first, and which addresses have an outcome of their own."""
    context = _context(member, channel)
    return with_frames(console.show(request, member, "messaging/sandbox.html", context))


@console.page()
def sandbox_live(request: HttpRequest, member: Membership, channel: str) -> HttpResponse:
    """Its moving part alone; 204 while nothing has come since the arrival that the page names."""
    context = _context(member, channel)
    if request.GET.get("seen") == context["newest"]:
        return HttpResponse(status=204)
    return console.show(request, member, "messaging/_sandbox_arrivals.html", context)


@xframe_options_sameorigin
@console.page()
def sandbox_html(request: HttpRequest, member: Membership, channel: str, arrival: str) -> HttpResponse:
    """The HTML of a mail, for a frame; it can do nothing there."""
    rows = arrived(member.tenant.slug, _known(channel), SHOWN)
    found = next((row for row in rows if row["arrival"] == arrival and row.get("html")), None)
    if found is None:
        raise Http404("Nothing with HTML in it arrived under this id, or too much came after it.")
    return framed(str(found["html"]))


def _context(member: Membership, channel: str) -> dict[str, Any]:
    tenant, gateway = member.tenant.slug, declared()[_known(channel)]
    try:
        rows, running = arrived(tenant, channel, SHOWN), True
    except StoreUnavailable:
        rows, running = [], False
    newest = rows[0]["arrival"] if rows else "nothing" if running else "away"
    return {
        "section": "sandbox",
        "channel": registry()[channel],
        "channels": [registry()[name] for name in declared()],
        "running": running,
        "arrivals": [_shown(row, gateway) for row in rows],
        "newest": newest,
        "live_url": reverse("console-sandbox-live", args=[tenant, channel]) + f"?seen={newest}",
        "magic": [(one, _is_whole(registry()[channel], one.address)) for one in gateway.magic],
        "magic_place": gateway.magic_place,
    }


def _known(channel: str) -> str:
    if channel not in declared():
        raise Http404(f"Nothing of {channel!r} passes through the sandbox.")
    return channel


def _is_whole(channel: Channel, address: str) -> bool:
    """Whether a magic address can be used as it is written, or stands for many."""
    try:
        channel.clean_address(address)
    except ValueError:
        return False
    return "<" not in address


def _shown(row: Mapping[str, Any], gateway: type[Gateway]) -> Arrival:
    to, look = gateway.seen(row)
    said = {name: _line(value) for name, value in row.items() if name not in _APART and value not in (None, "", {}, [])}
    plain = {name: value for name, value in said.items() if not isinstance(value, dict | list)}
    long = {name for name, value in plain.items() if len(str(value)) > _SHORT or "\n" in str(value)}
    answer = row.get("answer", row.get("status", ""))
    return Arrival(
        id=row["arrival"],
        at=datetime.fromisoformat(row["at"]),
        to=to,
        look=look,
        headline=look.title or look.text or str(row.get("reason") or row.get("method") or ""),
        answer="no answer" if answer == 0 else str(answer),
        refused=answer != "" and not 200 <= int(answer) < 300,
        facts=[(name, value) for name, value in plain.items() if name not in long],
        texts=[(name, str(plain[name])) for name in plain if name in long],
        parts=[(name, value) for name, value in said.items() if name not in plain],
    )


def _line(value: Any) -> Any:
    """A list of texts, such as a mail's recipients, as one."""
    return ", ".join(value) if isinstance(value, list) and all(isinstance(one, str) for one in value) else value
