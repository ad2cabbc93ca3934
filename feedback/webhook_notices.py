"""Mail to a tenant's owners and admins when one of its feedback webhooks was turned off."""

from datetime import UTC, datetime, timedelta

import structlog
from django.conf import settings
from django.core.mail import EmailMessage
from django.template.loader import render_to_string
from yarl import URL

from feedback.models import Webhook
from sprayer_project import worker
from sprayer_project.errors import STORE_ERRORS
from tenants import selectors

log = structlog.get_logger(__name__)

_AGAIN = timedelta(minutes=5)
_LIMIT = 20
_READERS = ("owner", "admin")


async def send_due() -> None:
    """Send the notices that are due; what fails, or the mail server does not take, is tried again after _AGAIN."""
    await worker.in_thread(_send_due)


def _send_due() -> None:
    now = datetime.now(UTC)
    with selectors.sql():
        found = list(Webhook.objects.filter(notice_at__lte=now).select_related("tenant")[:_LIMIT])
    for row in found:
        with selectors.sql():
            mine = Webhook.objects.filter(id=row.id, notice_at=row.notice_at).update(notice_at=now + _AGAIN)
        try:
            if mine and _send(row):
                with selectors.sql():
                    Webhook.objects.filter(id=row.id).update(notice_at=None)
        except STORE_ERRORS:
            raise
        except Exception:
            log.exception("a notice could not be made", webhook=row.id, tenant=row.tenant.slug)


def _send(row: Webhook) -> bool:
    """Whether the mail server took it, or there is nobody to tell."""
    members = selectors.members(row.tenant.slug).filter(role__in=_READERS, user__is_active=True)
    readers = [member.user.email for member in members]
    host = URL(row.url, encoded=True).raw_host
    page = f"{settings.PUBLIC_URL}/t/{row.tenant.slug}/webhooks/{row.id}"
    text = render_to_string("feedback/webhook_disabled.txt", {"webhook": row, "host": host, "page": page})
    subject = f"Sprayer turned off a webhook of {row.tenant.name}"
    try:
        for reader in readers:
            EmailMessage(subject, text, to=[reader]).send()
    except OSError as error:
        log.warning("a notice was not mailed", webhook=row.id, tenant=row.tenant.slug, error=type(error).__name__)
        return False
    return True
