"""Where the link of a mail leads: POST unsubscribes at once (RFC 8058), GET asks first."""

import hashlib
from datetime import UTC, datetime

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from feedback.events import DeliveryEvent, Status
from messaging.callbacks import tell
from messaging.channels import registry
from messaging.mail_reference import MailReference, from_token
from sprayer_project.errors import STORE_ERRORS, StoreUnavailable, problem_response
from tenants import selectors as tenants

CHANNEL = "email"


@csrf_exempt
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def unsubscribe(request: HttpRequest, tenant: str) -> HttpResponse:
    """A mail reader posts without asking anybody, so the token alone decides; 404 for one that we did not sign.

    The address is retired as opted out, for every message of the tenant; a test message's is not.
    """
    try:
        known = tenants.tenant_info(tenant)
        reference = from_token(tenant, request.GET.get("token", ""))
        if known is None or reference is None:
            return render(request, "messaging/unsubscribe.html", {"unknown": True}, status=404)
        if request.method == "POST":
            tell(registry()[CHANNEL], [_event(reference)])
    except STORE_ERRORS:
        error = StoreUnavailable("a store", "Sprayer cannot note it at the moment: try again.")
        return problem_response(error.status, error.code, error.detail, error.errors, error.retry_after)
    return render(request, "messaging/unsubscribe.html", {"name": known.name, "done": request.method == "POST"})


def _event(reference: MailReference) -> DeliveryEvent:
    source = f"unsubscribe {reference.tenant} {reference.delivery} {reference.round}"
    return reference.event(
        channel=CHANNEL,
        status=Status.SENT,
        fact="unsubscribed",
        at=datetime.now(UTC),
        event=f"evt_{hashlib.blake2b(source.encode(), digest_size=13).hexdigest()}",
    )
