import pytest
from django.test import Client

from tenants import services
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
