"""A tenant's settings and its audit log, through Django's test client."""

import pytest
from django.test import Client
from pytest_django import Settings

from tenants import selectors, services
from tenants.models import Tenant, User
from tests.conftest import TenantUnderTest

pytestmark = pytest.mark.services

SETTINGS = "/t/acme/settings"


def _as(user: User | None) -> Client:
    assert user is not None
    client = Client()
    client.force_login(user)
    return client


def _acme() -> Tenant:
    return Tenant.objects.get(slug="acme")


def test_an_admin_renames_the_tenant_and_the_log_says_from_what_to_what(acme: TenantUnderTest) -> None:
    admin = services.add_member("acme", "ada@acme.example", "admin").user
    assert _as(admin).post(SETTINGS, {"name": "Acme & Sons", "retention_days": ""}).status_code == 302
    assert _acme().name == "Acme & Sons"
    assert "name: Acme → Acme &amp; Sons" in _as(acme.owner).get(f"{SETTINGS}/audit").content.decode()
    entry = selectors.audit_entries("acme")[0]
    assert (entry.action, entry.by_email) == ("tenant.changed", "ada@acme.example")
    assert entry.detail == {"name": {"from": "Acme", "to": "Acme & Sons"}}


def test_what_did_not_change_is_not_in_the_log(acme: TenantUnderTest) -> None:
    _as(acme.owner).post(SETTINGS, {"name": "Acme", "retention_days": ""})
    assert not selectors.audit_entries("acme").filter(action="tenant.changed").exists()


def test_a_shorter_retention_asks_before_it_removes(acme: TenantUnderTest) -> None:
    alice = _as(acme.owner)
    assert "tick this" in alice.post(SETTINGS, {"name": "Acme", "retention_days": "30"}).content.decode()
    assert _acme().retention_days is None
    alice.post(SETTINGS, {"name": "Acme", "retention_days": "30", "confirm": "on"})
    assert _acme().retention_days == 30
    alice.post(SETTINGS, {"name": "Acme", "retention_days": "60"})
    assert _acme().retention_days == 60


@pytest.mark.parametrize(
    ("default", "operators", "days", "taken"),
    [
        (90, None, "91", False),
        (90, 365, "300", True),
        (90, 365, "366", False),
        (0, None, "3650", True),
        (0, None, "3651", False),
        (90, 0, "3650", True),
        (90, 0, "1000000", False),
    ],
)
def test_only_operators_let_a_tenant_keep_things_longer(
    acme: TenantUnderTest, settings: Settings, default: int, operators: int | None, days: str, taken: bool
) -> None:
    settings.RETENTION_DAYS = default
    Tenant.objects.update(retention_days=operators)
    answer = _as(acme.owner).post(SETTINGS, {"name": "Acme", "retention_days": days, "confirm": "on"})
    assert answer.status_code == (302 if taken else 200)


def test_what_operators_keep_for_ever_stays_so_when_the_name_is_changed(acme: TenantUnderTest) -> None:
    Tenant.objects.update(retention_days=0)
    _as(acme.owner).post(SETTINGS, {"name": "Other", "retention_days": ""})
    assert (_acme().name, _acme().retention_days) == ("Other", 0)


def test_a_viewer_sees_the_settings_and_changes_nothing(acme: TenantUnderTest) -> None:
    bob = _as(acme.viewer)
    page = bob.get(SETTINGS).content.decode()
    assert "90 days" in page and "Save" not in page and "Delete" not in page
    assert bob.post(SETTINGS, {"name": "Bob's", "retention_days": ""}).status_code == 403
    assert [bob.get(f"{SETTINGS}/delete").status_code, bob.post(f"{SETTINGS}/delete").status_code] == [403, 403]
    assert bob.get(f"{SETTINGS}/audit").status_code == 200


def test_a_stranger_finds_no_settings(acme: TenantUnderTest, globex: TenantUnderTest) -> None:
    charlie = _as(globex.owner)
    assert [charlie.get(f"{SETTINGS}{rest}").status_code for rest in ("", "/audit", "/delete")] == [404] * 3
    assert charlie.post(SETTINGS, {"name": "Mine", "retention_days": ""}).status_code == 404


def test_the_audit_log_is_filtered_by_who_and_what(acme: TenantUnderTest) -> None:
    services.audit("acme", acme.owner, "receiver.erased", "one")
    services.audit("acme", None, "receiver.erased", "two", key="key_1")
    services.audit("acme", acme.owner, "webhook.created", "three")
    alice = _as(acme.owner)

    def shown(**filters: str) -> set[str]:
        page = alice.get(f"{SETTINGS}/audit", filters).content.decode()
        return {target for target in ("one", "two", "three") if f">{target}<" in page}

    assert shown() == {"one", "two", "three"}
    assert shown(by="alice@acme.example") == {"one", "three"}
    assert shown(by="key_1") == {"two"}
    assert shown(action="receiver.erased") == {"one", "two"}
    assert shown(by="alice@acme.example", action="webhook.created") == {"three"}


def test_the_audit_log_is_paged_and_the_pages_keep_the_filters(acme: TenantUnderTest) -> None:
    for number in range(60):
        services.audit("acme", acme.owner, "message.sent", f"msg_{number}")
    alice = _as(acme.owner)
    first = alice.get(f"{SETTINGS}/audit?action=message.sent").content.decode()
    assert "1 to 50 of 60" in first and "?action=message.sent&amp;page=2" in first
    second = alice.get(f"{SETTINGS}/audit?action=message.sent&page=2").content.decode()
    assert "51 to 60 of 60" in second and ">msg_9<" in second


def test_a_filter_that_fits_nothing_says_so(acme: TenantUnderTest) -> None:
    services.audit("acme", acme.owner, "webhook.created", "one")
    services.audit("acme", None, "receiver.erased", "two", key="key_1")
    page = _as(acme.owner).get(f"{SETTINGS}/audit?by=key_1&action=webhook.created").content.decode()
    assert "Nothing fits these filters" in page
