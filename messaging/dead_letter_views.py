"""Console pages of dead letters: everyone looks, developers replay and drop, after having seen what would happen."""

from dataclasses import asdict
from typing import Any

from django.contrib import messages as notices
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect

from feedback import dead
from feedback import selectors as feedback
from messaging import dead_letters, errands
from messaging.dead_letters import SENTENCES, Chosen
from tenants import console
from tenants import services as tenants
from tenants.models import Membership

PAGE = 25
_SECTION = {"section": "dead"}
_KINDS = ("replay", "drop")
_RECENT = 5


@console.page()
def groups(request: HttpRequest, member: Membership) -> HttpResponse:
    """By channel and reason, and what is being done to them."""
    tenant, mode = member.tenant.slug, _mode(request.GET)
    found = dead.groups(tenant, mode)
    context = {"mode": mode, "found": found, "errands": errands.recent(tenant, _KINDS, _RECENT)}
    return console.show(request, member, "messaging/dead_letters.html", _SECTION | context)


@console.page()
def letters(request: HttpRequest, member: Membership) -> HttpResponse:
    """Those of one channel and reason, the newest first, with boxes to choose some."""
    if not _names_some(request.GET):
        return redirect("console-dead-letters", member.tenant.slug)
    chosen, cursor = _chosen(request.GET), request.GET.get("cursor")
    page = feedback.dead(
        member.tenant.slug,
        chosen.mode,
        channel=chosen.channel,
        reason=chosen.reason,
        cursor=cursor,
        limit=PAGE,
    )
    context = {"chosen": chosen, "page": page, "cursor": cursor}
    return console.show(request, member, "messaging/dead_letter_group.html", _SECTION | context)


@console.page("send")
def preview(request: HttpRequest, member: Membership) -> HttpResponse:
    """What would happen; the button on it does it."""
    if not _names_some(request.GET):
        notices.error(request, "Choose at least one dead letter.")
        return redirect("console-dead-letters", member.tenant.slug)
    chosen, action = _chosen(request.GET), _action(request.GET)
    found = dead_letters.preview(member.tenant.slug, chosen)
    lines = [(SENTENCES[word], count) for word, count in found.outcomes.items()]
    context = {"chosen": chosen, "action": action, "preview": found, "lines": lines}
    return console.show(request, member, "messaging/dead_letter_preview.html", _SECTION | context)


@console.page("send", methods=("POST",))
def act(request: HttpRequest, member: Membership) -> HttpResponse:
    """A few at once; all of a channel and reason as an errand."""
    tenant, chosen, action = member.tenant.slug, _chosen(request.POST), _action(request.POST)
    if not chosen.ids:
        errand = errands.begin(tenant, action, member.user.email, asdict(chosen) | {"ids": []})
        detail = chosen.named | {"mode": chosen.mode, "errand": errand.id}
        _note(request, member, action, detail)
        return redirect("console-dead-letter-errand", tenant, errand.id)
    _note(request, member, action, {"mode": chosen.mode, "ids": list(chosen.ids)})
    if action == "drop":
        count = dead_letters.drop(tenant, chosen.mode, chosen.ids)
        notices.success(request, f"{count} of {len(chosen.ids)} dropped: no longer listed, and failed as before.")
    else:
        counted = dead_letters.replay(tenant, chosen.mode, chosen.ids)
        count = counted[dead_letters.WILL_SEND]
        tell = notices.success if count else notices.error
        tell(request, f"{count} of {len(chosen.ids)} are tried again.")
    return redirect("console-dead-letters", tenant)


@console.page()
def errand(request: HttpRequest, member: Membership, errand: str) -> HttpResponse:
    """How far it is; the part that moves alone where htmx asks for it."""
    row = errands.one(member.tenant.slug, errand, _KINDS)
    counts = row.progress.get("outcomes", {})
    lines = [(SENTENCES.get(word, f"were refused: {word.replace('_', ' ')}"), count) for word, count in counts.items()]
    template = "_dead_letter_errand" if request.headers.get("HX-Request") else "dead_letter_errand"
    return console.show(request, member, f"messaging/{template}.html", _SECTION | {"errand": row, "lines": lines})


@console.page("send", methods=("POST",))
def stop(request: HttpRequest, member: Membership, errand: str) -> HttpResponse:
    """What was done stays done."""
    errands.stop(member.tenant.slug, errands.one(member.tenant.slug, errand, _KINDS).id)
    tenants.audit(member.tenant, member.user, "dead_letters.stopped", errand, {}, console.ip_of(request))
    notices.success(request, "It stops after the step that is under way.")
    return redirect("console-dead-letter-errand", member.tenant.slug, errand)


def _note(request: HttpRequest, member: Membership, action: str, detail: dict[str, Any]) -> None:
    word = {"replay": "dead_letters.replayed", "drop": "dead_letters.dropped"}[action]
    tenants.audit(member.tenant, member.user, word, "", detail, console.ip_of(request))


def _chosen(asked: QueryDict) -> Chosen:
    """Ids, or a channel and reason. Raises BadRequest."""
    ids = tuple(asked.getlist("id")[:PAGE])
    if not _names_some(asked):
        raise BadRequest("Choose dead letters, or a channel and reason.")
    return Chosen(_mode(asked), ids, asked.get("channel"), asked.get("reason"), asked.get("newest", ""))


def _names_some(asked: QueryDict) -> bool:
    return "id" in asked or ("channel" in asked and "reason" in asked)


def _mode(asked: QueryDict) -> str:
    return "test" if asked.get("mode") == "test" else "live"


def _action(asked: QueryDict) -> str:
    action = asked.get("action", "")
    if action not in _KINDS:
        raise BadRequest("Replay or drop.")
    return action
