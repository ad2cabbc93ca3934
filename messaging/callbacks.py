"""Where providers call back: verified by the provider's own signature, then reported as feedback."""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from feedback import services as feedback
from feedback.events import DeliveryEvent, Status
from messaging import retiring
from messaging.callback_urls import mode_of
from messaging.channels import registry
from messaging.channels.base import OPTED_OUT, Callback, Channel
from sprayer_project.errors import STORE_ERRORS, NotFound, SprayerError, StoreUnavailable, TooLarge, problem_response
from tenants import selectors as tenants

log = structlog.get_logger(__name__)

MAX_BODY = 1024 * 1024
"""bytes; SendGrid sends batches of up to 768 KB"""
_REASONS = {"unsubscribed": OPTED_OUT}
"""A fact -> why its address is retired, where that has another name."""


@dataclass(frozen=True, slots=True)
class Source:
    """Who is called back: the path, looked up."""

    tenant: str
    channel: Channel
    provider: str


@csrf_exempt
def callback(request: HttpRequest, tenant: str, channel: str, provider: str) -> HttpResponse:
    """200 also when nothing is known of the delivery: the provider must not repeat for ever; 503 so that it does."""
    if request.method not in ("POST", "HEAD"):
        answer = problem_response(405, "method_not_allowed", "Providers call back with POST.")
        answer["Allow"] = "POST"
        return answer
    try:
        source = _source(tenant, channel, provider)
        if request.method == "POST":  # with HEAD some providers ask first whether anybody is here
            _report(source, _callback(request, tenant, provider))
    except SprayerError as error:
        return _refusal(error, tenant, channel)
    except STORE_ERRORS:
        return _refusal(StoreUnavailable("a store"), tenant, channel)
    return HttpResponse(status=200)


def _source(tenant: str, channel: str, provider: str) -> Source:
    found = registry().get(channel)
    if found is None or provider not in found.providers or not tenants.tenant_exists(tenant):
        raise NotFound("not_found", "There is no such callback address.")
    return Source(tenant, found, provider)


def _callback(request: HttpRequest, tenant: str, provider: str) -> Callback:
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not length.isdecimal() or int(length) > MAX_BODY:
        raise TooLarge("too_large", f"A callback is at most {MAX_BODY} bytes.")
    return Callback(
        tenant=tenant,
        provider=provider,
        method=request.method or "",
        url=settings.PUBLIC_URL + request.get_full_path(),
        query=request.GET.dict(),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=request.read(MAX_BODY),
    )


def _report(source: Source, callback: Callback) -> None:
    if mode_of(callback) == "test":
        config = source.channel.sandbox_config(source.tenant)
    else:
        found = tenants.channel_config(source.tenant, source.channel.name)
        if found is None:
            raise NotFound("not_found", "The channel is not configured: nothing can verify this callback.")
        config = found.values
    events = source.channel.parse_events(callback, config)
    tell(source.channel, events)


def tell(channel: Channel, events: Sequence[DeliveryEvent]) -> None:
    """Retire the addresses that verified events give up, then report the events. Raises the stores' errors."""
    for event in events:
        _retire(channel, event)
    if events:
        feedback.report(events)


def _retire(channel: Channel, event: DeliveryEvent) -> None:
    """Test outcomes never retire an address."""
    over = event.status in (Status.FAILED, Status.BOUNCED)
    word = event.reason if over else event.fact
    if word in channel.retires and event.mode == "live" and event.address_hash:
        reason = _REASONS.get(word, word)
        where = (event.tenant, event.channel, event.delivery, event.message, event.address_hash)
        retiring.retire(*where, reason, event.at)


def _refusal(error: SprayerError, tenant: str, channel: str) -> HttpResponse:
    log.warning("callback refused", tenant=tenant, channel=channel, code=error.code)
    return problem_response(error.status, error.code, error.detail, error.errors, error.retry_after)


callback_urls = [
    path("callbacks/<str:tenant>/<str:channel>/<str:provider>", callback, name="callback"),
]
