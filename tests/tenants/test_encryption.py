import pytest
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connection
from pytest_django.fixtures import Settings

from tenants import selectors, services
from tenants.encryption import Undecryptable, decrypt, encrypt
from tenants.models import AuditEntry
from tests.conftest import TenantUnderTest

SECRET = "a-very-secret-auth-token"


def _column() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT encrypted_values FROM tenants_channelconfig")
        (row,) = cursor.fetchall()
    return str(row[0])


def test_a_credential_comes_back_as_it_was_stored(acme: TenantUnderTest) -> None:
    values = {"account_sid": "AC1", "auth_token": SECRET, "numbers": ["+34600000001"], "retry_unknown": False}
    services.set_channel_config("acme", "sms", values, provider="twilio")
    found = selectors.channel_config("acme", "sms")
    assert found is not None
    assert (found.enabled, found.provider, found.source) == (True, "twilio", "tenant")
    assert found.values == values


def test_the_column_in_the_database_does_not_contain_the_secret(acme: TenantUnderTest) -> None:
    services.set_channel_config("acme", "sms", {"auth_token": SECRET})
    assert SECRET not in _column()
    assert "auth_token" not in _column()


def test_the_audit_log_names_the_fields_and_not_their_values(acme: TenantUnderTest) -> None:
    services.set_channel_config("acme", "sms", {"auth_token": SECRET}, by=acme.owner, ip="127.0.0.1")
    entry = AuditEntry.objects.get(action="channel.configured")
    assert entry.detail == {"enabled": True, "fields": ["auth_token"]}
    assert (entry.by, entry.by_email, entry.ip) == (acme.owner, "alice@acme.example", "127.0.0.1")


def test_a_new_key_in_front_reads_what_the_old_one_wrote(settings: Settings) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.ENCRYPTION_KEYS = [old]
    token = encrypt({"auth_token": SECRET})
    settings.ENCRYPTION_KEYS = [new, old]
    assert decrypt(token) == {"auth_token": SECRET}


def test_after_rotate_encryption_the_old_key_is_not_needed(acme: TenantUnderTest, settings: Settings) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.ENCRYPTION_KEYS = [old]
    services.set_channel_config("acme", "sms", {"auth_token": SECRET})
    settings.ENCRYPTION_KEYS = [new, old]
    call_command("rotate_encryption", verbosity=0)
    settings.ENCRYPTION_KEYS = [new]
    selectors.forget()
    found = selectors.channel_config("acme", "sms")
    assert found is not None
    assert found.values == {"auth_token": SECRET}


def test_rotate_encryption_without_the_old_key_says_so_and_changes_nothing(
    acme: TenantUnderTest, settings: Settings
) -> None:
    services.set_channel_config("acme", "sms", {"auth_token": SECRET})
    before = _column()
    settings.ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    with pytest.raises(CommandError, match="SPRAYER_ENCRYPTION_KEYS"):
        call_command("rotate_encryption", verbosity=0)
    assert _column() == before


def test_a_token_of_an_unknown_key_is_undecryptable(settings: Settings) -> None:
    token = encrypt({})
    settings.ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    with pytest.raises(Undecryptable):
        decrypt(token)


def test_a_key_that_is_none_names_its_setting(settings: Settings) -> None:
    settings.ENCRYPTION_KEYS = ["too-short"]
    with pytest.raises(ImproperlyConfigured, match="SPRAYER_ENCRYPTION_KEYS"):
        encrypt({})
