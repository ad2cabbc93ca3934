"""Console pages: messages, one message, one delivery."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

from django.conf import settings
from django.contrib import messages as notices
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from feedback import export as exports
from feedback import selectors as feedback
from feedback.events import OPEN, Status
from feedback.search import Wanted, deliveries
from feedback.services import RETRIABLE
from messaging import selectors, services
from messaging.forms import DeliveryFilter, MessageFilter
from messaging.selectors import MessageRow
from sprayer_project.errors import Conflict, NotFound
from sprayer_project.paging import Page
from sprayer_project.streaming import attachment
from tenants import console
from tenants.models import Membership

PAGE = 25
_OVER = frozenset({"settled", "cancelled", "expired"})
_STOPPABLE = frozenset({"scheduled", "accepted", "routing", "routed"})
_CALLBACK_TIME = timedelta(minutes=2)
"""How long a message page waits for providers to say more than "sent"."""


@console.page()
def messages(request: HttpRequest, member: Membership) -> HttpResponse:
    """The tenant's messages, newest first; an id that is looked for leads to its page."""
    identifier = MessageFilter(request.GET, member.tenant.slug).identifier
    if identifier and (place := _place_of(member, identifier)):
        return redirect(place)
    return console.show(request, member, "messaging/messages.html", _list_context(request, member))


@console.page()
def message_rows(request: HttpRequest, member: Membership) -> HttpResponse:
    """The same rows alone: what the page asks for again and again."""
    return console.show(request, member, "messaging/_message_rows.html", _list_context(request, member))


@console.page()
def message(request: HttpRequest, member: Membership, message: str) -> HttpResponse:
    """One message: what it says, what became of it."""
    return console.show(request, member, "messaging/message.html", _message_context(request, member, message))


@console.page()
def message_live(request: HttpRequest, member: Membership, message: str) -> HttpResponse:
    """Its moving part alone."""
    return console.show(request, member, "messaging/_message_live.html", _message_context(request, member, message))


@console.page()
def delivery(request: HttpRequest, member: Membership, delivery: str) -> HttpResponse:
    """One delivery's timeline."""
    return console.show(request, member, "messaging/delivery.html", _delivery_context(member, delivery))


@console.page()
def delivery_live(request: HttpRequest, member: Membership, delivery: str) -> HttpResponse:
    """Its moving part alone."""
    return console.show(request, member, "messaging/_delivery_live.html", _delivery_context(member, delivery))


@console.page()
def export(request: HttpRequest, member: Membership, message: str, kind: str) -> HttpResponse:
    """A message's deliveries as a file. StreamingHttpResponse is an HttpResponse to everybody but the type checker."""
    tenant, row = member.tenant.slug, selectors.message(member.tenant.slug, None, message)
    found = exports.pages(tenant, row.mode, Wanted(message=row.id), row.channels)
    written = exports.FORMATS[kind]
    answer = attachment(request, written.write(found), written.content_type, f"{row.id}.{kind}")
    return cast(HttpResponse, answer)


@console.page("send", methods=("POST",))
def retry(request: HttpRequest, member: Membership, delivery: str) -> HttpResponse:
    """Open another round of a delivery."""
    try:
        services.retry_delivery(member.tenant.slug, _mode_of(member, delivery), delivery)
    except Conflict as error:
        notices.error(request, error.detail)
    else:
        console.note(request, member, "delivery.retried", delivery)
        notices.success(request, "Another round is on its way.")
    return redirect("console-delivery", member.tenant.slug, delivery)


@console.page("send", methods=("POST",))
def cancel(request: HttpRequest, member: Membership, message: str) -> HttpResponse:
    """Stop what is not yet sent; the message's page asks before."""
    row = selectors.message(member.tenant.slug, None, message)
    try:
        services.cancel(member.tenant.slug, row.mode, row.id)
    except Conflict as error:
        notices.error(request, error.detail)
    else:
        console.note(request, member, "message.cancelled", row.id)
        notices.success(request, "Cancelled: what was not yet sent stays unsent.")
    return redirect("console-message", member.tenant.slug, row.id)


def _list_context(request: HttpRequest, member: Membership) -> dict[str, Any]:
    form = MessageFilter(request.GET, member.tenant.slug)
    cursor = request.GET.get("cursor")
    if form.identifier:
        found: Page[MessageRow] = Page([], None)
    else:
        found = selectors.messages(member.tenant.slug, cursor=cursor, limit=PAGE, **form.values())
    return {
        "section": "messages",
        "filter": form,
        "page": found,
        "cursor": cursor,
        "rows_url": _with_query(request, "console-message-rows", member.tenant.slug),
        "api_url": f"{settings.PUBLIC_URL}/api/v1/messages",
    }


def _message_context(request: HttpRequest, member: Membership, identifier: str) -> dict[str, Any]:
    tenant = member.tenant.slug
    row = selectors.message(tenant, None, identifier)
    form = DeliveryFilter(request.GET, row.channels)
    cursor = request.GET.get("cursor")
    wanted = Wanted(message=row.id, **form.values())
    found = deliveries(tenant, row.mode, wanted, row.channels, cursor=cursor, limit=PAGE, newest_first=False)
    return {
        "section": "messages",
        "row": row,
        "filter": form,
        "filtered": bool(form.values()),
        "page": found,
        "cursor": cursor,
        "moving": _is_moving(row),
        "cancellable": row.status in _STOPPABLE,
        "page_url": reverse("console-message", args=[tenant, row.id]),
        "live_url": _with_query(request, "console-message-live", tenant, row.id),
    }


def _delivery_context(member: Membership, identifier: str) -> dict[str, Any]:
    found = feedback.delivery(member.tenant.slug, _mode_of(member, identifier), identifier)
    row = found.row
    told = row.status is Status.SENT and datetime.now(UTC) - row.at < _CALLBACK_TIME
    return {
        "section": "messages",
        "row": row,
        "timeline": found.timeline,
        "retriable": row.status in RETRIABLE,
        "moving": row.status in OPEN or told,
    }


def _place_of(member: Membership, identifier: str) -> str:
    """The page of what has this id; empty where nothing has."""
    tenant = member.tenant.slug
    if identifier in feedback.states(tenant, [identifier]):
        return reverse("console-delivery", args=[tenant, identifier])
    try:
        selectors.require(tenant, None, identifier)
    except NotFound:
        return ""
    return reverse("console-message", args=[tenant, identifier])


def _is_moving(row: MessageRow) -> bool:
    if row.status not in _OVER:
        return True
    sent = any(statuses.get(Status.SENT) for statuses in row.totals.channels.values())
    return row.totals.open > 0 or (sent and datetime.now(UTC) - row.created_at < _CALLBACK_TIME)


def _mode_of(member: Membership, delivery: str) -> str:
    """The console shows both modes. Raises Http404."""
    row = feedback.states(member.tenant.slug, [delivery]).get(delivery)
    if row is None:
        raise Http404(f"There is no delivery {delivery!r}.")
    return row.mode


def _with_query(request: HttpRequest, name: str, *parts: str) -> str:
    query = request.GET.urlencode()
    return reverse(name, args=parts) + (f"?{query}" if query else "")
