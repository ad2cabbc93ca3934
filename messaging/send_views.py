"""Console pages: writing a message, seeing what it would be, sending it."""

from typing import Any

from django.conf import settings
from django.contrib import messages as notices
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.clickjacking import xframe_options_sameorigin
from rest_framework.exceptions import ValidationError

from messaging import channel_forms, channels, composing, selectors, services
from messaging.framing import framed, with_frames
from messaging.send_form import SendForm, initial_of
from messaging.snippets import snippets
from sprayer_project.errors import Conflict, Invalid, TooLarge, as_problem
from tenants import console
from tenants.models import Membership

_LINKED = {"receiver": "receivers", "group": "groups", "address": "addresses", "channel": "address_channel"}
"""What a link to the page may fill in, and the field of it; `from` names a message to send once more."""


@console.page("send", methods=("GET", "HEAD", "POST"))
def send(request: HttpRequest, member: Membership) -> HttpResponse:
    """A form that sends one message; what the API would refuse is said at the fields.

    Its button `look` shows what the message would be, for browsers without scripts; with them the page asks by itself.
    """
    context: dict[str, Any] = {"section": "send"}
    form = SendForm(request.POST) if request.method == "POST" else _new(request, member, context)
    if "look" in request.POST:
        context |= _preview_context(request, member, form)
    elif form.is_bound and form.is_valid():
        body = form.message(_earlier(member, form))
        try:
            accepted = services.accept(member.tenant.slug, form.cleaned_data["mode"], body, form.key(body))
        except (Invalid, ValidationError, TooLarge, Conflict) as error:
            form.refuse(as_problem(error))
        else:
            if not accepted.replayed:
                console.note(request, member, "message.sent", accepted.id, {"mode": form.cleaned_data["mode"]})
            notices.success(request, "Accepted. This page follows what becomes of it.")
            return redirect("console-message", member.tenant.slug, accepted.id)
    return with_frames(console.show(request, member, "messaging/send.html", context | {"form": form}))


@console.page("send", methods=("POST",))
def preview(request: HttpRequest, member: Membership) -> HttpResponse:
    """What the form would send: on each channel, to whom, and as a call of the API. Nothing is kept or sent."""
    context = _preview_context(request, member, SendForm(request.POST))
    return console.show(request, member, "messaging/_send_preview.html", context)


@xframe_options_sameorigin
@console.page("send")
def html(request: HttpRequest, member: Membership, name: str) -> HttpResponse:
    """The HTML of a mail that is being written, for a frame."""
    found = composing.draft_html(member.tenant.slug, name)
    if found is None:
        raise Http404("This draft is over: change something, and the page makes a new one.")
    return framed(found)


def _new(request: HttpRequest, member: Membership, context: dict[str, Any]) -> SendForm:
    """An empty form, or one that a link filled in. Raises NotFound."""
    asked = request.GET
    initial: dict[str, Any] = {field: asked[name] for name, field in _LINKED.items() if name in asked}
    if "from" in asked:
        row = selectors.message(member.tenant.slug, None, asked["from"])
        context["again"] = row
        initial = initial_of(row)
    return SendForm(initial=initial)


def _preview_context(request: HttpRequest, member: Membership, form: SendForm) -> dict[str, Any]:
    shown = {name: request.POST.get(name) for name in ("shown", "language")}
    if not form.is_valid():
        return {"unready": form, **shown}
    earlier = _earlier(member, form)
    body = form.message(earlier)
    draft = composing.draft(member.tenant.slug, form.cleaned_data["mode"], body)
    blank = not body["content"] and "overrides" not in body
    return {
        "draft": draft,
        "blank": blank,
        "snippets": snippets(f"{settings.PUBLIC_URL}/api/v1/messages", form.message(_masked(earlier))),
        **shown,
    }


def _earlier(member: Membership, form: SendForm) -> list[dict[str, Any]]:
    """The plain addresses of the message that is sent once more. Raises NotFound."""
    found = selectors.plain_addresses(member.tenant.slug, form.repeated) if form.repeated else []
    return [plain | {"address": channel_forms.address_of(plain["address"])} for plain in found]


def _masked(plain: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As people may see them."""
    known = [(channels.channel(item["channel"]), item["address"]) for item in plain]
    return [
        {"channel": channel.name, "address": channel.mask_address(channel.clean_address(address))}
        for channel, address in known
    ]
