"""Operators who look at a tenant's console as one of its members."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from tenants import selectors
from tenants.models import ApiKey, Membership, User
from tests.conftest import TenantUnderTest

pytestmark = pytest.mark.services


@pytest.fixture
def superuser(db: None) -> User:
    return User.objects.create_superuser("root@sprayer.example", "correct horse battery")


@pytest.fixture
def helper(db: None) -> User:
    """An operator who may see tenants, and no superuser."""
    user = User.objects.create_user("helper@sprayer.example", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_tenant"))
    return user


def _see_as(operator: User, member: Membership) -> Client:
    client = Client()
    client.force_login(operator)
    answer = client.post(f"/operators/tenants/tenant/see-as/{member.pk}/")
    assert answer["Location"] == f"/t/{member.tenant.slug}/"
    return client


def _member(acme: TenantUnderTest, email: str = "alice@acme.example") -> Membership:
    return selectors.members(acme.slug).select_related("tenant").get(user__email=email)


def test_every_page_says_whose_view_it_is_and_how_it_ends(acme: TenantUnderTest, superuser: User) -> None:
    client = _see_as(superuser, _member(acme))
    page = client.get("/t/acme/keys").content.decode()
    assert "You are an operator and see Acme as alice@acme.example, owner" in page
    assert client.post("/accounts/impersonation/end")["Location"].startswith("/operators/tenants/tenant/")
    assert client.get("/t/acme/keys").status_code == 404


def test_its_beginning_and_end_and_what_was_done_are_the_operators_in_the_log(
    acme: TenantUnderTest, superuser: User
) -> None:
    client = _see_as(superuser, _member(acme))
    key = ApiKey.objects.filter(tenant__slug="acme", mode="live").get()
    client.post(f"/t/acme/keys/{key.id}/revoke")
    client.post("/accounts/impersonation/end")
    entries = selectors.audit_entries("acme").filter(by=superuser).reverse()
    assert [entry.action for entry in entries] == ["impersonation.started", "key.revoked", "impersonation.ended"]
    assert entries[0].target == "alice@acme.example"


def test_an_operator_who_is_no_superuser_only_reads(acme: TenantUnderTest, helper: User) -> None:
    client = _see_as(helper, _member(acme))
    key = ApiKey.objects.filter(tenant__slug="acme", mode="live").get()
    assert client.get("/t/acme/keys").status_code == 200
    assert client.post(f"/t/acme/keys/{key.id}/revoke").status_code == 403
    key.refresh_from_db()
    assert key.state() == "active"


def test_a_superuser_has_the_members_role_and_no_more(acme: TenantUnderTest, superuser: User) -> None:
    client = _see_as(superuser, _member(acme, "bob@acme.example"))
    assert client.get("/t/acme/keys/new").status_code == 403


def test_it_opens_no_other_tenant(acme: TenantUnderTest, globex: TenantUnderTest, superuser: User) -> None:
    assert _see_as(superuser, _member(acme)).get("/t/globex/messages").status_code == 404


def test_it_ends_after_an_hour(acme: TenantUnderTest, superuser: User) -> None:
    client = _see_as(superuser, _member(acme))
    session = client.session
    session["impersonation"] |= {"until": (datetime.now(UTC) - timedelta(seconds=1)).isoformat()}
    session.save()
    assert client.get("/t/acme/keys").status_code == 404


def test_it_ends_with_the_operators_own_rights(acme: TenantUnderTest, superuser: User) -> None:
    client = _see_as(superuser, _member(acme))
    User.objects.filter(pk=superuser.pk).update(is_staff=False)
    assert client.get("/t/acme/keys").status_code == 404


@pytest.mark.parametrize("staff", [False, True])
def test_nobody_else_begins_it(acme: TenantUnderTest, globex: TenantUnderTest, staff: bool) -> None:
    User.objects.filter(pk=globex.owner.pk).update(is_staff=staff)
    client = Client()
    client.force_login(globex.owner)
    answer = client.post(f"/operators/tenants/tenant/see-as/{_member(acme).pk}/")
    assert answer.status_code in (302, 403)
    assert client.get("/t/acme/messages").status_code == 404
    assert not selectors.audit_entries("acme").filter(action="impersonation.started").exists()


def test_there_is_nothing_to_leave(acme: TenantUnderTest, superuser: User) -> None:
    assert _see_as(superuser, _member(acme)).post("/accounts/tenants/acme/leave").status_code == 403
    assert selectors.members("acme").count() == 2
