"""The console's page of what arrived at the sandbox, through Django's test client."""

from typing import Any

import pytest
from django.http import HttpResponse
from pytest_django import Settings

from messaging.sandbox import declared
from messaging.sandbox.server import Sandbox
from tests.conftest import TenantUnderTest
from tests.environment import free_port
from tests.messaging.test_channel_settings import _as

pytestmark = pytest.mark.services

MAIL = {"from": "acme@example.com", "to": ["ann@example.com"], "subject": "Goal", "text": "Two\nto one.", "html": None}
PAGES = ("sandbox/", "sandbox/email", "sandbox/email/live", "sandbox/email/html/0")


def put(sandbox: Sandbox, tenant: str = "acme", **changes: Any) -> str:
    """A mail that arrived; its id."""
    owner = sandbox.gateways["email"].owner(tenant)
    sandbox.arrivals.add("email", owner, {**MAIL, **changes})
    return str(sandbox.arrivals.newest("email", owner, 1)[0]["arrival"])


def opened(tenant: TenantUnderTest, path: str) -> HttpResponse:
    answer = _as(tenant.viewer or tenant.owner).get(f"/t/{tenant.slug}/{path}")
    assert isinstance(answer, HttpResponse)
    return answer


def text(tenant: TenantUnderTest, path: str) -> str:
    answer = opened(tenant, path)
    assert answer.status_code == 200
    return answer.content.decode()


@pytest.mark.parametrize("name", declared())
def test_every_gateway_has_a_page_with_its_magic_addresses(acme: TenantUnderTest, sandbox: Sandbox, name: str) -> None:
    page = text(acme, f"sandbox/{name}")
    assert "Nothing has arrived for Acme" in page
    assert len(declared()[name].magic) == page.count('<dt class="row"><span class="mono break">') > 1


def test_a_viewer_reads_what_arrived_newest_first(acme: TenantUnderTest, sandbox: Sandbox) -> None:
    for subject in ("First", "Second"):
        put(sandbox, subject=subject)
    page = text(acme, "sandbox/email")
    assert page.index("Second") < page.index("First")
    assert "Two\nto one." in page and "ann@example.com" in page and "<iframe" not in page


def test_the_first_page_leads_to_a_channel(acme: TenantUnderTest, sandbox: Sandbox) -> None:
    answer = opened(acme, "sandbox/")
    assert answer.status_code == 302 and answer["Location"] == f"/t/acme/sandbox/{next(iter(declared()))}"


def test_nobody_sees_what_arrived_for_another_tenant(
    acme: TenantUnderTest, globex: TenantUnderTest, sandbox: Sandbox
) -> None:
    arrival = put(sandbox, html="<p>For acme</p>", subject="For acme")
    client = _as(globex.owner)
    assert [client.get(f"/t/acme/{path}").status_code for path in PAGES] == [404] * len(PAGES)
    assert "For acme" not in text(globex, "sandbox/email")
    assert client.get(f"/t/globex/sandbox/email/html/{arrival}").status_code == 404
    assert client.get(f"/t/acme/sandbox/email/html/{arrival}").status_code == 404


def test_the_page_is_told_only_what_is_new(acme: TenantUnderTest, sandbox: Sandbox) -> None:
    assert opened(acme, "sandbox/email/live?seen=nothing").status_code == 204
    arrival = put(sandbox)
    fragment = text(acme, "sandbox/email/live?seen=nothing")
    assert "Goal" in fragment and f"seen={arrival}" in fragment and "<html" not in fragment
    assert opened(acme, f"sandbox/email/live?seen={arrival}").status_code == 204


def test_html_is_shown_in_a_frame_in_which_it_can_do_nothing(acme: TenantUnderTest, sandbox: Sandbox) -> None:
    html = "<p>Goal</p><script>alert(1)</script>"
    arrival = put(sandbox, html=html)
    page = opened(acme, "sandbox/email")
    assert f'<iframe sandbox title="HTML of the mail" loading="lazy" src="/t/acme/sandbox/email/html/{arrival}">' in (
        page.content.decode()
    )
    assert html not in page.content.decode() and page["Content-Security-Policy"].endswith("frame-src 'self'")
    framed = opened(acme, f"sandbox/email/html/{arrival}")
    assert framed.content.decode() == html and framed["X-Frame-Options"] == "SAMEORIGIN"
    policy = framed["Content-Security-Policy"].split("; ")
    assert "sandbox" in policy and "default-src 'none'" in policy
    assert not [directive for directive in policy if directive.startswith("script-src") or "allow-" in directive]


def test_what_a_sender_wrote_is_text_on_the_page(acme: TenantUnderTest, sandbox: Sandbox) -> None:
    put(sandbox, subject="<b>bold</b>", headers={"x-<i>": "<u>"})
    page = text(acme, "sandbox/email")
    assert not [tag for tag in ("<b>bold", "<i>", "<u>") if tag in page] and "&lt;b&gt;bold" in page


@pytest.mark.parametrize("path", ["sandbox/websocket", "sandbox/pigeon", "sandbox/pigeon/live", "sandbox/sms/html/0"])
def test_what_passes_through_no_gateway_has_no_page(acme: TenantUnderTest, sandbox: Sandbox, path: str) -> None:
    assert opened(acme, path).status_code == 404


def test_without_a_sandbox_the_page_says_so(acme: TenantUnderTest, settings: Settings) -> None:
    settings.SANDBOX_URL = f"http://127.0.0.1:{free_port()}"
    page = text(acme, "sandbox/sms")
    assert "The sandbox does not run here" in page and "Magic addresses" in page
    assert opened(acme, "sandbox/sms/live?seen=away").status_code == 204
