"""Console: asking a channel's provider about the stored credentials, and sending a first message through it."""

import uuid
from typing import Any

from django import forms
from django.contrib import messages as notices
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from rest_framework.exceptions import ValidationError

from messaging import channel_forms, credentials, services
from messaging.channels.base import Channel
from sprayer_project.errors import Conflict, Invalid, TooLarge, as_problem
from tenants import console
from tenants import selectors as tenants
from tenants.models import Membership


class TrialForm(forms.Form):
    """To whom a test goes: an address of the channel, or a receiver where it needs none."""

    to = forms.CharField(max_length=4_096)
    idempotency_key = forms.CharField(max_length=64, widget=forms.HiddenInput, initial=lambda: str(uuid.uuid4()))

    def __init__(self, channel: Channel, given: QueryDict | None = None):
        super().__init__(given, auto_id="trial_%s")
        self.fields["to"].label = channel.address_kind.capitalize() if channel.needs_address else "Receiver"
        self._channel = channel

    def message(self, tenant: str) -> dict[str, Any]:
        """The body that POST /messages takes, of this valid form."""
        channel, to = self._channel, self.cleaned_data["to"].strip()
        plain = {"addresses": [{"channel": channel.name, "address": channel_forms.address_of(to)}]}
        return {
            "to": plain if channel.needs_address else {"receivers": [to]},
            "channels": [channel.name],
            "content": {"title": "A test", "body": f"If you read this, {channel.label} works for {tenant}."},
        }


@console.page("channels", methods=("POST",))
def check(request: HttpRequest, member: Membership, channel: str) -> HttpResponse:
    """Ask the provider about what is stored; nothing is sent or changed."""
    found = channel_forms.channel_named(channel)
    stored = tenants.channel_config(member.tenant.slug, found.name)
    if stored is None:
        notices.error(request, f"{found.label} is not configured yet.")
    elif doubt := credentials.doubt(found, stored.values):
        notices.error(request, doubt.sentence)
    else:
        notices.success(request, "Nothing speaks against these credentials.")
    return redirect("console-channel", member.tenant.slug, found.name)


@console.page("send", methods=("POST",))
def trial(request: HttpRequest, member: Membership, channel: str) -> HttpResponse:
    """Send one live message over this channel; its page follows what becomes of it."""
    found = channel_forms.channel_named(channel)
    form = TrialForm(found, request.POST)
    if form.is_valid():
        key = f"console-trial-{form.cleaned_data['idempotency_key']}"
        try:
            accepted = services.accept(member.tenant.slug, "live", form.message(member.tenant.name), key)
        except (Invalid, ValidationError, TooLarge, Conflict) as error:
            problem = as_problem(error)
            words = " ".join(one["detail"] for one in problem.get("errors", ())) or problem["detail"]
            notices.error(request, f"Not sent: {words}")
        else:
            if not accepted.replayed:
                console.note(request, member, "channel.tried", found.name, {"message": accepted.id})
            notices.success(request, "The test is accepted. This page follows what becomes of it.")
            return redirect("console-message", member.tenant.slug, accepted.id)
    else:
        notices.error(request, "Not sent: say to whom the test goes.")
    return redirect("console-channel", member.tenant.slug, found.name)
