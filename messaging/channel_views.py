"""Console pages of the tenant's channels: their states for everyone, credentials and switches for admins."""

from typing import Any

from django.contrib import messages as notices
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.debug import sensitive_post_parameters

from messaging import channel_forms, credentials
from messaging.callback_urls import callback_address
from messaging.channel_forms import ConfigForm
from messaging.channel_trial_views import TrialForm
from messaging.channels.base import Channel
from messaging.credentials import Doubt
from tenants import console, services
from tenants import selectors as tenants
from tenants.models import Membership


@console.page()
def channels(request: HttpRequest, member: Membership) -> HttpResponse:
    """Every channel that exists, and whether live messages can take it."""
    context = {"section": "channels", "channels": channel_forms.states(member.tenant.slug)}
    return console.show(request, member, "messaging/channels.html", context)


@sensitive_post_parameters()
@console.page(methods=("GET", "HEAD", "POST"))
def channel(request: HttpRequest, member: Membership, channel: str) -> HttpResponse:
    """One channel: its form for who may fill it in. A secret that saving made is shown in the answer, once.

    The provider is asked before anything is saved: its no is final, its silence is not where the form says anyway.
    """
    found = channel_forms.channel_named(channel)
    if request.method == "POST":
        tenants.require(member, "channels")
    stored = _stored(member, found)
    if not found.Config.base_fields or not tenants.can(member.role, "channels"):
        return _show(request, member, found, None)
    form = ConfigForm(found, stored.values if stored else {}, request.POST if request.method == "POST" else None)
    if request.method != "POST" or not form.is_valid():
        return _show(request, member, found, form)
    doubt = credentials.doubt(found, form.values)
    if doubt and (doubt.refused or "anyway" not in request.POST):
        return _show(request, member, found, form, doubt)
    _store(request, member, found, form.values, stored.enabled if stored else True)
    if made := form.made():
        secrets = [(channel_forms.label_of(found, name), value) for name, value in made.items()]
        context = {"section": "channels", "channel": found, "secrets": secrets}
        return console.show(request, member, "messaging/channel_secret.html", context)
    notices.success(request, f"{found.label} is saved: dispatchers use it within two seconds.")
    return redirect("console-channel", member.tenant.slug, found.name)


@console.page("channels", methods=("POST",))
def switch(request: HttpRequest, member: Membership, channel: str) -> HttpResponse:
    """On or off, credentials untouched."""
    found, stored, on = channel_forms.channel_named(channel), None, request.POST.get("to") == channel_forms.ON
    stored = _stored(member, found)
    if stored is None and found.Config.base_fields:
        notices.error(request, f"{found.label} is not configured yet: save its credentials first.")
    else:
        _store(request, member, found, stored.values if stored else {}, on)
        notices.success(request, f"{found.label} is {channel_forms.ON if on else channel_forms.OFF}.")
    return redirect("console-channel", member.tenant.slug, found.name)


@console.page("channels", methods=("POST",))
def remove(request: HttpRequest, member: Membership, channel: str) -> HttpResponse:
    """Forget a channel's credentials; its page asks before."""
    found = channel_forms.channel_named(channel)
    services.remove_channel_config(member.tenant, found.name, by=member.user, ip=console.ip_of(request))
    notices.success(request, f"The configuration of {found.label} is removed.")
    return redirect("console-channels", member.tenant.slug)


def _show(
    request: HttpRequest, member: Membership, found: Channel, form: ConfigForm | None, doubt: Doubt | None = None
) -> HttpResponse:
    tenant = member.tenant.slug
    stored = tenants.channel_config(tenant, found.name)
    provider = channel_forms.provider_of(found, stored.values if stored else {})
    context: dict[str, Any] = {
        "section": "channels",
        "state": channel_forms.state(tenant, found),
        "form": form,
        "doubt": doubt,
        "trial": TrialForm(found),
        "callbacks": [
            (name, callback_address(tenant, found, name)) for name in found.providers if provider in ("", name)
        ],
    }
    return console.show(request, member, "messaging/channel.html", context)


def _stored(member: Membership, found: Channel) -> tenants.ChannelSettings | None:
    """As SQL has it now: what is kept must not be what another process replaced a second ago."""
    tenants.forget()
    return tenants.channel_config(member.tenant.slug, found.name)


def _store(request: HttpRequest, member: Membership, found: Channel, values: Any, on: bool) -> None:
    services.set_channel_config(
        member.tenant,
        found.name,
        values,
        enabled=on,
        provider=channel_forms.provider_of(found, values),
        by=member.user,
        ip=console.ip_of(request),
    )
