"""A tenant's channels as an admin configures them, over HTTP only."""

import pytest
from django.conf import settings
from playwright.sync_api import expect

from tests.browser.conftest import ConsoleUnderTest, Visitor

pytestmark = pytest.mark.browser

ALICE, BOB = "alice@acme.example", "bob@acme.example"
CHANNEL, LABEL = "http", "HTTP webhook"


def _send_live(visitor: Visitor, title: str) -> None:
    visitor.open("/t/acme/send")
    visitor.page.get_by_label("Live", exact=True).check()
    visitor.page.locator("summary", has_text="Plain addresses").click()
    visitor.page.get_by_label("Channel of the addresses").select_option(CHANNEL)
    visitor.page.get_by_label("Plain addresses").fill(f"{settings.SANDBOX_URL}/http/ann")
    visitor.page.get_by_label("Title optional").fill(title)
    visitor.page.get_by_role("button", name="Send the message").click()


def test_a_channel_is_configured_used_turned_off_and_removed(whole_console: ConsoleUnderTest) -> None:
    alice = whole_console.visit(ALICE)
    page = alice.page
    alice.open("/t/acme/channels")
    page.get_by_role("row", name=LABEL).get_by_role("link", name="Configure").click()
    page.get_by_role("button", name="Save and turn on").click()
    secret = page.locator("#secret-1").inner_text()
    assert secret.startswith("whsec_")
    page.get_by_role("link", name="I have copied it").click()
    expect(page.get_by_text("on", exact=True)).to_be_visible()
    assert secret not in page.content()

    _send_live(alice, "Live")
    expect(page.locator("#live .badge.status-delivered")).to_have_count(1)

    alice.open(f"/t/acme/channels/{CHANNEL}")
    page.get_by_role("button", name="Turn off").click()
    page.get_by_role("button", name="Turn it off").click()
    expect(page.get_by_text("off", exact=True)).to_be_visible()
    _send_live(alice, "Refused")
    expect(page.locator(".errorlist").first).to_be_visible()

    alice.open(f"/t/acme/channels/{CHANNEL}")
    page.get_by_role("button", name="Remove the configuration").click()
    page.get_by_role("button", name="Keep it").click()
    page.get_by_role("button", name="Remove the configuration").click()
    page.get_by_role("button", name="Remove it").click()
    expect(page.get_by_role("row", name=LABEL).get_by_text("not configured")).to_be_visible()
    assert alice.problems == []


def test_a_viewer_sees_the_states_alone(console: ConsoleUnderTest) -> None:
    bob = console.visit(BOB)
    bob.open("/t/acme/channels")
    expect(bob.page.get_by_role("link", name="Configure")).to_have_count(0)
    bob.page.get_by_role("link", name=LABEL).click()
    expect(bob.page.get_by_text("Nobody has configured this channel yet")).to_be_visible()
    expect(bob.page.locator("main form")).to_have_count(0)
    assert bob.problems == []
