import pytest
from django.core.exceptions import ValidationError

from sprayer_project.errors import Conflict, Invalid
from tenants import selectors, services
from tenants.models import AuditEntry, Tenant, User
from tests.conftest import TenantUnderTest
from tests.live import wait_for


@pytest.mark.parametrize("slug", ["ab", "acme", "a1-b2", "9lives", "x" * 40])
def test_a_slug_of_letters_digits_and_hyphens_is_taken(db: None, slug: str) -> None:
    tenant, _ = services.create_tenant(slug, "", "alice@acme.example")
    assert (tenant.slug, tenant.name) == (slug, slug)


@pytest.mark.parametrize("slug", ["", "a", "x" * 41, "Acme", "a_b", "a b", "-ab", "ab-", "ab\n", "ácme", "a.b", "a/b"])
def test_any_other_slug_is_refused(db: None, slug: str) -> None:
    with pytest.raises(Invalid) as refused:
        services.create_tenant(slug, "", "alice@acme.example")
    assert refused.value.code == "invalid_slug"
    with pytest.raises(ValidationError):
        Tenant(slug=slug, name="x").full_clean()


def test_a_slug_never_changes(acme: TenantUnderTest) -> None:
    tenant = Tenant.objects.get(slug="acme")
    tenant.slug = "other"
    with pytest.raises(ValueError, match="slug never changes"):
        tenant.save()
    assert Tenant.objects.filter(slug="acme").exists()


def test_a_tenant_may_change_its_name(acme: TenantUnderTest) -> None:
    tenant = Tenant.objects.get(slug="acme")
    tenant.name = "Acme & Sons"
    tenant.save()
    assert Tenant.objects.get(slug="acme").name == "Acme & Sons"


def test_a_second_tenant_with_the_slug_is_refused_and_leaves_no_user(acme: TenantUnderTest) -> None:
    with pytest.raises(Conflict) as refused:
        services.create_tenant("acme", "", "mallory@example.org")
    assert refused.value.code == "tenant_exists"
    assert not User.objects.filter(email="mallory@example.org").exists()


def test_the_slug_of_an_inactive_tenant_is_not_given_again(acme: TenantUnderTest) -> None:
    Tenant.objects.filter(slug="acme").update(is_active=False)
    with pytest.raises(Conflict):
        services.create_tenant("acme", "", "mallory@example.org")


def test_an_inactive_tenant_does_not_exist_for_others_within_a_second(acme: TenantUnderTest) -> None:
    assert selectors.tenant_exists("acme")
    Tenant.objects.filter(slug="acme").update(is_active=False)
    wait_for(lambda: not selectors.tenant_exists("acme"), 1.0, "the end of acme")


def test_a_new_tenant_exists_at_once_although_it_was_just_asked_for(db: None) -> None:
    assert not selectors.tenant_exists("hooli")
    services.create_tenant("hooli", "Hooli", "gavin@hooli.example")
    assert selectors.tenant_exists("hooli")


async def test_an_event_loop_may_ask_for_a_tenant(transactional_db: None) -> None:
    assert not await selectors.atenant_exists("nobody")
    assert await selectors.achannel_config("nobody", "sms") is None


def test_creating_a_tenant_is_in_its_audit_log_without_the_key(acme: TenantUnderTest) -> None:
    entries = list(selectors.audit_entries("acme"))
    assert {"tenant.created", "key.created"} <= {entry.action for entry in entries}
    assert acme.key not in str(list(AuditEntry.objects.values()))


def test_an_audit_log_belongs_to_its_tenant(acme: TenantUnderTest, globex: TenantUnderTest) -> None:
    services.audit("globex", globex.owner, "message.sent", "msg_1", {"n": 1})
    assert all(entry.tenant.slug == "acme" for entry in selectors.audit_entries("acme"))
    newest = selectors.audit_entries("globex")[0]
    assert (newest.action, newest.target, newest.detail) == ("message.sent", "msg_1", {"n": 1})
    assert newest.by_email == "charlie@globex.example"


def test_only_enabled_channels_are_listed_and_only_the_tenants_own(
    acme: TenantUnderTest, globex: TenantUnderTest
) -> None:
    services.set_channel_config("acme", "sms", {"a": 1})
    services.set_channel_config("acme", "email", {"a": 2}, enabled=False)
    services.set_channel_config("globex", "http", {})
    assert selectors.enabled_channels("acme") == ["sms"]
    assert set(selectors.channel_configs("acme")) == {"sms", "email"}
    assert selectors.channel_config("globex", "sms") is None


def test_a_channel_configured_again_replaces_the_first(acme: TenantUnderTest) -> None:
    services.set_channel_config("acme", "sms", {"a": 1})
    assert selectors.enabled_channels("acme") == ["sms"]
    services.set_channel_config("acme", "sms", {"b": 2}, enabled=False)
    found = selectors.channel_config("acme", "sms")
    assert found is not None
    assert (found.enabled, found.values) == (False, {"b": 2})
