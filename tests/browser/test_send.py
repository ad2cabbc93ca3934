"""Writing a message: what the page says while one types, and that a doubled click sends once."""

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import ConsoleUnderTest

pytestmark = pytest.mark.browser

ALICE = "alice@acme.example"


def test_a_message_is_shown_while_it_is_written_and_a_doubled_click_sends_it_once(console: ConsoleUnderTest) -> None:
    alice = console.visit(ALICE)
    page, preview = alice.page, alice.page.locator("#preview")
    alice.open("/t/acme/send")
    expect(preview.get_by_text("Write a title or a body")).to_be_visible()

    page.get_by_label("Receivers").fill("ann")
    page.get_by_role("checkbox", name="SMS").check()
    page.get_by_label("Title optional").fill("Goal for València")
    expect(preview.locator(".bubble")).to_have_text("Goal for València")
    expect(preview.get_by_text("will send").first).to_be_visible()
    page.locator("#override-sms summary").click()
    page.locator("#override-sms").get_by_label("Body on SMS").fill("Two to one")
    expect(preview.locator(".bubble")).to_have_text("Two to one")

    preview.get_by_text("Python", exact=True).click()
    expect(preview.locator("#snippet-python")).to_contain_text('"body": "Two to one"')
    page.get_by_label("Receivers").fill("nobody")
    expect(preview.get_by_text("create it first")).to_be_visible()
    expect(preview.locator("#snippet-python")).to_be_visible()

    page.get_by_label("Receivers").fill("ann")
    page.get_by_role("button", name="Send the message").dblclick()
    expect(page.get_by_role("heading", name="Goal for València")).to_be_visible()
    alice.open("/t/acme/messages")
    expect(page.locator("#rows tbody tr")).to_have_count(1)
    assert alice.problems == []
