"""Console pages of a tenant's feedback webhooks: their states and logs for everyone, changes for developers."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib import messages as notices
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from feedback import webhook_delivery, webhook_lanes, webhooks
from feedback.models import Webhook
from feedback.webhook_forms import NewWebhookForm, RotationForm, WebhookForm, values_of
from feedback.webhook_lanes import Lane
from feedback.webhooks import Actor
from sprayer_project.errors import Conflict
from tenants import console
from tenants.models import Membership

_SECTION = {"section": "webhooks"}


@console.page()
def index(request: HttpRequest, member: Membership) -> HttpResponse:
    """Every webhook of the tenant, in both modes."""
    rows = list(webhooks.of_tenant(member.tenant.slug))
    lanes = webhook_lanes.states(member.tenant.slug, [row.id for row in rows])
    shown = [(row, _state(row, lanes[row.id]), lanes[row.id]) for row in rows]
    return console.show(request, member, "feedback/webhooks.html", _SECTION | {"webhooks": shown})


@console.page("webhooks", methods=("GET", "HEAD", "POST"))
def new(request: HttpRequest, member: Membership) -> HttpResponse:
    """The form of a new webhook, and once, in the answer that creates it, its secret."""
    form = NewWebhookForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        values = form.cleaned_data
        try:
            row, secret = webhooks.create(
                member.tenant.slug, values["mode"], values["url"], values["events"], _actor(request, member)
            )
        except Conflict as error:
            form.add_error(None, error.detail)
        else:
            return _secret(request, member, row, secret, "Your new webhook")
    return console.show(request, member, "feedback/webhook_form.html", _SECTION | {"form": form})


@console.page()
def show(request: HttpRequest, member: Membership, webhook: str) -> HttpResponse:
    """One webhook: how it is doing, and what was sent."""
    row = webhooks.one(member.tenant.slug, None, webhook)
    lane = webhook_lanes.states(member.tenant.slug, [row.id], log=True)[row.id]
    failing = lane.failing_since
    context: dict[str, Any] = {
        "webhook": row,
        "state": _state(row, lane),
        "lane": lane,
        "off_at": failing + timedelta(seconds=settings.FEEDBACK_WEBHOOK_PATIENCE) if failing else None,
        "waiting": webhook_lanes.waiting(row.id),
        "overlap_end": webhooks.overlap_end(row),
        "rotation": RotationForm(),
    }
    return console.show(request, member, "feedback/webhook.html", _SECTION | context)


@console.page("webhooks", methods=("GET", "HEAD", "POST"))
def edit(request: HttpRequest, member: Membership, webhook: str) -> HttpResponse:
    """Another URL, other events."""
    row = webhooks.one(member.tenant.slug, None, webhook)
    form = WebhookForm(request.POST or None, initial={"url": row.url, "events": row.events})
    if request.method == "POST" and form.is_valid():
        webhooks.change(row, _actor(request, member), values_of(form))
        notices.success(request, "The webhook is saved: it is used within two seconds.")
        return _back(member, row)
    return console.show(request, member, "feedback/webhook_form.html", _SECTION | {"form": form, "webhook": row})


@console.page("webhooks", methods=("POST",))
def test(request: HttpRequest, member: Membership, webhook: str) -> HttpResponse:
    """Send a test event and tell what came back."""
    row = webhooks.one(member.tenant.slug, None, webhook)
    attempt = webhook_delivery.send_test(row)
    answer = f"The endpoint answered {attempt.status} after {attempt.milliseconds} ms."
    if attempt.delivered:
        notices.success(request, answer)
    else:
        notices.error(request, answer if attempt.status else f"No answer came: {attempt.error}.")
    return _back(member, row)


@console.page("webhooks", methods=("POST",))
def switch(request: HttpRequest, member: Membership, webhook: str) -> HttpResponse:
    """On or off."""
    row, on = webhooks.one(member.tenant.slug, None, webhook), request.POST.get("to") == "on"
    webhooks.change(row, _actor(request, member), {"enabled": on})
    notices.success(request, f"The webhook is {'on' if on else 'off'}.")
    return _back(member, row)


@console.page("webhooks", methods=("POST",))
def rotate(request: HttpRequest, member: Membership, webhook: str) -> HttpResponse:
    """A new secret, shown once."""
    row, form = webhooks.one(member.tenant.slug, None, webhook), RotationForm(request.POST)
    if not form.is_valid():
        notices.error(request, "Choose how long the old secret signs as well.")
        return _back(member, row)
    row, secret = webhooks.rotate(row, form.cleaned_data["overlap"], _actor(request, member))
    return _secret(request, member, row, secret, "The new secret")


@console.page("webhooks", methods=("POST",))
def delete(request: HttpRequest, member: Membership, webhook: str) -> HttpResponse:
    """Its page asks before."""
    webhooks.delete(webhooks.one(member.tenant.slug, None, webhook), _actor(request, member))
    notices.success(request, "The webhook is deleted.")
    return redirect("console-webhooks", member.tenant.slug)


def _state(row: Webhook, lane: Lane) -> str:
    """on, failing or off"""
    if not row.enabled:
        return "off"
    return "failing" if lane.failing_since else "on"


def _secret(request: HttpRequest, member: Membership, row: Webhook, secret: str, title: str) -> HttpResponse:
    context = {"webhook": row, "secret": secret, "title": title, "overlap_end": webhooks.overlap_end(row)}
    return console.show(request, member, "feedback/webhook_secret.html", _SECTION | context)


def _actor(request: HttpRequest, member: Membership) -> Actor:
    return Actor(user=member.user, ip=console.ip_of(request))


def _back(member: Membership, row: Webhook) -> HttpResponse:
    return redirect("console-webhook", member.tenant.slug, row.id)
