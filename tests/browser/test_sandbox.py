"""What arrived at the sandbox, before the eyes of who sent it."""

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import ConsoleUnderTest
from tests.conftest import TenantUnderTest

pytestmark = pytest.mark.browser


def test_a_mail_appears_with_its_html_in_a_frame(whole_console: ConsoleUnderTest, acme: TenantUnderTest) -> None:
    bob = whole_console.visit("bob@acme.example")
    page = bob.page
    bob.open("/t/acme/sandbox/")
    page.get_by_role("navigation", name="Channels").get_by_role("link", name="E-mail").click()
    expect(page.get_by_text("Nothing has arrived for Acme")).to_be_visible()
    expect(page.get_by_label("Magic addresses").get_by_text("bounce@...")).to_be_visible()
    html = '<p style="color: #c00">It is <b>two to one</b>.</p>'
    body = {
        "to": {"addresses": [{"channel": "email", "address": "ann@example.com"}]},
        "content": {"title": "Goal"},
        "overrides": {"email": {"html": html}},
    }
    answer = httpx.post(f"{whole_console.url}/api/v1/messages", json=body, headers=acme.headers(acme.test_key))
    assert answer.status_code == 202, answer.text
    expect(page.locator(".arrivals > li").filter(has_text="Goal")).to_have_count(1)
    framed = page.frame_locator("iframe").get_by_text("two to one")
    expect(framed).to_be_visible()
    assert framed.evaluate("element => getComputedStyle(element).color") == "rgb(204, 0, 0)"
    assert bob.problems == []
