"""An audience in a browser: a file is imported while a page follows, and what failed is replayed."""

from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import expect

from feedback import services as feedback
from feedback.events import DeliveryEvent, Status, delivery_id
from messaging.services import accept
from subscriptions import services as subscriptions
from subscriptions.addresses import address_hash
from tests.browser.conftest import ConsoleUnderTest

pytestmark = pytest.mark.browser
FILE = b"receiver,group,sms\nzoe,news,+34600000077\nyan,news,12\n"
GOOD = "+34600000001"


@pytest.fixture
def dead_letter(people: None) -> None:
    """A test message to ann that failed for good."""
    hashed, body = address_hash("acme", "sms", GOOD), {"content": {"title": "Goal"}}
    message = accept("acme", "test", {"to": {"receivers": ["ann"]}, "channels": ["websocket"], **body}).id
    now = datetime.now(UTC)
    event = DeliveryEvent(
        tenant="acme",
        mode="test",
        message=message,
        delivery=delivery_id(message, "ann", "sms", hashed),
        receiver="ann",
        channel="sms",
        status=Status.FAILED,
        at=now,
        attempt=1,
        address_hash=hashed,
        address_masked="+34*****001",
        reason="provider_unavailable",
        dead=True,
        expires_at=now + timedelta(hours=1),
    )
    feedback.write([event])
    subscriptions.put_group("acme", "news")


def test_a_file_is_imported_while_the_page_follows_and_a_failed_delivery_is_replayed(
    dead_letter: None, whole_console: ConsoleUnderTest
) -> None:
    alice = whole_console.visit("alice@acme.example")
    page = alice.page
    assert alice.open("/t/acme/imports") == 200
    page.get_by_label("CSV or NDJSON file").set_input_files(
        {"name": "fans.csv", "mimeType": "text/csv", "buffer": FILE}
    )
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.get_by_text("2 of 2 rows, 1 refused")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="The refused rows").click()
    assert "3,yan," in download.value.path().read_text()

    assert alice.open("/t/acme/receivers?name=z") == 200
    page.get_by_role("link", name="zoe").click()
    assert "+34*****077" in alice.text
    page.get_by_role("link", name="news").click()
    expect(page.get_by_role("heading", name="Members")).to_be_visible()

    assert alice.open("/t/acme/dead-letters?mode=test") == 200
    page.get_by_role("link", name="provider_unavailable", exact=True).click()
    page.get_by_label("Choose dlv_").check()
    page.get_by_role("button", name="Replay the chosen").click()
    expect(page.get_by_text("are tried again")).to_be_visible()
    page.get_by_role("button", name="Replay them").click()
    expect(page.get_by_text("1 of 1 are tried again.")).to_be_visible()
    assert alice.problems == []
