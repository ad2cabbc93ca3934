"""The way of a new customer, from the sign-up to a colleague who looks on."""

import httpx
import pytest
from playwright.sync_api import expect

from messaging.sandbox.twilio import sandbox_credentials
from tests.browser.conftest import ConsoleUnderTest, Visitor
from tests.browser.test_people import DORA, VERA, found_tenant, mailed_link, sign_up
from tests.live import wait_for

pytestmark = pytest.mark.browser

GOOD, INVALID = "+34600000001", "+15005550001"


def _configure_sms(visitor: Visitor) -> None:
    page = visitor.page
    expect(page.get_by_role("heading", name="First steps")).to_be_visible()
    page.get_by_role("link", name="Configure a channel").click()
    page.get_by_role("row", name="SMS").get_by_role("link", name="Configure").click()
    account, token = sandbox_credentials("dora")
    page.get_by_label("Account SID").fill(account)
    page.get_by_label("Auth token").fill(token)
    page.get_by_label("From").fill("+15005550006")
    page.get_by_role("button", name="Save and turn on").click()
    expect(page.get_by_text("on", exact=True)).to_be_visible()


def _key(visitor: Visitor) -> str:
    """A live key, made in the console."""
    page = visitor.page
    visitor.open("/t/dora/keys/new")
    page.get_by_label("Name").fill("Backend")
    page.get_by_label("Live").check()
    page.get_by_label("messages:send").check()
    page.get_by_role("button", name="Create the key").click()
    key = page.locator("#plain").inner_text()
    assert key.startswith("spr_live_")
    page.get_by_role("link", name="I have copied it").click()
    assert key not in page.content()
    return key


def _send(url: str, key: str, number: str) -> str:
    body = {"to": {"addresses": [{"channel": "sms", "address": number}]}, "content": {"title": "Hello"}}
    headers = {"Authorization": f"Bearer {key}"}
    answer = httpx.post(f"{url}/api/v1/messages", json=body, headers=headers, trust_env=False)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def _watch(visitor: Visitor, key: str) -> str:
    """Send one that arrives and one that fails while the page Live is open; the message that arrived."""
    page = visitor.page
    visitor.open("/t/dora/live")
    expect(page.get_by_role("status").filter(has_text="Follows what happens")).to_be_visible()
    good = _send(visitor.url, key, GOOD)
    _send(visitor.url, key, INVALID)
    row = page.locator("#feed tbody tr:visible")
    for status in ("delivered", "failed"):
        told = page.locator(f".status-{status}", has_text=status)
        expect(row.filter(has=told)).to_have_count(1)
    return good


def _read_the_timeline(visitor: Visitor, message: str) -> None:
    page = visitor.page
    visitor.open(f"/t/dora/messages/{message}")
    page.locator("a[href*='/deliveries/dlv_']").first.click()
    for status in ("sent", "delivered"):
        expect(page.locator("main").get_by_text(status, exact=True).first).to_be_visible()


def _replay(visitor: Visitor) -> None:
    page = visitor.page
    visitor.open("/t/dora/dead-letters")
    page.get_by_role("link", name="invalid_address", exact=True).click()
    page.get_by_label("Choose dlv_").check()
    page.get_by_role("button", name="Replay the chosen").click()
    page.get_by_role("button", name="Replay them").click()
    expect(page.get_by_text("1 of 1 are tried again.")).to_be_visible()


def _steps_done(visitor: Visitor) -> int:
    return visitor.page.locator(".steps li.done").count()


def _invite(visitor: Visitor, newcomer: Visitor) -> None:
    page = visitor.page
    visitor.open("/t/dora/settings/members")
    page.get_by_label("E-mail address").fill(VERA)
    page.locator("form[action$='/invite']").get_by_label("Role").select_option("viewer")
    page.get_by_role("button", name="Send the invitation").click()
    newcomer.open(mailed_link(VERA))
    newcomer.page.get_by_role("link", name="Sign up to join").click()
    sign_up(newcomer, "Vera")
    newcomer.page.get_by_role("button", name="Join").click()
    expect(newcomer.page).to_have_url(f"{newcomer.url}/t/dora/")


def test_a_new_customer_goes_from_the_sign_up_to_a_colleague_who_looks_on(service: ConsoleUnderTest) -> None:
    dora, vera = service.newcomer(), service.newcomer()
    dora.open("/accounts/signup/")
    sign_up(dora, "Dora", DORA)
    found_tenant(dora)
    _configure_sms(dora)
    message = _watch(dora, _key(dora))
    _read_the_timeline(dora, message)
    _replay(dora)
    wait_for(lambda: dora.open("/t/dora/") == 200 and _steps_done(dora) == 4, 20, "four steps of five")
    _invite(dora, vera)
    assert vera.open(f"/t/dora/messages/{message}") == 200
    expect(vera.page.get_by_role("link", name="Send again")).to_have_count(0)
    assert [vera.open(f"/t/dora/{page}") for page in ("send", "keys/new", "dead-letters/preview")] == [403] * 3
    assert dora.problems == [] and [said for said in vera.problems if "403" not in said] == []
