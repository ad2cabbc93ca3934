"""A tenant's feedback webhooks as a developer uses them, over HTTP only."""

import pytest
from django.conf import settings
from playwright.sync_api import expect

from tests.browser.conftest import ConsoleUnderTest
from tests.live import LiveSystem

pytestmark = pytest.mark.browser


def test_a_webhook_is_made_gets_a_test_and_real_events_and_is_turned_off(
    whole_console: ConsoleUnderTest, live_system: LiveSystem
) -> None:
    live_system.start("webhooks")
    alice = whole_console.visit("alice@acme.example")
    page = alice.page
    alice.open("/t/acme/messages")
    page.get_by_role("link", name="Webhooks").click()
    page.get_by_role("link", name="Create a webhook").click()
    page.get_by_label("URL").fill(f"{settings.SANDBOX_URL}/http/feedback")
    page.get_by_label("Test", exact=True).check()
    page.get_by_role("button", name="Create the webhook").click()
    assert page.locator("#secret").inner_text().startswith("whsec_")
    page.get_by_role("link", name="I have copied it").click()
    address = page.url

    page.get_by_role("button", name="Send a test").click()
    expect(page.get_by_text("The endpoint answered 204")).to_be_visible()
    expect(page.locator("tbody tr")).to_have_count(1)

    alice.open("/t/acme/send?channel=sms&address=%2B34600000001")
    page.get_by_label("Title optional").fill("Hello")
    page.get_by_role("button", name="Send the message").click()
    expect(page.locator("#live .badge.status-delivered")).to_have_count(1)
    page.goto(address)
    expect(page.locator("tbody .badge.status-delivered")).not_to_have_count(0)

    page.get_by_role("button", name="Turn off").click()
    page.get_by_role("button", name="Turn it off").click()
    expect(page.get_by_text("off", exact=True)).to_be_visible()
    assert alice.problems == []
