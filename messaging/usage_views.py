"""Console page of a tenant's limits and what it uses of them; it hangs among the settings."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from messaging import usage
from tenants import console
from tenants.models import Membership


@console.page()
def limits(request: HttpRequest, member: Membership) -> HttpResponse:
    """Requests, connections, webhooks, and how much is stored for how long."""
    tenant = member.tenant
    days = settings.RETENTION_DAYS if tenant.retention_days is None else tenant.retention_days
    context = {
        "section": "settings",
        "tab": "limits",
        "shares": usage.shares(tenant.slug, tenant.rate_limit),
        "stored": usage.stored(tenant.slug),
        "days": days,
        "inbox_length": settings.INBOX_LENGTH,
        "connections": settings.REALTIME_RECEIVER_CONNECTIONS,
    }
    return console.show(request, member, "messaging/limits.html", context)
