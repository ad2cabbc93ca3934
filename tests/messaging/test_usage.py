"""A tenant's limits and what it uses of them."""

import pytest
from django.test import Client

from feedback import webhooks
from messaging import usage
from messaging.services import accept
from subscriptions import services as subscriptions
from tenants import limiter
from tenants.models import User
from tests.conftest import TenantUnderTest

pytestmark = [pytest.mark.services, pytest.mark.django_db]

LIMITS = "/t/acme/settings/limits"


@pytest.fixture(autouse=True)
def _counts_anew() -> None:
    usage.forget()


def _as(user: User | None) -> Client:
    client = Client()
    assert user is not None
    client.force_login(user)
    return client


def _used(tenant: str, rate: str = "") -> dict[str, tuple[int | None, int]]:
    return {share.name: (share.used, share.limit) for share in usage.shares(tenant, rate)}


def test_requests_count_in_their_mode_and_looking_does_not(acme: TenantUnderTest) -> None:
    for _ in range(3):
        Client().get("/api/v1/messages", headers=acme.headers())
    Client().get("/api/v1/messages", headers=acme.headers(acme.test_key))
    for _ in range(2):
        used = _used("acme", "100/day")
    assert used["Requests with live keys"] == (0, 100), "another window than the default's"
    for _ in range(3):
        limiter.take("acme", "live", "100/day")
    assert _used("acme", "100/day")["Requests with live keys"] == (3, 100)
    assert _used("acme", "100/day")["Requests with test keys"] == (0, 100)


def test_webhooks_count_in_their_mode(acme: TenantUnderTest) -> None:
    webhooks.create("acme", "test", "https://example.com/hook", ["delivery.*"], webhooks.Actor())
    used = _used("acme")
    assert (used["Webhooks, live"], used["Webhooks, test"]) == ((0, 20), (1, 20))


def test_what_is_stored_is_counted_up_to_a_bound(acme: TenantUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "MOST", 2)
    monkeypatch.setattr(usage, "PATIENCE", 10)
    for name in ("ann", "ben", "cleo"):
        subscriptions.put_receiver("acme", name, [])
    accept("acme", "live", {"to": {"receivers": ["ann"]}, "channels": ["websocket"], "content": {}})
    found = {kind.name: (kind.count, kind.more) for kind in usage.stored("acme")}
    assert found == {
        "messages": (1, False),
        "deliveries": (0, False),
        "receivers": (2, True),
        "groups": (0, False),
        "subscriptions": (0, False),
    }


def test_a_page_does_not_wait_for_a_count(acme: TenantUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "PATIENCE", 0.000_001)
    subscriptions.put_receiver("acme", "ann", [])
    page = _as(acme.owner).get(LIMITS)
    assert page.status_code == 200
    assert page.content.decode().count("too many to count here") == len(usage.STORED)


def test_every_member_sees_the_limits_and_a_stranger_none(acme: TenantUnderTest, globex: TenantUnderTest) -> None:
    for member in (acme.owner, acme.viewer):
        page = _as(member).get(LIMITS).content.decode()
        assert "of 6000" in page and "90 days after their end" in page
    assert _as(globex.owner).get(LIMITS).status_code == 404
