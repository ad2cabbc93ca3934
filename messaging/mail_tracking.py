"""What mail providers report of a mail, verified and read by django-anymail's webhook views, as our events.

https://anymail.dev/en/stable/sending/tracking/
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import structlog
from anymail.exceptions import AnymailError
from anymail.signals import AnymailTrackingEvent
from django.core.exceptions import SuspiciousOperation
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest

from feedback.events import DeliveryEvent, Status
from messaging.callback_urls import mode_of
from messaging.channels.base import OPTED_OUT, BadSignature, Callback
from messaging.esps import ESPS, Esp
from messaging.mail import mailbox, words
from messaging.mail_reference import from_metadata
from sprayer_project.errors import Invalid
from subscriptions.addresses import address_hash

log = structlog.get_logger(__name__)

_STATUSES = {
    "sent": Status.SENT,
    "delivered": Status.DELIVERED,
    "bounced": Status.BOUNCED,
    "rejected": Status.FAILED,
    "failed": Status.FAILED,
}
_FACTS = {
    "deferred": ("delayed", Status.SENT),
    "opened": ("opened", Status.DELIVERED),
    "clicked": ("clicked", Status.DELIVERED),
    "complained": ("complained", Status.DELIVERED),
    "unsubscribed": ("unsubscribed", Status.SENT),
}
"""anymail's word -> our fact, and the status that it is evidence for."""
_REFUSALS = {
    "invalid": "invalid_address",
    "bounced": "bounced",
    "timed_out": "timed_out",
    "blocked": "blocked",
    "spam": "complained",
    "unsubscribed": OPTED_OUT,
}
"""Why a provider did not even try, in anymail's words."""
_UNREADABLE = (AnymailError, ValueError, KeyError, TypeError, AttributeError, AssertionError, OverflowError)


def events(channel: str, callback: Callback, config: Mapping[str, Any]) -> list[DeliveryEvent]:
    """The facts of a webhook about the tenant's mails. Raises BadSignature; Invalid for what cannot be read.

    config is the channel's cleaned Config. An event without a reference that we signed is matched by the provider's
    id within the tenant, where that id belongs to one mail alone.
    """
    esp = ESPS.get(callback.provider)
    if esp is None or config.get("provider") != callback.provider or not config.get("webhook_secret"):
        raise _refused(callback)
    view = _verified(esp, callback, str(config["webhook_secret"]))
    try:
        found = [event for event in view.parse_events(view.request) if isinstance(event, AnymailTrackingEvent)]
        made = [_event(channel, callback, esp, event) for event in found]
    except _UNREADABLE as error:
        problem = type(error).__name__  # its text may hold an address
        log.warning("callback not understood", tenant=callback.tenant, provider=callback.provider, error=problem)
        raise Invalid("bad_callback", "This is no tracking webhook that Sprayer understands.") from error
    return [event for event in made if event is not None]


def _verified(esp: Esp, callback: Callback, secret: str) -> Any:
    """anymail's view for the callback, its request in `request`."""
    request = _request(callback)
    try:
        arguments = {esp.secret: secret} | ({"webhook_url": callback.url} if esp.secret == "webhook_key" else {})
        view = esp.view(**arguments)
        view.run_validators(request)
    except (*_UNREADABLE, SuspiciousOperation) as error:
        raise _refused(callback) from error
    view.request = request
    return view


def _refused(callback: Callback) -> BadSignature:
    return BadSignature("bad_signature", f"Nothing proves that {callback.provider} sent this: see the webhook secret.")


def _request(callback: Callback) -> HttpRequest:
    url = urlsplit(callback.url)
    environ = {
        "REQUEST_METHOD": callback.method,
        "PATH_INFO": url.path,
        "QUERY_STRING": url.query,
        "CONTENT_TYPE": callback.headers.get("content-type", ""),
        "CONTENT_LENGTH": str(len(callback.body)),
        "wsgi.input": BytesIO(callback.body),
        "wsgi.url_scheme": url.scheme,
    }
    headers = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in callback.headers.items()}
    return WSGIRequest(environ | headers)


def _event(channel: str, callback: Callback, esp: Esp, found: Any) -> DeliveryEvent | None:
    """None for what is no news, and for a mail that did not come from here."""
    fact, status = _FACTS.get(found.event_type, ("", _STATUSES.get(found.event_type)))
    if status is None:
        return None
    now = datetime.now(UTC)
    at = found.timestamp or now
    at = min(at if at.tzinfo else at.replace(tzinfo=UTC), now)
    metadata = found.metadata if isinstance(found.metadata, Mapping) else {}
    reference = from_metadata(callback.tenant, mode_of(callback), metadata)
    identifier = str(found.message_id or "")
    about = reference.delivery if reference else f"{identifier} {found.recipient}"
    source = f"{callback.tenant} {callback.provider} {about} {found.event_type} {at.isoformat()}"
    facts: dict[str, Any] = {
        "channel": channel,
        "status": status,
        "fact": fact,
        "at": at,
        "event": f"evt_{hashlib.blake2b(source.encode(), digest_size=13).hexdigest()}",
        "provider": callback.provider,
        "provider_id": identifier,
        "reason": _reason(esp, status, found),
        "detail": _detail(found),
    }
    if reference is not None:
        return reference.event(**facts)
    return _nameless(callback, esp, found, facts)


def _nameless(callback: Callback, esp: Esp, found: Any, facts: Mapping[str, Any]) -> DeliveryEvent | None:
    if not facts["provider_id"] or esp.shared_id:
        return None
    return DeliveryEvent(
        tenant=callback.tenant,
        mode=mode_of(callback),
        message="",
        delivery="",
        receiver="",
        address_hash=_hash(callback.tenant, facts["channel"], found.recipient),
        **facts,
    )


def _hash(tenant: str, channel: str, recipient: str | None) -> str:
    try:
        return address_hash(tenant, channel, mailbox(recipient or ""))
    except ValueError:
        return ""


def _reason(esp: Esp, status: Status, found: Any) -> str:
    if status is Status.BOUNCED:
        return _own_word(esp, found.esp_event) or "soft_bounce"
    if status is Status.FAILED:
        known = _REFUSALS.get(found.reject_reason or "", "")
        return _own_word(esp, found.esp_event) or known or f"provider_{found.event_type}"
    return ""


def _own_word(esp: Esp, event: Any) -> str:
    for path, known in esp.bounces:
        value = event
        for name in path.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        if word := known.get(str(value)):
            return word
    return ""


def _detail(found: Any) -> dict[str, str]:
    """The provider's words, without addresses."""
    said = {"event": found.event_type, "message": found.mta_response or found.description, "url": found.click_url}
    return {name: words(value) for name, value in said.items() if value}
