"""Console pages of receivers: everyone looks, developers change, admins erase."""

import json
from collections.abc import Callable
from typing import Any

from django.contrib import messages as notices
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from feedback import search
from messaging import channels, erasure, inbox_peek
from messaging.audience_forms import AddressForm, ReceiverForm, SubscriptionForm, labels, refuse
from messaging.realtime import tokens
from messaging.realtime.api import socket_url
from sprayer_project.errors import Conflict, Invalid, NotFound, SprayerError
from subscriptions import browsing, selectors, services
from subscriptions.browsing import Page, ReceiverRow
from tenants import console
from tenants import services as tenants
from tenants.models import Membership

PAGE = 25
TOKEN_LIFE = 3600
"""Seconds."""
_SECTION = {"section": "receivers"}
_RECENT = 10


@console.page()
def receivers(request: HttpRequest, member: Membership) -> HttpResponse:
    """By name, or those who have an address."""
    tenant, prefix, address = member.tenant.slug, request.GET.get("name", ""), request.GET.get("address", "").strip()
    cursor = request.GET.get("cursor")
    if address:
        found = [row for row in browsing.receivers_at(tenant, address) if row.name.startswith(prefix)]
        page = Page(found[:PAGE], None)
    else:
        page = browsing.receivers(tenant, prefix, cursor, PAGE)
    rows = [(row, sorted({address.channel for address in row.addresses}), _retired(row)) for row in page.data]
    context = {"rows": rows, "next_cursor": page.next_cursor, "cursor": cursor, "name": prefix, "address": address}
    return console.show(request, member, "messaging/receivers.html", _SECTION | context)


@console.page("receivers", methods=("GET", "HEAD", "POST"))
def new(request: HttpRequest, member: Membership) -> HttpResponse:
    """The form of a new receiver; one that exists is not changed by it."""
    form = ReceiverForm(None, request.POST or None)
    if request.method == "POST" and form.is_valid():
        name = form.cleaned_data["name"]
        try:
            if not selectors.unknown_receivers(member.tenant.slug, [name]):
                raise Conflict("exists", "There is a receiver of this name already.")
            row = services.put_receiver(member.tenant.slug, name, **form.values())
        except (Invalid, Conflict) as error:
            refuse(form, error, {"receiver": "name"})
        else:
            note(request, member, "receiver.created", row)
            notices.success(request, "The receiver is there. Give it an address, or let it connect.")
            return back(member, row.name)
    return console.show(request, member, "messaging/receiver_form.html", _SECTION | {"form": form})


@console.page()
def receiver(request: HttpRequest, member: Membership, receiver: str) -> HttpResponse:
    """One receiver with all that is known of it now."""
    row = selectors.receiver(member.tenant.slug, receiver)
    return show(request, member, row)


@console.page("receivers", methods=("GET", "HEAD", "POST"))
def edit(request: HttpRequest, member: Membership, receiver: str) -> HttpResponse:
    """Attributes, locale and time zone; the addresses have their own place."""
    row = selectors.receiver(member.tenant.slug, receiver)
    form = ReceiverForm(row, request.POST if request.method == "POST" else None)
    if form.is_valid():
        values = form.values()
        gone = dict.fromkeys(row.attributes.keys() - values["attributes"].keys())
        try:
            services.patch_receiver(
                member.tenant.slug, receiver, **values | {"attributes": {**gone, **values["attributes"]}}
            )
        except (Invalid, Conflict) as error:
            refuse(form, error)
        else:
            note(request, member, "receiver.changed", row)
            notices.success(request, "The receiver is saved.")
            return back(member, receiver)
    return console.show(request, member, "messaging/receiver_form.html", _SECTION | {"form": form, "row": row})


@console.page("receivers", methods=("POST",))
def add_address(request: HttpRequest, member: Membership, receiver: str) -> HttpResponse:
    """A mistake is said at the field, on the receiver's page."""
    row, form = selectors.receiver(member.tenant.slug, receiver), AddressForm(request.POST)
    if form.is_valid():
        try:
            services.add_address(member.tenant.slug, receiver, form.value())
        except (Invalid, Conflict) as error:
            for found in error.errors:
                form.add_error(found.pointer.rpartition("/")[2], found.detail)
            if not error.errors:
                form.add_error(None, error.detail)
        else:
            note(request, member, "receiver.address_added", row, channel=form.cleaned_data["channel"])
            notices.success(request, "The address is there.")
            return back(member, receiver)
    return show(request, member, row, address_form=form)


@console.page("receivers", methods=("POST",))
def remove_address(request: HttpRequest, member: Membership, receiver: str) -> HttpResponse:
    return _address(request, member, receiver, services.remove_address, "removed", "The address is taken out.")


@console.page("receivers", methods=("POST",))
def reactivate_address(request: HttpRequest, member: Membership, receiver: str) -> HttpResponse:
    done = "The address is used again, from the next message on."
    return _address(request, member, receiver, services.reactivate_address, "reactivated", done)


