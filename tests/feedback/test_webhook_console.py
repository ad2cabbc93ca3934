"""The console's pages of feedback webhooks."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from feedback import webhook_events, webhook_lanes, webhooks
from feedback.models import Webhook
from feedback.webhook_lanes import Attempt
from feedback.webhooks import Actor
from sprayer_project import worker
from tenants import selectors
from tenants.models import User
from tests.conftest import TenantUnderTest
from tests.feedback.hooks import endpoint

pytestmark = [pytest.mark.services, pytest.mark.django_db]

URL = "https://hooks.example.com/sprayer"
LIST = "/t/acme/webhooks"


def browser(user: User | None) -> Client:
    assert user is not None
    client = Client()
    client.force_login(user)
    return client


def made(url: str = URL) -> Webhook:
    return webhooks.create("acme", "live", url, ["delivery.failed"], Actor())[0]


def page(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200
    return answer.content.decode()


def secret_on(content: bytes) -> str:
    return content.decode().split('id="secret">')[1].split("<")[0]


def failed(row: Webhook) -> None:
    """An attempt of the daemon that was answered 503."""
    batch = next(webhook_events.batches("acme", row.id, "delivery", [b"{}"], datetime.now(UTC)))
    webhook_lanes.store([batch], datetime.now(UTC))
    (lane,) = webhook_lanes.claim(1)
    webhook_lanes.record(lane, [Attempt(batch=batch, at=datetime.now(UTC), milliseconds=17, status=503)])
    webhook_lanes.release(lane)


def test_a_new_webhook_shows_its_secret_once(acme: TenantUnderTest) -> None:
    alice = browser(acme.owner)
    form = {"url": URL, "mode": "test", "events": ["delivery.*"]}
    answer = alice.post(f"{LIST}/new", form)
    row = Webhook.objects.get()
    assert (row.mode, row.events, row.created_by) == ("test", ["delivery.*"], acme.owner)
    secret = secret_on(answer.content)
    assert webhooks.target_of(row).secrets == (secret,)
    assert URL in page(alice, LIST) and secret not in page(alice, f"{LIST}/{row.id}")
    assert selectors.audit_entries("acme").filter(action="webhook.created", by=acme.owner, ip="127.0.0.1").exists()


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"url": "http://127.0.0.1/", "mode": "live", "events": ["delivery.*"]}, "not a public address"),
        ({"url": "hooks", "mode": "live", "events": ["delivery.*"]}, "A webhook address is a URL"),
        ({"url": URL, "mode": "live"}, "Choose at least one."),
    ],
)
def test_a_bad_form_is_refused_at_the_field(acme: TenantUnderTest, form: dict[str, Any], words: str) -> None:
    assert words in browser(acme.owner).post(f"{LIST}/new", form).content.decode()
    assert not Webhook.objects.exists()


def test_a_failing_webhook_says_so_and_shows_its_log(acme: TenantUnderTest) -> None:
    row = made()
    failed(row)
    shown = page(browser(acme.viewer), f"{LIST}/{row.id}")
    assert "Every attempt has failed" in shown and "17 ms" in shown and "503" in shown and "1 batch\n" not in shown
    assert "status-failing" in page(browser(acme.viewer), LIST)


def test_one_that_sprayer_turned_off_says_why_and_can_be_turned_on(acme: TenantUnderTest) -> None:
    row, alice = made(), browser(acme.owner)
    failed(row)
    webhooks.disable(row.id, Webhook.Reason.FAILING)
    assert "Sprayer turned this webhook off" in page(alice, f"{LIST}/{row.id}")
    assert "no attempt succeeded for days" in page(alice, LIST)
    alice.post(f"{LIST}/{row.id}/switch", {"to": "on"})
    row.refresh_from_db()
    assert row.enabled and row.notice_at is None
    assert "Every attempt has failed" not in page(alice, f"{LIST}/{row.id}")
    alice.post(f"{LIST}/{row.id}/switch", {"to": "off"})
    assert "Sprayer turned this webhook off" not in page(alice, f"{LIST}/{row.id}")


def test_changing_replacing_the_secret_and_deleting(acme: TenantUnderTest) -> None:
    row, alice = made(), browser(acme.owner)
    alice.post(f"{LIST}/{row.id}/edit", {"url": f"{URL}/2", "events": ["delivery.sent"]})
    answer = alice.post(f"{LIST}/{row.id}/rotate", {"overlap": "3600"})
    row.refresh_from_db()
    assert (row.url, row.events) == (f"{URL}/2", ["delivery.sent"])
    secrets = webhooks.target_of(row).secrets
    assert secrets[0] == secret_on(answer.content) and len(secrets) == 2
    end = webhooks.overlap_end(row)
    assert end is not None and end - datetime.now(UTC) <= timedelta(hours=1)
    alice.post(f"{LIST}/{row.id}/rotate", {"overlap": "17"})
    assert webhooks.target_of(Webhook.objects.get()).secrets == secrets
    assert alice.post(f"{LIST}/{row.id}/delete").status_code == 302
    assert not Webhook.objects.exists()


@pytest.mark.django_db(transaction=True)
async def test_the_test_button_says_what_came_back(acme: TenantUnderTest) -> None:
    alice = await worker.in_thread(browser, acme.owner)
    async with endpoint() as opened:
        row = await worker.in_thread(made, opened.url)
        opened.answers = [(500, {})]
        for words in ("answered 500", "answered 204"):
            answer = await worker.in_thread(alice.post, f"{LIST}/{row.id}/test", follow=True)
            assert words in answer.content.decode()
    answer = await worker.in_thread(alice.post, f"{LIST}/{row.id}/test", follow=True)
    assert "No answer came: blocked_address." in answer.content.decode()


def test_a_viewer_reads_and_changes_nothing(acme: TenantUnderTest) -> None:
    row, bob = made(), browser(acme.viewer)
    assert "Create a webhook" not in page(bob, LIST) and "Replace the secret" not in page(bob, f"{LIST}/{row.id}")
    for path in ("new", *(f"{row.id}/{action}" for action in ("edit", "test", "switch", "rotate", "delete"))):
        assert bob.post(f"{LIST}/{path}").status_code == 403
    assert Webhook.objects.get().enabled


def test_a_stranger_finds_nothing(acme: TenantUnderTest, globex: TenantUnderTest) -> None:
    row, charlie = made(), browser(globex.owner)
    for tenant in ("acme", "globex"):
        assert charlie.get(f"/t/{tenant}/webhooks/{row.id}").status_code == 404
        assert charlie.get(f"/t/{tenant}/webhooks/{row.id}/edit").status_code == 404
        for action in ("edit", "test", "switch", "rotate", "delete"):
            assert charlie.post(f"/t/{tenant}/webhooks/{row.id}/{action}").status_code == 404
    assert charlie.get(LIST).status_code == 404 and row.id not in page(charlie, "/t/globex/webhooks")
