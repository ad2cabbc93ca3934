import pytest
from allauth.mfa.models import Authenticator
from django.test import Client

from sprayer_project import redis
from tenants import selectors, services, tenancy
from tenants.models import ApiKey, ChannelConfig, Tenant, User
from tests.conftest import TenantUnderTest


@pytest.fixture
def operator(client: Client, db: None) -> Client:
    client.force_login(User.objects.create_superuser("root@sprayer.example", "correct horse battery"))
    return client


def test_no_page_shows_a_keys_hash_or_a_credential(operator: Client, acme: TenantUnderTest) -> None:
    config = services.set_channel_config("acme", "sms", {"auth_token": "a-very-secret-auth-token"})
    key = ApiKey.objects.filter(tenant__slug="acme").latest("id")
    pages = [f"apikey/{key.id}/change/", "apikey/", f"channelconfig/{config.pk}/change/", "channelconfig/"]
    for page in pages:
        response = operator.get(f"/operators/tenants/{page}")
        assert response.status_code == 200
        text = response.content.decode()
        assert key.hash not in text
        assert ChannelConfig.objects.get().encrypted_values not in text
        assert "a-very-secret-auth-token" not in text


def test_the_revoke_action_revokes_the_selected_keys_only(operator: Client, acme: TenantUnderTest) -> None:
    first, second = ApiKey.objects.filter(tenant__slug="acme").order_by("id")
    form = {"action": "revoke", "_selected_action": [first.id]}
    assert operator.post("/operators/tenants/apikey/", form).status_code == 302
    assert [ApiKey.objects.get(id=key.id).state() for key in (first, second)] == ["revoked", "active"]


def test_a_tenant_cannot_be_deleted_and_its_slug_not_edited(operator: Client, acme: TenantUnderTest) -> None:
    tenant = Tenant.objects.get(slug="acme")
    assert operator.post(f"/operators/tenants/tenant/{tenant.pk}/delete/", {"post": "yes"}).status_code == 403
    page = operator.get(f"/operators/tenants/tenant/{tenant.pk}/change/").content.decode()
    assert 'name="slug"' not in page
    assert 'name="rate_limit"' in page


@pytest.mark.parametrize(("rate", "taken"), [("100/second", True), ("", True), ("many", False), ("0/minute", False)])
def test_a_tenants_rate_is_checked(operator: Client, acme: TenantUnderTest, rate: str, taken: bool) -> None:
    tenant = Tenant.objects.get(slug="acme")
    form = {"name": "Acme", "is_active": "on", "rate_limit": rate}
    form |= {"memberships-TOTAL_FORMS": "0", "memberships-INITIAL_FORMS": "0"}
    response = operator.post(f"/operators/tenants/tenant/{tenant.pk}/change/", form)
    assert response.status_code == (302 if taken else 200)


def test_an_operator_makes_a_user_who_logs_in_by_e_mail(operator: Client) -> None:
    form = {"email": "Dora@Example.org", "usable_password": "true"}
    form |= {"password1": "correct horse battery", "password2": "correct horse battery"}
    assert operator.post("/operators/tenants/user/add/", form).status_code == 302
    assert User.objects.get(email="dora@example.org").check_password("correct horse battery")


def test_the_list_of_tenants_says_limits_members_and_shard(operator: Client, acme: TenantUnderTest) -> None:
    page = operator.get("/operators/tenants/tenant/").content.decode()
    assert "6000/minute (default)" in page and "90 days (default)" in page
    assert '<td class="field-people">2</td>' in page
    assert f'<td class="field-shard">{redis.shard_of("acme")}</td>' in page


def test_what_operators_change_is_in_the_tenants_log(operator: Client, acme: TenantUnderTest) -> None:
    tenant = Tenant.objects.get(slug="acme")
    bob = tenant.memberships.get(user=acme.viewer)
    form = {"name": "Acme", "is_active": "on", "rate_limit": "100/second", "retention_days": ""}
    form |= {"memberships-TOTAL_FORMS": "1", "memberships-INITIAL_FORMS": "1", "memberships-0-id": str(bob.pk)}
    form |= {
        "memberships-0-tenant": str(tenant.pk),
        "memberships-0-user": str(bob.user_id),
        "memberships-0-role": "admin",
    }
    operator.post(f"/operators/tenants/tenant/{tenant.pk}/change/", form)
    entries = selectors.audit_entries("acme").filter(by_email="root@sprayer.example").reverse()
    assert [(entry.action, entry.target, entry.detail) for entry in entries] == [
        ("tenant.changed", "acme", {"rate_limit": "100/second"}),
        ("member.set", "bob@acme.example", {"role": "admin"}),
    ]


def test_a_lost_second_factor_is_taken_off_and_its_secret_is_shown_to_nobody(
    operator: Client, acme: TenantUnderTest
) -> None:
    data = {"secret": "a-very-secret-secret"}
    lost = Authenticator.objects.create(user=acme.owner, type=Authenticator.Type.TOTP, data=data)
    for page in ("", f"{lost.pk}/change/"):
        assert "a-very-secret-secret" not in operator.get(f"/operators/mfa/authenticator/{page}").content.decode()
    operator.post(f"/operators/mfa/authenticator/{lost.pk}/delete/", {"post": "yes"})
    assert not Authenticator.objects.exists()


def test_operators_change_their_password_where_everybody_does(operator: Client) -> None:
    assert operator.get("/operators/password_change/")["Location"] == "/accounts/password/change/"


def test_a_tenant_that_is_being_deleted_is_not_made_active_again(operator: Client, acme: TenantUnderTest) -> None:
    tenant = Tenant.objects.get(slug="acme")
    tenancy.delete(tenant, "acme", acme.owner)
    page = operator.get(f"/operators/tenants/tenant/{tenant.pk}/change/").content.decode()
    assert 'name="is_active"' not in page and "being deleted" in page
