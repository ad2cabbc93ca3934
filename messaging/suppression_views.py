"""Console pages of suppressed plain addresses: everyone looks, developers suppress and lift."""

from django import forms
from django.contrib import messages as notices
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from messaging import channels
from messaging.audience_forms import labels
from sprayer_project.errors import Invalid
from subscriptions import suppressions
from subscriptions.suppressions import SuppressionRow
from tenants import console, selectors
from tenants import services as tenants
from tenants.models import Membership

PAGE = 25
_REASONS = [("opted_out", "Its owner opted out"), ("complained", "Its owner complained"), ("bounced", "It bounces")]


class SuppressionForm(forms.Form):
    channel = forms.ChoiceField()
    address = forms.CharField(max_length=4_096)
    reason = forms.ChoiceField(choices=_REASONS)

    def __init__(self, data: object = None):
        super().__init__(data, auto_id="suppression_%s")  # type: ignore[arg-type]
        self.fields["channel"] = forms.ChoiceField(choices=labels(only_addressed=True))
        self.order_fields(["channel", "address", "reason"])


@console.page(methods=("GET", "HEAD", "POST"))
def suppressions_page(request: HttpRequest, member: Membership) -> HttpResponse:
    """The newest first, or the one that was asked for; developers add one."""
    tenant, asked, form = member.tenant.slug, request.GET.get("address", "").strip(), SuppressionForm()
    if request.method == "POST":
        selectors.require(member, "receivers")
        form = SuppressionForm(request.POST)
        if form.is_valid() and _suppressed(request, member, form):
            return redirect("console-suppressions", tenant)
    cursor, channel = request.GET.get("cursor"), request.GET.get("channel") or None
    page = None if asked else suppressions.page(tenant, channel, cursor, PAGE)
    rows = _found(tenant, asked, channel) if page is None else page.data
    context = {
        "section": "receivers",
        "rows": [(row, _masked(row)) for row in rows],
        "next_cursor": page.next_cursor if page else None,
        "cursor": cursor,
        "channel": channel,
        "address": asked,
        "choices": labels(only_addressed=True),
        "form": form,
    }
    status = 400 if form.errors else 200
    return console.show(request, member, "messaging/suppressions.html", context, status)


@console.page("receivers", methods=("POST",))
def lift(request: HttpRequest, member: Membership) -> HttpResponse:
    """The page asks before."""
    channel, hashed = request.POST.get("channel", ""), request.POST.get("hash", "")
    suppressions.lift(member.tenant.slug, channel, hashed)
    _note(request, member, "suppression.lifted", channel, hashed)
    notices.success(request, "The suppression is lifted: messages go there again.")
    return redirect("console-suppressions", member.tenant.slug)


def _suppressed(request: HttpRequest, member: Membership, form: SuppressionForm) -> bool:
    """Whether the form's address is suppressed now; else the form says why not."""
    values = form.cleaned_data
    try:
        address = suppressions.clean(member.tenant.slug, values["channel"], values["address"].strip())
    except Invalid as error:
        form.add_error("address", error.detail)
        return False
    suppressions.put(member.tenant.slug, address, values["reason"])
    _note(request, member, "suppression.put", address.channel, address.hash)
    notices.success(request, "No live message goes to this plain address any more.")
    return True


def _found(tenant: str, text: str, channel: str | None) -> list[SuppressionRow]:
    """Those of an address, on the channel or on whatever channel it can be one of."""
    places = []
    for name in [channel] if channel else [name for name, _ in labels(only_addressed=True)]:
        try:
            places.append((name, suppressions.clean(tenant, name, text).hash))
        except Invalid:
            continue
    return list(suppressions.states(tenant, places).values())


def _masked(row: SuppressionRow) -> str:
    channel = channels.registry().get(row.channel)
    return channel.mask_address(row.address) if channel and row.address else ""


def _note(request: HttpRequest, member: Membership, action: str, channel: str, hashed: str) -> None:
    tenants.audit(member.tenant, member.user, action, f"addr:{hashed}", {"channel": channel}, console.ip_of(request))
