"""The console's pages of accounts and keys, through Django's test client."""

import pytest
from django.conf import settings
from django.test import Client

from tenants import selectors
from tenants.models import ApiKey, User
from tests.conftest import TenantUnderTest

pytestmark = pytest.mark.services


def _as(user: User | None) -> Client:
    assert user is not None
    client = Client()
    client.force_login(user, settings.AUTHENTICATION_BACKENDS[1])
    return client


def _new_key(client: Client, **changes: object) -> str:
    form = {"name": "billing", "mode": "test", "scopes": ["messages:send"], "life": "90"} | changes
    return client.post("/t/acme/keys/new", form).content.decode()


def test_whoever_is_not_logged_in_is_sent_to_the_login_page(acme: TenantUnderTest) -> None:
    answer = Client().get("/t/acme/keys")
    assert answer.status_code == 302
    assert answer["Location"] == "/accounts/login?next=/t/acme/keys"


def test_the_root_leads_to_the_first_tenant(acme: TenantUnderTest) -> None:
    assert _as(acme.owner).get("/")["Location"] == "/t/acme/"


def test_a_person_without_a_tenant_is_told_what_to_do(db: None) -> None:
    page = _as(User.objects.create_user("new@acme.example")).get("/").content.decode()
    assert "manage.py create_tenant my-team --owner new@acme.example" in page


def test_a_wrong_password_is_refused_in_words(acme: TenantUnderTest) -> None:
    form = {"username": "alice@acme.example", "password": "wrong"}
    assert "There is no account with this e-mail" in Client().post("/accounts/login", form).content.decode()


def test_too_many_wrong_passwords_lock_the_login(acme: TenantUnderTest) -> None:
    form = {"username": "alice@acme.example", "password": "wrong"}
    answers = [Client().post("/accounts/login", form) for _ in range(settings.AXES_FAILURE_LIMIT)]
    assert answers[-1].status_code == 429
    assert "Too many attempts" in answers[-1].content.decode()


def test_a_changed_password_logs_in(acme: TenantUnderTest) -> None:
    acme.owner.set_password("first long password")
    acme.owner.save()
    form = {"old_password": "first long password"} | dict.fromkeys(
        ("new_password1", "new_password2"), "other long password"
    )
    assert _as(acme.owner).post("/accounts/", form).status_code == 302
    answer = Client().post("/accounts/login", {"username": "alice@acme.example", "password": "other long password"})
    assert answer["Location"] == "/"


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