@console.page("receivers", methods=("POST",))
def subscribe(request: HttpRequest, member: Membership, receiver: str) -> HttpResponse:
    """Subscribe to a group, or change on which channels."""
    row, form = selectors.receiver(member.tenant.slug, receiver), SubscriptionForm("Group", None, request.POST)
    if form.is_valid():
        group = form.cleaned_data["other"]
        try:
            services.subscribe(member.tenant.slug, group, receiver, form.chosen())
        except (Invalid, Conflict, NotFound) as error:
            refuse(form, error, {"receiver": "other"})
        else:
            note(request, member, "receiver.subscribed", row, group=group)
            notices.success(request, f"{group} reaches the receiver.")
            return back(member, receiver)
    return show(request, member, row, subscription_form=form)


@console.page("receivers", methods=("POST",))
def unsubscribe(request: HttpRequest, member: Membership, receiver: str) -> HttpResponse:
    row, group = selectors.receiver(member.tenant.slug, receiver), request.POST.get("group", "")
    services.unsubscribe(member.tenant.slug, group, receiver)
    note(request, member, "receiver.unsubscribed", row, group=group)
    notices.success(request, f"{group} does not reach the receiver any more.")
    return back(member, receiver)


@console.page("send", methods=("POST",))
def token(request: HttpRequest, member: Membership, receiver: str) -> HttpResponse:
    """A realtime token for trying, shown in this answer alone."""
    row = selectors.receiver(member.tenant.slug, receiver)
    made, expires_at = tokens.issue(member.tenant.slug, receiver, TOKEN_LIFE)
    note(request, member, "receiver.token_created", row)
    return show(request, member, row, token=made, socket_url=socket_url(made), token_expires_at=expires_at)


@console.page("receivers", methods=("GET", "HEAD", "POST"))
def delete(request: HttpRequest, member: Membership, receiver: str) -> HttpResponse:
    """Asks, saying what will happen; then does it."""
    row = selectors.receiver(member.tenant.slug, receiver)
    if request.method == "POST":
        services.delete_receiver(member.tenant.slug, receiver)
        note(request, member, "receiver.deleted", row)
        notices.success(request, f"{receiver} is deleted.")
        return redirect("console-receivers", member.tenant.slug)
    return console.show(request, member, "messaging/receiver_delete.html", _SECTION | {"row": row})


@console.page("erase", methods=("GET", "HEAD", "POST"))
def erase(request: HttpRequest, member: Membership, receiver: str) -> HttpResponse:
    """Asks, saying what will happen; then does it. The audit log gets the mark alone."""
    row = selectors.receiver(member.tenant.slug, receiver)
    if request.method == "POST":
        found = erasure.erase(member.tenant.slug, receiver, by=member.user, ip=console.ip_of(request))
        when = "is erased" if found.done else "is being erased: the rest follows within minutes"
        notices.success(request, f"The receiver {when}. Its deliveries name it {found.mark}.")
        return redirect("console-receivers", member.tenant.slug)
    return console.show(request, member, "messaging/receiver_erase.html", _SECTION | {"row": row})


def show(request: HttpRequest, member: Membership, row: ReceiverRow, **more: Any) -> HttpResponse:
    """The receiver's page; more: forms that were refused, a token that was made."""
    tenant, cursor = member.tenant.slug, request.GET.get("cursor")
    context = {
        "row": row,
        "addresses": [_address_line(address) for address in row.addresses],
        "attributes": json.dumps(row.attributes, indent=2, ensure_ascii=False) if row.attributes else "",
        "subscriptions": selectors.receiver_subscriptions(tenant, row.name, cursor, PAGE),
        "cursor": cursor,
        "inbox": inbox_peek.peek(tenant, row.name),
        "deliveries": search.newest_of_receiver(tenant, row.name, _RECENT),
        "address_form": AddressForm(),
        "subscription_form": SubscriptionForm("Group", None),
        "channel_labels": dict(labels()),
    }
    status = 400 if any(name.endswith("_form") for name in more) else 200
    return console.show(request, member, "messaging/receiver.html", {**_SECTION, **context, **more}, status)


def note(request: HttpRequest, member: Membership, action: str, row: ReceiverRow, **detail: str) -> None:
    """For the audit log, under the record's own id: a receiver's name may be erased, the log is not."""
    tenants.audit(member.tenant, member.user, action, str(row.id), detail, console.ip_of(request))


def back(member: Membership, receiver: str) -> HttpResponse:
    return redirect("console-receiver", member.tenant.slug, receiver)


def _address(
    request: HttpRequest,
    member: Membership,
    receiver: str,
    change: Callable[[str, str, str], ReceiverRow],
    word: str,
    done: str,
) -> HttpResponse:
    row = selectors.receiver(member.tenant.slug, receiver)
    try:
        change(member.tenant.slug, receiver, request.POST.get("hash", ""))
    except SprayerError as error:
        notices.error(request, error.detail)
    else:
        note(request, member, f"receiver.address_{word}", row)
        notices.success(request, done)
    return back(member, receiver)


def _address_line(address: Any) -> dict[str, Any]:
    """An address as the page shows it. A channel that is no more cannot mask it, so that nothing of it is shown."""
    channel = channels.registry().get(address.channel)
    return {
        "row": address,
        "masked": channel.mask_address(address.address) if channel else "",
        "lasting": bool(channel and address.reason in channel.lasting),
    }


def _retired(row: ReceiverRow) -> int:
    return sum(address.status != "active" for address in row.addresses)
