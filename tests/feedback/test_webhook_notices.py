"""Mail about a webhook that was turned off, by a mail server that may be away."""

from datetime import UTC, datetime

import pytest
from django.core import mail
from pytest_django import Settings

from feedback import webhook_notices, webhooks
from feedback.models import Webhook
from feedback.webhooks import Actor
from sprayer_project import worker
from tenants.models import Tenant
from tenants.services import add_member
from tests.conftest import TenantUnderTest
from tests.environment import free_port

pytestmark = pytest.mark.django_db(transaction=True)


def off() -> Webhook:
    add_member("acme", "dora@acme.example", "admin")
    add_member("acme", "dan@acme.example", "developer")
    row, _ = webhooks.create("acme", "live", "https://hooks.example.com/in?token=abc", ["delivery.*"], Actor())
    assert webhooks.disable(row.id, Webhook.Reason.FAILING)
    assert not webhooks.disable(row.id, Webhook.Reason.GONE)
    return row


async def test_owners_and_admins_are_told_once_and_without_secrets(acme: TenantUnderTest) -> None:
    await worker.in_thread(off)
    for _ in range(2):
        await webhook_notices.send_due()
    assert sorted(sent.to[0] for sent in mail.outbox) == ["alice@acme.example", "dora@acme.example"]
    text = str(mail.outbox[0].body)
    assert "hooks.example.com" in text and "no attempt succeeded for days" in text and "token" not in text


async def test_a_notice_that_fails_holds_up_no_other(acme: TenantUnderTest, globex: TenantUnderTest) -> None:
    row = await worker.in_thread(off)
    other, _ = await worker.in_thread(
        webhooks.create, "globex", "live", "https://hooks.example.com/", ["delivery.*"], Actor()
    )
    await worker.in_thread(webhooks.disable, other.id, Webhook.Reason.FAILING)
    await worker.in_thread(Tenant.objects.filter(slug="acme").update, name="Ac\nme")
    await webhook_notices.send_due()
    assert [sent.to for sent in mail.outbox] == [["charlie@globex.example"]]
    await worker.in_thread(row.refresh_from_db)
    assert row.notice_at is not None and row.notice_at > datetime.now(UTC)


async def test_what_the_mail_server_did_not_take_is_sent_when_it_is_back(
    acme: TenantUnderTest, settings: Settings
) -> None:
    row, working = await worker.in_thread(off), settings.EMAIL_BACKEND
    settings.EMAIL_BACKEND, settings.EMAIL_HOST = "django.core.mail.backends.smtp.EmailBackend", "127.0.0.1"
    settings.EMAIL_PORT = free_port()
    await webhook_notices.send_due()
    await worker.in_thread(row.refresh_from_db)
    assert row.notice_at is not None and row.notice_at > datetime.now(UTC)
    settings.EMAIL_BACKEND = working
    await worker.in_thread(Webhook.objects.filter(pk=row.pk).update, notice_at=datetime.now(UTC))
    await webhook_notices.send_due()
    await worker.in_thread(row.refresh_from_db)
    assert len(mail.outbox) == 2 and row.notice_at is None
