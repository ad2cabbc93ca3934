"""The console's pages of keys, through Django's test client."""

import pytest
from django.test import Client

from tenants import selectors, services
from tenants.authentication import caller_of
from tenants.models import ApiKey, User
from tests.conftest import TenantUnderTest

pytestmark = pytest.mark.services


def _as(user: User | None) -> Client:
    assert user is not None
    client = Client()
    client.force_login(user)
    return client


def _new_key(client: Client, **changes: object) -> str:
    form = {"name": "billing", "mode": "test", "scopes": ["messages:send"], "life": "90"} | changes
    return client.post("/t/acme/keys/new", form).content.decode()


def test_whoever_is_not_logged_in_is_sent_to_the_login_page(acme: TenantUnderTest) -> None:
    answer = Client().get("/t/acme/keys")
    assert answer.status_code == 302
    assert answer["Location"] == "/accounts/login/?next=/t/acme/keys"


def test_the_root_leads_to_the_first_tenant(acme: TenantUnderTest) -> None:
    assert _as(acme.owner).get("/")["Location"] == "/t/acme/"


def test_a_new_key_is_shown_once(acme: TenantUnderTest) -> None:
    client = _as(acme.owner)
    page = _new_key(client)
    key = ApiKey.objects.get(name="billing")
    assert key.prefix in page and "Copy it now" in page
    plain = page.split('id="plain">')[1].split("<")[0]
    assert len(plain) > len(key.prefix) and plain not in client.get("/t/acme/keys").content.decode()


def test_a_created_key_is_in_the_audit_log_with_its_creator(acme: TenantUnderTest) -> None:
    _new_key(_as(acme.owner))
    entry = selectors.audit_entries("acme").filter(action="key.created", by=acme.owner, ip="127.0.0.1").first()
    assert entry is not None


def test_a_key_without_a_scope_is_refused_at_the_field(acme: TenantUnderTest) -> None:
    assert "Choose at least one scope." in _new_key(_as(acme.owner), scopes=[])
    assert not ApiKey.objects.filter(name="billing").exists()


def test_revoking_asks_and_then_revokes(acme: TenantUnderTest) -> None:
    client = _as(acme.owner)
    key = ApiKey.objects.filter(tenant__slug="acme", mode="live").get()
    assert "cannot be undone" in client.get(f"/t/acme/keys/{key.id}/revoke").content.decode()
    key.refresh_from_db()
    assert key.state() == "active"
    client.post(f"/t/acme/keys/{key.id}/revoke")
    key.refresh_from_db()
    assert key.state() == "revoked"


def test_a_viewer_sees_keys_and_no_button(acme: TenantUnderTest) -> None:
    page = _as(acme.viewer).get("/t/acme/keys").content.decode()
    assert "spr_live_" in page and "Create a key" not in page and "Revoke" not in page


@pytest.mark.parametrize("method", ["get", "post"])
def test_a_viewer_may_not_create_a_key(acme: TenantUnderTest, method: str) -> None:
    assert getattr(_as(acme.viewer), method)("/t/acme/keys/new").status_code == 403


def test_a_stranger_finds_nothing(acme: TenantUnderTest, globex: TenantUnderTest) -> None:
    key = ApiKey.objects.filter(tenant__slug="acme").first()
    assert key is not None
    client = _as(globex.owner)
    for path in ("keys", "keys/new", f"keys/{key.id}/revoke"):
        assert client.get(f"/t/acme/{path}").status_code == 404
    assert client.post(f"/t/globex/keys/{key.id}/revoke").status_code == 404


def test_every_page_has_a_strict_policy(acme: TenantUnderTest) -> None:
    policy = _as(acme.owner).get("/t/acme/keys")["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy


def test_a_rotated_key_goes_on_for_the_overlap_and_the_new_one_is_shown_once(acme: TenantUnderTest) -> None:
    client = _as(acme.owner)
    key = ApiKey.objects.filter(tenant__slug="acme", mode="live").get()
    assert "The old key ends" in client.get(f"/t/acme/keys/{key.id}/rotate").content.decode()
    page = client.post(f"/t/acme/keys/{key.id}/rotate", {"overlap": "24"}).content.decode()
    plain = page.split('id="plain">')[1].split("<")[0]
    key.refresh_from_db()
    assert key.replaced_by is not None and key.state() == "active"
    assert caller_of(plain).scopes == caller_of(acme.key).scopes
    listed = client.get("/t/acme/keys").content.decode()
    assert f'replaced by <span class="mono">{key.replaced_by.prefix}' in listed and plain not in listed


def test_a_key_is_replaced_at_once_without_an_overlap(acme: TenantUnderTest) -> None:
    key = ApiKey.objects.filter(tenant__slug="acme", mode="live").get()
    _as(acme.owner).post(f"/t/acme/keys/{key.id}/rotate", {"overlap": "0"})
    key.refresh_from_db()
    assert key.state() == "expired"


def test_a_key_is_replaced_once(acme: TenantUnderTest) -> None:
    client = _as(acme.owner)
    key = ApiKey.objects.filter(tenant__slug="acme", mode="live").get()
    client.post(f"/t/acme/keys/{key.id}/rotate", {"overlap": "24"})
    page = client.post(f"/t/acme/keys/{key.id}/rotate", {"overlap": "24"}, follow=True).content.decode()
    assert "The key is replaced" in page


def test_a_developer_makes_and_rotates_no_key_with_the_scope_admin(acme: TenantUnderTest) -> None:
    assert acme.viewer is not None
    services.add_member("acme", acme.viewer.email, "developer")
    bob, admins = _as(acme.viewer), ApiKey.objects.get(name="first key")
    assert 'value="admin"' not in bob.get("/t/acme/keys/new").content.decode()
    assert "Select a valid choice" in _new_key(bob, scopes=["messages:send", "admin"])
    path = f"/t/acme/keys/{admins.id}/rotate"
    assert [bob.get(path).status_code, bob.post(path, {"overlap": "24"}).status_code] == [403, 403]
    assert "spr_test_" in _new_key(bob)
    own = ApiKey.objects.get(name="billing")
    listed = bob.get("/t/acme/keys").content.decode()
    assert path not in listed and f"/t/acme/keys/{own.id}/rotate" in listed
    assert "spr_test_" in bob.post(f"/t/acme/keys/{own.id}/rotate", {"overlap": "24"}).content.decode()
    assert admins in ApiKey.objects.filter(replaced_by=None, expires_at=None)


def test_an_admin_makes_a_key_with_the_scope_admin(acme: TenantUnderTest) -> None:
    assert acme.viewer is not None
    services.add_member("acme", acme.viewer.email, "admin")
    assert "spr_test_" in _new_key(_as(acme.viewer), scopes=["admin"])


def test_a_viewer_may_not_rotate_a_key(acme: TenantUnderTest) -> None:
    key = ApiKey.objects.filter(tenant__slug="acme", mode="live").get()
    assert _as(acme.viewer).post(f"/t/acme/keys/{key.id}/rotate", {"overlap": "24"}).status_code == 403
    assert "Rotate" not in _as(acme.viewer).get("/t/acme/keys").content.decode()
