from datetime import UTC, datetime, timedelta

import pytest

from sprayer_project.errors import Conflict, Invalid, NotFound, SprayerError
from tenants import services
from tenants.authentication import caller_of
from tenants.models import ApiKey, AuditEntry, Tenant
from tenants.rights import Forbidden, Unauthorized
from tests.conftest import TenantUnderTest
from tests.live import wait_for


def _refusal(plain: str) -> str:
    try:
        caller_of(plain)
    except SprayerError as error:
        return error.code
    return ""


def test_a_key_names_its_tenant_mode_and_scopes(acme: TenantUnderTest) -> None:
    key, plain = services.create_api_key("acme", "test", ["messages:send", "messages:read"])
    caller = caller_of(plain)
    assert (caller.tenant, caller.mode, caller.key_id) == ("acme", "test", key.id)
    assert caller.scopes == {"messages:send", "messages:read"}
    assert plain.startswith("spr_test_")


def test_no_column_of_the_database_holds_the_plain_key(acme: TenantUnderTest) -> None:
    key, plain = services.create_api_key("acme", "live", ["admin"])
    for model in (ApiKey, AuditEntry):
        for row in model.objects.values():
            assert plain not in str(row)
    assert plain.startswith(key.prefix)
    assert len(plain) - len(key.prefix) >= 35


def test_two_keys_are_never_equal(acme: TenantUnderTest) -> None:
    made = {services.create_api_key("acme", "live", ["admin"])[1] for _ in range(20)}
    assert len(made) == 20


def test_an_unknown_key_is_refused(acme: TenantUnderTest) -> None:
    with pytest.raises(Unauthorized) as refused:
        caller_of(acme.key[:-1] + ("A" if acme.key[-1] != "A" else "B"))
    assert (refused.value.status, refused.value.code) == (401, "invalid_key")


@pytest.mark.parametrize("text", ["", "x", "spr_", "spr_live_", "spr_prod_abc", "spr_live_\u00e9"])
def test_what_is_no_key_is_refused(db: None, text: str) -> None:
    assert _refusal(text) == "invalid_key"


def test_an_expired_key_is_refused_although_it_was_just_used(acme: TenantUnderTest) -> None:
    _, plain = services.create_api_key("acme", "live", ["admin"], datetime.now(UTC) + timedelta(seconds=0.3))
    assert caller_of(plain).tenant == "acme"
    wait_for(lambda: _refusal(plain) == "expired_key", 1.0, "the expiry")


def test_a_revoked_key_is_refused_at_once_in_this_process(acme: TenantUnderTest) -> None:
    key, plain = services.create_api_key("acme", "live", ["admin"])
    caller_of(plain)
    services.revoke_api_key("acme", key.id)
    assert _refusal(plain) == "revoked_key"


def test_a_key_revoked_by_another_process_is_refused_within_a_second(acme: TenantUnderTest) -> None:
    key, plain = services.create_api_key("acme", "live", ["admin"])
    caller_of(plain)
    ApiKey.objects.filter(id=key.id).update(revoked_at=datetime.now(UTC))
    assert wait_for(lambda: _refusal(plain) == "revoked_key", 1.0, "the refusal", patience=1)


def test_revoking_twice_keeps_the_first_time(acme: TenantUnderTest) -> None:
    key, _ = services.create_api_key("acme", "live", ["admin"])
    first = services.revoke_api_key("acme", key.id).revoked_at
    assert services.revoke_api_key("acme", key.id).revoked_at == first
    assert AuditEntry.objects.filter(action="key.revoked", target=key.id).count() == 1


def test_the_keys_of_an_inactive_tenant_are_refused_within_a_second(acme: TenantUnderTest) -> None:
    caller_of(acme.key)
    Tenant.objects.filter(slug="acme").update(is_active=False)
    wait_for(lambda: _refusal(acme.key) == "tenant_inactive", 1.0, "the refusal")
    with pytest.raises(Forbidden):
        caller_of(acme.key)


def test_a_tenant_cannot_revoke_or_rotate_anothers_key(acme: TenantUnderTest, globex: TenantUnderTest) -> None:
    theirs = caller_of(globex.key).key_id
    with pytest.raises(NotFound):
        services.revoke_api_key("acme", theirs)
    with pytest.raises(NotFound):
        services.rotate_api_key("acme", theirs)
    assert caller_of(globex.key).tenant == "globex"


def test_after_a_rotation_both_keys_work_until_the_overlap_ends(acme: TenantUnderTest) -> None:
    old, old_plain = services.create_api_key("acme", "live", ["messages:send"], name="shop")
    new, new_plain = services.rotate_api_key("acme", old.id, timedelta(seconds=0.4))
    assert caller_of(new_plain).scopes == caller_of(old_plain).scopes == {"messages:send"}
    assert (new.mode, new.name) == ("live", "shop")
    wait_for(lambda: _refusal(old_plain) == "expired_key", 1.5, "the end of the overlap")
    assert caller_of(new_plain).key_id == new.id


def test_a_rotation_never_lengthens_the_old_keys_life(acme: TenantUnderTest) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    old, _ = services.create_api_key("acme", "live", ["admin"], soon)
    services.rotate_api_key("acme", old.id, timedelta(days=1))
    assert ApiKey.objects.get(id=old.id).expires_at == soon


def test_a_revoked_key_cannot_be_rotated(acme: TenantUnderTest) -> None:
    key, _ = services.create_api_key("acme", "live", ["admin"])
    services.revoke_api_key("acme", key.id)
    with pytest.raises(Conflict):
        services.rotate_api_key("acme", key.id)


def test_the_last_use_is_written_at_most_once_a_minute(acme: TenantUnderTest) -> None:
    key, plain = services.create_api_key("acme", "live", ["admin"])
    caller_of(plain)
    first = ApiKey.objects.get(id=key.id).last_used_at
    assert first is not None
    for _ in range(5):
        caller_of(plain)
    assert ApiKey.objects.get(id=key.id).last_used_at == first


def test_a_use_just_written_by_another_process_is_not_written_again(acme: TenantUnderTest) -> None:
    key, plain = services.create_api_key("acme", "live", ["admin"])
    written = datetime.now(UTC) - timedelta(seconds=30)
    ApiKey.objects.filter(id=key.id).update(last_used_at=written)
    caller_of(plain)
    assert ApiKey.objects.get(id=key.id).last_used_at == written


@pytest.mark.parametrize(
    ("mode", "scopes", "expires_at", "code"),
    [
        ("prod", ["admin"], None, "invalid_mode"),
        ("live", [], None, "invalid_scope"),
        ("live", ["messages:send", "everything"], None, "invalid_scope"),
        ("live", ["admin"], datetime(2020, 1, 1, tzinfo=UTC), "invalid_expiry"),
        ("live", ["admin"], datetime(2200, 1, 1), "invalid_expiry"),
    ],
)
def test_a_key_that_makes_no_sense_is_not_made(
    acme: TenantUnderTest, mode: str, scopes: list[str], expires_at: datetime | None, code: str
) -> None:
    before = ApiKey.objects.count()
    with pytest.raises(Invalid) as refused:
        services.create_api_key("acme", mode, scopes, expires_at)
    assert refused.value.code == code
    assert ApiKey.objects.count() == before


def test_a_key_for_a_tenant_that_does_not_exist_is_not_made(db: None) -> None:
    with pytest.raises(NotFound):
        services.create_api_key("nobody", "live", ["admin"])
