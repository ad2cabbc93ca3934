"""The console as people use it, over HTTP only."""

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import ConsoleUnderTest, Visitor

pytestmark = pytest.mark.browser

ALICE, BOB, CHARLIE = "alice@acme.example", "bob@acme.example", "charlie@globex.example"
OF_ACME = (
    "",
    "?mode=test&range=month",
    "messages",
    "send",
    "sandbox/",
    "sandbox/ios",
    "channels",
    "channels/sms",
    "channels/websocket",
    "keys",
    "keys/new",
    "requests",
    "settings",
    "settings/limits",
    "settings/members",
    "settings/audit",
)
OF_PEOPLE = ("", "password/change/", "email/", "2fa/", "sessions/")
PAGES = (
    *(f"/t/acme/{page}" for page in (*OF_ACME, "settings/delete")),
    *(f"/accounts/{page}" for page in OF_PEOPLE),
    "/api/v1/docs",
)


def _send(visitor: Visitor, title: str) -> None:
    visitor.open("/t/acme/send")
    visitor.page.get_by_label("Receivers").fill("ann")
    visitor.page.get_by_role("checkbox", name="SMS").check()
    visitor.page.get_by_label("Title optional").fill(title)
    visitor.page.get_by_label("Body optional").fill("It is two to one.")
    visitor.page.get_by_role("button", name="Send the message").click()
    expect(visitor.page.get_by_role("heading", name=title)).to_be_visible()


def test_a_message_sent_by_the_form_settles_before_the_senders_eyes(whole_console: ConsoleUnderTest) -> None:
    alice = whole_console.visit(ALICE)
    _send(alice, "Goal")
    live = alice.page.locator("#live")
    expect(live.locator(".badge.status-delivered")).to_have_count(1)
    expect(live.locator(".badge.status-settled")).to_be_visible()
    expect(live.locator(".pulse")).to_have_count(0)
    alice.page.locator("#explain").get_by_label("Receiver").fill("ann")
    alice.page.get_by_role("button", name="Explain").click()
    expect(alice.page.locator("#explanation").get_by_text("It arrived: there is evidence.")).to_be_visible()
    expect(alice.page.locator("#explanation").get_by_text("The message asks for sms alone.").first).to_be_visible()
    live.get_by_role("link", name="ann").click()
    expect(alice.page.get_by_role("heading", name="Timeline")).to_be_visible()
    expect(alice.page.locator(".timeline .status-delivered")).to_have_count(1)
    assert "+34*****001" in alice.text and "+34600000001" not in alice.text
    assert alice.problems == []


def test_the_list_is_filtered_from_its_form(console: ConsoleUnderTest) -> None:
    alice = console.visit(ALICE)
    _send(alice, "First")
    alice.open("/t/acme/messages")
    expect(alice.page.get_by_role("link", name="First")).to_be_visible()
    alice.page.get_by_label("Mode").select_option("live")
    expect(alice.page.get_by_text("No message fits these filters")).to_be_visible()
    assert alice.page.url.endswith("/t/acme/messages?mode=live")
    alice.page.get_by_role("link", name="Clear").click()
    expect(alice.page.get_by_role("link", name="First")).to_be_visible()
    assert alice.problems == []


def test_new_messages_appear_in_an_open_list(console: ConsoleUnderTest) -> None:
    watcher, sender = console.visit(ALICE), console.visit(ALICE)
    watcher.open("/t/acme/messages")
    expect(watcher.page.get_by_text("No message yet")).to_be_visible()
    _send(sender, "Second")
    expect(watcher.page.get_by_role("link", name="Second")).to_be_visible()
    assert watcher.problems == []


def test_a_key_is_created_shown_once_and_revoked(console: ConsoleUnderTest) -> None:
    alice = console.visit(ALICE)
    alice.open("/t/acme/keys")
    alice.page.get_by_role("link", name="Create a key").click()
    alice.page.get_by_label("Name").fill("billing")
    alice.page.get_by_role("button", name="Create the key").click()
    plain = alice.page.locator("#plain").inner_text()
    assert plain.startswith("spr_test_")
    alice.page.get_by_role("link", name="I have copied it").click()
    row = alice.page.get_by_role("row", name="billing")
    expect(row.get_by_text("active")).to_be_visible()
    assert plain not in alice.page.content()
    row.get_by_role("link", name="Revoke").click()
    alice.page.get_by_role("button", name="Revoke the key").click()
    expect(row.get_by_text("revoked")).to_be_visible()
    assert alice.problems == []


def test_a_viewer_sees_and_cannot_change(console: ConsoleUnderTest) -> None:
    bob = console.visit(BOB)
    bob.open("/t/acme/keys")
    expect(bob.page.get_by_role("heading", name="API keys")).to_be_visible()
    for name in ("Create a key", "Revoke", "Send", "Send a message"):
        expect(bob.page.get_by_role("link", name=name, exact=True)).to_have_count(0)
    assert [bob.open(path) for path in ("/t/acme/keys/new", "/t/acme/send")] == [403, 403]
    assert "Your role here, viewer" in bob.text


def test_a_stranger_finds_nothing(console: ConsoleUnderTest) -> None:
    charlie = console.visit(CHARLIE)
    assert [charlie.open(f"/t/acme/{page}") for page in OF_ACME] == [404] * len(OF_ACME)
    assert "There is nothing here" in charlie.text


def test_logging_out_ends_the_session(console: ConsoleUnderTest) -> None:
    alice = console.visit(ALICE)
    alice.page.get_by_label("Your account").click()
    alice.page.get_by_role("button", name="Log out").click()
    expect(alice.page.get_by_role("heading", name="Log in")).to_be_visible()
    alice.open("/t/acme/messages")
    assert "/accounts/login" in alice.page.url


def test_no_page_breaks_the_content_security_policy(console: ConsoleUnderTest) -> None:
    alice = console.visit(ALICE)
    for path in PAGES:
        assert alice.open(path) == 200
        alice.page.wait_for_load_state("networkidle")
        assert alice.problems == [], path


def test_a_phone_shows_every_page_without_scrolling_sideways(console: ConsoleUnderTest) -> None:
    alice = console.visit(ALICE)
    _send(alice, "A title which is rather longer than a phone is wide")
    alice.page.set_viewport_size({"width": 360, "height": 740})
    for path in (alice.page.url.removeprefix(alice.url), *PAGES[:-1]):
        alice.open(path)
        assert alice.page.evaluate("document.documentElement.scrollWidth") <= 360, path


def test_times_are_in_the_viewers_zone(console: ConsoleUnderTest) -> None:
    alice = console.visit(ALICE)
    alice.open("/t/acme/keys")
    moment = alice.page.locator("tbody time").first
    assert "UTC" not in moment.inner_text() and moment.get_attribute("title")


def test_the_chosen_colours_stay(console: ConsoleUnderTest) -> None:
    alice = console.visit(ALICE)
    before = alice.page.locator("html").get_attribute("data-theme")
    alice.page.get_by_label("Switch between light and dark").click()
    alice.open("/t/acme/keys")
    assert {before, alice.page.locator("html").get_attribute("data-theme")} == {"light", "dark"}
