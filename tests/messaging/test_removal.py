"""A deleted tenant is nowhere, whatever arrives later; its neighbours keep all they have."""

from datetime import UTC, datetime
from typing import Any

import pytest
from django.apps import apps
from django.test import Client

from feedback import webhooks
from feedback.events import DeliveryEvent, Status, delivery_id
from feedback.services import write
from messaging import removal, sweeper
from messaging.services import accept
from sprayer_project import mongo, redis
from sprayer_project.ids import new_id
from subscriptions import services as subscriptions
from subscriptions.addresses import address_hash
from subscriptions.inputs import AddressInput
from tenants import activity, limiter, selectors
from tenants.models import AuditEntry, Tenant, User
from tenants.services import found_tenant, set_channel_config
from tests.conftest import TenantUnderTest

pytestmark = [pytest.mark.services, pytest.mark.django_db]

NUMBER = "+12025550177"
DELETE = "/t/acme/settings/delete"


def _fill(tenant: TenantUnderTest) -> None:
    """Something in every store."""
    slug = tenant.slug
    set_channel_config(slug, "sms", {"auth_token": "secret"})
    subscriptions.put_receiver(slug, "zoe", [AddressInput("sms", NUMBER)])
    subscriptions.put_group(slug, "news")
    subscriptions.subscribe(slug, "news", "zoe")
    for _ in range(3):
        _event(slug, accept(slug, "live", {"to": {"receivers": ["zoe"]}, "channels": ["sms"], "content": {}}).id)
    webhooks.create(slug, "live", "https://example.com/hook", ["delivery.*"], webhooks.Actor())
    limiter.take(slug, "live")
    assert activity.flush()


def _event(tenant: str, message: str) -> None:
    hashed = address_hash(tenant, "sms", NUMBER)
    write(
        [
            DeliveryEvent(
                tenant=tenant,
                mode="live",
                message=message,
                delivery=delivery_id(message, "zoe", "sms", hashed),
                receiver="zoe",
                channel="sms",
                status=Status.SENT,
                at=datetime.now(UTC),
                round=1,
                address_hash=hashed,
            )
        ]
    )


def _documents(tenant: str) -> dict[str, int]:
    """Of each collection that has some."""
    names = [name for name in mongo.database().list_collection_names() if not name.startswith("system.")]
    found = {name: mongo.database()[name].count_documents({"tenant": tenant}) for name in names}
    return {name: number for name, number in found.items() if number}


def _keys(tenant: str) -> list[str]:
    return [key for key in redis.client(tenant).scan_iter() if f"{{{tenant}:" in key]


def _payloads(tenant: str) -> list[str]:
    """Of the keys those that nothing but a removal takes away meanwhile."""
    return sorted(key for key in _keys(tenant) if ":message:" in key)


def _rows(tenant: str) -> set[str]:
    """Models that still have something of a tenant."""
    models = [model for model in apps.get_models() if any(field.name == "tenant" for field in model._meta.get_fields())]
    return {model.__name__ for model in models if model._default_manager.filter(tenant__slug=tenant).exists()}


def _as(user: User | None) -> Client:
    client = Client()
    assert user is not None
    client.force_login(user)
    return client


def _finish() -> None:
    while removal.go_on() >= sweeper.FULL:
        pass


def test_a_deleted_tenant_leaves_every_store_and_takes_nothing_of_another(
    acme: TenantUnderTest, globex: TenantUnderTest
) -> None:
    _fill(acme)
    _fill(globex)
    before: Any = (_documents("globex"), _payloads("globex"), _rows("globex"))
    assert {"messages", "deliveries", "receivers", "groups", "subscriptions"} <= _documents("acme").keys()
    assert _keys("acme")
    assert _as(acme.owner).post(DELETE, {"slug": "acme"})["Location"] == "/"
    _finish()
    assert (_documents("acme"), _keys("acme"), _rows("acme")) == ({}, [], {"AuditEntry"})
    assert set(AuditEntry.objects.filter(tenant__slug="acme").values_list("action", flat=True)) == {
        *("tenant.created", "tenant.deleted")
    }
    assert (_documents("globex"), _payloads("globex"), _rows("globex")) == before and before[1]


def test_from_the_deletion_on_its_keys_and_pages_are_gone(acme: TenantUnderTest) -> None:
    alice = _as(acme.owner)
    alice.post(DELETE, {"slug": "acme"})
    assert Client().get("/api/v1/messages", headers=acme.headers()).status_code == 403
    assert alice.get("/t/acme/messages").status_code == 404
    assert not selectors.tenant_exists("acme")


def test_what_comes_late_goes_too_and_after_a_day_nobody_looks_any_more(acme: TenantUnderTest) -> None:
    _as(acme.owner).post(DELETE, {"slug": "acme"})
    _finish()
    _event("acme", new_id("msg"))
    _finish()
    assert _documents("acme")["deliveries"] == 1, "it is looked for later"
    looks = 0
    while Tenant.objects.get(slug="acme").removed_at is None:
        Tenant.objects.update(look_at=datetime.now(UTC), deleted_at=datetime(2026, 1, 1, tzinfo=UTC))
        _finish()
        looks += 1
    assert _documents("acme") == {} and looks == 1
    assert Tenant.objects.get(slug="acme").look_at is None


def test_more_than_one_step_takes_is_removed_in_several(acme: TenantUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    _fill(acme)
    monkeypatch.setattr(removal, "LIMIT", 1)
    _as(acme.owner).post(DELETE, {"slug": "acme"})
    steps = 0
    while _documents("acme"):
        removal.go_on()
        steps += 1
    assert steps == 3


def test_deleting_asks_for_the_slug(acme: TenantUnderTest) -> None:
    alice = _as(acme.owner)
    assert "It cannot be undone" in alice.get(DELETE).content.decode()
    assert "Type acme to confirm" in alice.post(DELETE, {"slug": "Acme"}).content.decode()
    assert selectors.tenant_exists("acme")


def test_the_slug_of_a_deleted_tenant_is_nobodys_again(acme: TenantUnderTest, globex: TenantUnderTest) -> None:
    _as(acme.owner).post(DELETE, {"slug": "acme"})
    _finish()
    globex.owner.is_staff = True
    globex.owner.save()
    page = _as(globex.owner).post("/accounts/tenants/new", {"name": "Mine", "slug": "acme"}).content.decode()
    assert "or there was one" in page


def test_only_an_owner_deletes(acme: TenantUnderTest, globex: TenantUnderTest) -> None:
    assert _as(acme.viewer).post(DELETE, {"slug": "acme"}).status_code == 403
    assert _as(globex.owner).post(DELETE, {"slug": "acme"}).status_code == 404
    assert selectors.tenant_exists("acme")


def test_a_person_may_own_several_tenants_and_lose_one(acme: TenantUnderTest) -> None:
    found_tenant("second", "Second", acme.owner)
    alice = _as(acme.owner)
    alice.post(DELETE, {"slug": "acme"})
    assert alice.get("/")["Location"] == "/t/second/"
