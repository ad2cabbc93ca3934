"""People's own way through the console, over HTTP and by mail only."""

import re
import time
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from playwright.sync_api import expect

from tests.browser.conftest import PASSWORD, ROOT, ConsoleUnderTest, Visitor
from tests.live import wait_for
from tests.mails import letters, link_in, one_time_code

pytestmark = pytest.mark.browser

DORA, VERA = "dora@new.example", "vera@new.example"


def mailed_link(address: str) -> str:
    """The path in the newest mail to an address."""
    folder = Path(settings.VAR_DIR) / "mail"
    return link_in(wait_for(lambda: letters(folder, address), what=f"a mail to {address}")[-1])


def sign_up(visitor: Visitor, name: str, email: str | None = None) -> None:
    page = visitor.page
    page.get_by_label("Your name").fill(name)
    if email:
        page.get_by_label("E-mail address").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign up").click()


def found_tenant(visitor: Visitor) -> None:
    """Confirm the address by the mail's link and make the first tenant."""
    expect(visitor.page.get_by_role("heading", name="Look into your mailbox")).to_be_visible()
    visitor.open(mailed_link(DORA))
    visitor.page.get_by_role("button", name="Yes, confirm").click()
    visitor.page.get_by_role("link", name="Make a tenant").click()
    visitor.page.get_by_label("Name").fill("Dora & Co")
    visitor.page.get_by_label("Slug").fill("dora")
    visitor.page.get_by_role("button", name="Make the tenant").click()
    expect(visitor.page).to_have_url(f"{visitor.url}/t/dora/")


def _turn_on_the_second_factor(visitor: Visitor) -> str:
    """Answers its secret."""
    page = visitor.page
    visitor.open("/accounts/")
    page.get_by_role("link", name="Second factor").click()
    page.get_by_role("link", name="Set up").click()
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Go on").click()
    picture = page.get_by_alt_text("QR code")
    assert picture.evaluate("image => image.complete && image.naturalWidth > 0")
    secret = page.locator("#secret").inner_text()
    page.get_by_label("Code").fill(one_time_code(secret))
    page.get_by_role("button", name="Turn on").click()
    assert len(re.findall(r"\d{8}", page.locator("#codes").inner_text())) == 10
    page.get_by_role("link", name="I have copied them").click()
    return secret


def _log_out(visitor: Visitor) -> None:
    visitor.page.get_by_label("Your account").click()
    visitor.page.get_by_role("button", name="Log out").click()
    expect(visitor.page.get_by_role("heading", name="Log in")).to_be_visible()


def _log_in_with_code(visitor: Visitor, secret: str) -> None:
    """With the app's next code: each counts once, and clocks may differ by one."""
    page = visitor.page
    page.get_by_label("E-mail address").fill(DORA)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.get_by_label("Code").fill(one_time_code(secret, time.time() + 30))
    page.get_by_role("button", name="Log in", exact=True).click()
    expect(page).to_have_url(f"{visitor.url}/t/dora/")


def test_a_person_signs_up_makes_a_tenant_and_invites_somebody_who_sees_and_cannot_change(
    console_with_signup: ConsoleUnderTest,
) -> None:
    dora = console_with_signup.newcomer()
    dora.open("/accounts/login/")
    dora.page.get_by_role("link", name="Sign up").click()
    sign_up(dora, "Dora", DORA)
    found_tenant(dora)
    secret = _turn_on_the_second_factor(dora)
    _log_out(dora)
    _log_in_with_code(dora, secret)

    dora.open("/t/dora/settings/members")
    dora.page.get_by_label("E-mail address").fill(VERA)
    dora.page.locator("form[action$='/invite']").get_by_label("Role").select_option("viewer")
    dora.page.get_by_role("button", name="Send the invitation").click()
    expect(dora.page.get_by_role("heading", name="Invited")).to_be_visible()

    vera = console_with_signup.newcomer()
    vera.open(mailed_link(VERA))
    vera.page.get_by_role("link", name="Sign up to join").click()
    expect(vera.page.get_by_label("E-mail address")).to_have_value(VERA)
    sign_up(vera, "Vera")
    vera.page.get_by_role("button", name="Join").click()
    expect(vera.page).to_have_url(f"{vera.url}/t/dora/")
    assert vera.open("/t/dora/keys") == 200
    assert [vera.open(f"/t/dora/{page}") for page in ("keys/new", "send", "settings/delete")] == [403] * 3
    vera.open("/t/dora/settings/members")
    expect(vera.page.get_by_text("Dora", exact=True).first).to_be_visible()
    expect(vera.page.get_by_role("button", name="Send the invitation")).to_have_count(0)
    assert dora.problems == [] and not [said for said in vera.problems if "403" not in said]


def test_operators_pages_keep_the_policy_and_show_a_console_as_its_member_sees_it(
    operators_console: ConsoleUnderTest,
) -> None:
    root = operators_console.visit(ROOT)
    for path in ("", "tenants/tenant/", "tenants/tenant/add/", "tenants/user/", "tenants/auditentry/"):
        assert root.open(f"/operators/{path}") == 200
        root.page.wait_for_load_state("networkidle")
    root.open("/operators/tenants/tenant/?q=acme")
    root.page.get_by_role("link", name="acme", exact=True).click()
    root.page.wait_for_load_state("networkidle")
    root.page.get_by_role("button", name="bob@acme.example, viewer").click()
    expect(root.page).to_have_url(f"{root.url}/t/acme/")
    expect(root.page.get_by_text("see Acme as bob@acme.example, viewer")).to_be_visible()
    expect(root.page.get_by_role("link", name="Send a message")).to_have_count(0)
    root.page.get_by_role("button", name="End").click()
    expect(root.page.get_by_role("heading", name="Change tenant")).to_be_visible()
    assert root.problems == []


def _grave(visitor: Visitor, path: str) -> list[str]:
    """What axe calls serious or critical on a page, light and dark."""
    visitor.open(path)
    visitor.page.wait_for_load_state("networkidle")
    visitor.page.evaluate(Axe().axe_script)
    found = []
    for theme in ("light", "dark"):
        visitor.page.evaluate("theme => { document.documentElement.dataset.theme = theme }", theme)
        answer = visitor.page.evaluate("axe.run({resultTypes: ['violations']})")
        for fault in answer["violations"]:
            if fault["impact"] in ("serious", "critical"):
                found.append(f"{path} {theme}: {fault['id']} {[node['target'] for node in fault['nodes']]}")
    return found


def test_axe_finds_nothing_serious_on_the_pages_of_accounts(console_with_signup: ConsoleUnderTest) -> None:
    nobody, alice = console_with_signup.newcomer(), console_with_signup.visit("alice@acme.example")
    outside = ("login/", "signup/", "password/reset/", "confirm-email/", "invitations/none")
    inside = (
        "",
        "password/change/",
        "email/",
        "2fa/",
        "sessions/",
        "tenants/new",
        "tenants/acme/leave",
        "reauthenticate/",
    )
    faults = [fault for path in outside for fault in _grave(nobody, f"/accounts/{path}")]
    faults += [fault for path in inside for fault in _grave(alice, f"/accounts/{path}")]
    assert faults == []
