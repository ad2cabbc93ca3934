"""The pages Live and Requests as a developer uses them."""

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import ConsoleUnderTest
from tests.conftest import TenantUnderTest
from tests.live import LiveSystem

pytestmark = pytest.mark.browser

HELLO = {"to": {"receivers": ["ann"]}, "channels": ["sms"], "content": {"title": "Hello"}}


def send(url: str, tenant: TenantUnderTest, key: str = "") -> str:
    headers = tenant.headers(tenant.test_key) | ({"Idempotency-Key": key} if key else {})
    answer = httpx.post(f"{url}/api/v1/messages", json=HELLO, headers=headers, trust_env=False)
    assert answer.status_code == 202
    return str(answer.json()["id"])


def serious(page: Page) -> list[str]:
    """What axe finds that keeps people out."""
    found = Axe().run(page).response["violations"]
    return [violation["id"] for violation in found if violation["impact"] in ("serious", "critical")]


def test_what_happens_shows_up_is_filtered_and_waits_while_paused(
    whole_console: ConsoleUnderTest, live_system: LiveSystem, acme: TenantUnderTest
) -> None:
    live_system.start("live")
    url = whole_console.url
    alice = whole_console.visit("alice@acme.example")
    page = alice.page
    alice.open("/t/acme/messages")
    page.get_by_role("link", name="Live", exact=True).click()
    expect(page.get_by_text("Nothing has happened yet")).to_be_visible()
    expect(page.get_by_role("status").filter(has_text="Follows what happens")).to_be_visible()

    message = send(url, acme)
    row = page.locator("#feed tbody tr:visible")
    expect(row.filter(has_text="POST /api/v1/messages").filter(has_text="202")).to_have_count(1)
    expect(row.filter(has_text="to 1 receiver")).to_have_count(1)
    delivered = row.filter(has=page.locator(".status-delivered", has_text="delivered"))
    expect(delivered).to_have_count(1)

    assert serious(page) == []
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert serious(page) == []

    page.get_by_label("Kind").select_option("delivery")
    expect(row.filter(has_text="POST")).to_have_count(0)
    page.get_by_label("Status").select_option("delivered")
    expect(row).to_have_count(1)
    page.get_by_label("Status").select_option("")
    page.get_by_label("Kind").select_option("message")
    page.get_by_label("Text").fill("nothing like it")
    expect(row).to_have_count(0)
    page.get_by_label("Text").fill(message)
    expect(row).to_have_count(1)

    page.get_by_role("button", name="Pause").click()
    page.get_by_label("Text").fill("")
    second = send(url, acme)
    expect(page.get_by_role("status").filter(has_text="waiting")).to_be_visible()
    expect(row).to_have_count(1)
    page.get_by_role("button", name="Go on").click()
    expect(row).to_have_count(2)
    row.filter(has_text=second).get_by_role("link").click()
    expect(page).to_have_url(f"{url}/t/acme/messages/{second}")
    assert alice.problems == []


def test_a_cut_is_shown_and_the_page_comes_back_by_itself_without_a_gap(
    console: ConsoleUnderTest, live_system: LiveSystem, acme: TenantUnderTest
) -> None:
    live_system.start("live")
    alice = console.visit("alice@acme.example")
    page = alice.page
    alice.open("/t/acme/live")
    following = page.get_by_role("status").filter(has_text="Follows what happens")
    expect(following).to_be_visible()
    before = send(console.url, acme)
    expect(page.locator("#feed tbody tr", has_text=f"message {before}")).to_have_count(1)
    web = live_system["web"]
    web.stop()
    expect(page.get_by_role("status").filter(has_text="Cut: connects again")).to_be_visible()
    web.launch()
    web.wait_ready()
    meanwhile = send(console.url, acme)
    expect(following).to_be_visible()
    for message in (before, meanwhile):
        expect(page.locator("#feed tbody tr", has_text=f"message {message}")).to_have_count(1)
    expect(page.locator("#feed tr.gap")).to_have_count(0)


def test_viewers_look_on_and_strangers_find_nothing(
    console: ConsoleUnderTest, live_system: LiveSystem, acme: TenantUnderTest
) -> None:
    live_system.start("live")
    bob, charlie = console.visit("bob@acme.example"), console.visit("charlie@globex.example")
    for path in ("live", "live/events", "requests"):
        assert charlie.open(f"/t/acme/{path}") == 404
    charlie.open("/t/globex/live")
    assert bob.open("/t/acme/live") == 200
    for visitor in (bob, charlie):
        expect(visitor.page.get_by_role("status").filter(has_text="Follows what happens")).to_be_visible()
    message = send(console.url, acme)
    expect(bob.page.locator("#feed tbody tr", has_text=f"message {message}")).to_have_count(1)
    expect(charlie.page.get_by_text("Nothing has happened yet")).to_be_visible()
    assert bob.open("/t/acme/requests") == 200
    assert serious(bob.page) == []
    expect(bob.page.get_by_role("link", name=message)).to_be_visible()


def test_whoever_logs_out_elsewhere_is_told_on_the_open_page(
    console: ConsoleUnderTest, live_system: LiveSystem
) -> None:
    live_system.start("live")
    alice = console.visit("alice@acme.example")
    alice.open("/t/acme/live")
    expect(alice.page.get_by_role("status").filter(has_text="Follows what happens")).to_be_visible()
    other = alice.page.context.new_page()
    other.goto(f"{console.url}/t/acme/messages")
    other.locator("summary[aria-label='Your account']").click()
    other.get_by_role("button", name="Log out").click()
    expect(alice.page.get_by_role("status").filter(has_text="You have logged out")).to_be_visible()
