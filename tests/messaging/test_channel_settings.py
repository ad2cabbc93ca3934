"""A tenant's channels: the console's pages through Django's test client, the form behind them, the command."""

import io
import sys

import pytest
from django import forms
from django.conf import settings
from django.core.management import CommandError, call_command
from django.http import QueryDict
from django.test import Client

from messaging.channel_forms import ConfigForm
from messaging.channels import enabled, registry
from messaging.channels.sms import Sms
from messaging.sandbox.twilio import token_of
from messaging.secret_fields import SecretText, secret_fields
from messaging.selectors import messages
from tenants import encryption, selectors
from tenants.models import ChannelConfig, User
from tenants.selectors import audit_entries, forget
from tenants.services import add_member, set_channel_config
from tests.conftest import TenantUnderTest
from tests.live import wait_for

pytestmark = [pytest.mark.services, pytest.mark.usefixtures("providers")]

SID = "AC" + "0" * 32
TOKEN = token_of(SID)
SMS = {"account_sid": SID, "auth_token": TOKEN, "sender": "+34600000001", "messaging_service_sid": ""}
MASK = "********"
CONFIGURABLE = [name for name, channel in registry().items() if channel.Config.base_fields]


def _as(user: User | None) -> Client:
    assert user is not None
    client = Client()
    client.force_login(user)
    return client


def _with_role(role: str) -> Client:
    return _as(add_member("acme", f"{role}@acme.example", role).user)


def _text(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, path
    return answer.content.decode()


def _values(channel: str) -> dict[str, object]:
    found = selectors.channel_config("acme", channel)
    assert found is not None
    return dict(found.values)


def _stored_sms(**changes: str) -> bool:
    """Whether what is stored for sms is SMS with these changes."""
    return _values("sms").items() >= (SMS | changes).items()


class _KeyFile(forms.Form):
    key = forms.CharField(widget=SecretText)
    name = forms.CharField()


class _Pager(Sms):
    Config = _KeyFile  # type: ignore[assignment]


def test_every_channel_is_listed_with_its_state(acme: TenantUnderTest) -> None:
    set_channel_config("acme", "sms", SMS, enabled=False)
    page = _text(_as(acme.owner), "/t/acme/channels")
    assert [channel.label for channel in registry().values() if channel.label not in page] == []
    assert "status-off" in page and "not configured" in page and "status-on" in page and "phone number" in page


@pytest.mark.parametrize("channel", registry())
def test_every_channels_page_asks_for_the_fields_of_its_config(acme: TenantUnderTest, channel: str) -> None:
    page = _text(_as(acme.owner), f"/t/acme/channels/{channel}")
    for name, field in registry()[channel].Config.base_fields.items():
        assert (f'name="{name}"' in page) is not field.disabled


@pytest.mark.parametrize("channel", CONFIGURABLE)
def test_no_stored_secret_of_any_channel_is_rendered(acme: TenantUnderTest, channel: str) -> None:
    secrets = secret_fields(registry()[channel].Config)
    assert secrets
    set_channel_config("acme", channel, {name: f"{TOKEN}-{name}" for name in secrets})
    page = _text(_as(acme.owner), f"/t/acme/channels/{channel}")
    assert TOKEN not in page and "keep what is stored" in page


@pytest.mark.parametrize("channel", CONFIGURABLE)
def test_what_a_form_cleaned_it_takes_again(channel: str) -> None:
    first = ConfigForm(registry()[channel], {}, dict(registry()[channel].sandbox_config("acme")))
    assert first.is_valid(), first.form.errors
    again = ConfigForm(registry()[channel], {}, first.values)
    assert again.is_valid() and again.values == first.values


def test_a_secret_of_several_lines_is_not_rendered_either() -> None:
    assert secret_fields(_KeyFile) == {"key"}
    form = ConfigForm(_Pager(), {"key": "-----BEGIN", "name": "n"}, QueryDict("key=&name="))
    assert not form.is_valid() and "key" not in form.form.errors
    assert "-----BEGIN" not in form.form.as_p()


def test_saved_credentials_are_encrypted_and_used(acme: TenantUnderTest) -> None:
    answer = _as(acme.owner).post("/t/acme/channels/sms", SMS)
    assert answer.status_code == 302
    row = ChannelConfig.objects.get(tenant__slug="acme", channel="sms")
    assert (row.enabled, row.provider, TOKEN in row.encrypted_values) == (True, "twilio", False)
    assert _stored_sms() and "sms" in enabled("acme", "live")


def test_saving_leaves_an_audit_entry_without_values(acme: TenantUnderTest) -> None:
    _as(acme.owner).post("/t/acme/channels/sms", SMS)
    entry = selectors.audit_entries("acme")[0]
    assert (entry.action, entry.target, entry.by, entry.ip) == ("channel.configured", "sms", acme.owner, "127.0.0.1")
    assert "auth_token" in entry.detail["fields"] and TOKEN not in str(entry.detail)


def test_an_empty_secret_keeps_the_stored_one(acme: TenantUnderTest) -> None:
    set_channel_config("acme", "sms", SMS)
    _as(acme.owner).post("/t/acme/channels/sms", SMS | {"auth_token": "", "sender": "Acme"})
    assert _stored_sms(sender="Acme")


def test_a_typed_secret_replaces_the_stored_one(acme: TenantUnderTest) -> None:
    set_channel_config("acme", "sms", SMS | {"auth_token": "another"})
    _as(acme.owner).post("/t/acme/channels/sms", SMS)
    assert _values("sms")["auth_token"] == TOKEN


def test_what_another_process_saved_a_moment_ago_is_kept(acme: TenantUnderTest) -> None:
    set_channel_config("acme", "sms", SMS | {"auth_token": "older"})
    _values("sms")
    ChannelConfig.objects.update(encrypted_values=encryption.encrypt(SMS))
    _as(acme.owner).post("/t/acme/channels/sms", SMS | {"auth_token": ""})
    assert _values("sms")["auth_token"] == TOKEN


def test_what_another_process_saved_is_used_within_two_seconds(acme: TenantUnderTest) -> None:
    set_channel_config("acme", "sms", SMS | {"auth_token": "older"})
    _values("sms")
    ChannelConfig.objects.update(encrypted_values=encryption.encrypt(SMS))
    assert wait_for(_stored_sms, 2.0, "the new token", patience=1)


def test_what_is_wrong_is_said_at_the_field_and_nothing_is_stored(acme: TenantUnderTest) -> None:
    answer = _as(acme.owner).post("/t/acme/channels/sms", SMS | {"account_sid": "wrong"})
    page = answer.content.decode()
    assert answer.status_code == 200 and "Enter a valid value" in page and TOKEN not in page
    assert "type them again" in page
    assert selectors.channel_config("acme", "sms") is None


def test_a_secret_that_is_made_is_shown_once(acme: TenantUnderTest) -> None:
    client = _as(acme.owner)
    page = client.post("/t/acme/channels/http", {"timeout": "5"}).content.decode()
    secret = str(_values("http")["secret"])
    assert secret.startswith("whsec_") and secret in page
    assert secret not in _text(client, "/t/acme/channels/http")
    again = client.post("/t/acme/channels/http", {"timeout": "6"})
    assert again.status_code == 302
    assert _values("http").items() >= {"secret": secret, "previous_secret": "", "timeout": 6.0}.items()


def test_a_forgotten_secret_is_made_anew(acme: TenantUnderTest) -> None:
    client = _as(acme.owner)
    client.post("/t/acme/channels/http", {})
    old = _values("http")["secret"]
    page = client.post("/t/acme/channels/http", {"forget-secret": "on"}).content.decode()
    assert _values("http")["secret"] != old and str(_values("http")["secret"]) in page


def test_a_required_secret_cannot_be_forgotten(acme: TenantUnderTest) -> None:
    set_channel_config("acme", "sms", SMS)
    client = _as(acme.owner)
    assert "forget-auth_token" not in _text(client, "/t/acme/channels/sms")
    client.post("/t/acme/channels/sms", SMS | {"auth_token": "", "forget-auth_token": "on"})
    assert _values("sms")["auth_token"] == TOKEN


def test_off_and_on_keep_the_credentials(acme: TenantUnderTest) -> None:
    set_channel_config("acme", "sms", SMS)
    client = _as(acme.owner)
    client.post("/t/acme/channels/sms/switch", {"to": "off"})
    assert "sms" not in enabled("acme", "live") and _stored_sms()
    client.post("/t/acme/channels/sms", SMS)
    assert "sms" not in enabled("acme", "live")
    client.post("/t/acme/channels/sms/switch", {"to": "on"})
    assert "sms" in enabled("acme", "live") and _stored_sms()


def test_a_channel_without_credentials_has_only_its_switch(acme: TenantUnderTest) -> None:
    client = _as(acme.owner)
    page = _text(client, "/t/acme/channels/websocket")
    assert "Turn off" in page and "Remove" not in page and "Save" not in page
    client.post("/t/acme/channels/websocket", {"anything": "x"})
    assert selectors.channel_config("acme", "websocket") is None
    client.post("/t/acme/channels/websocket/switch", {"to": "off"})
    assert "websocket" not in enabled("acme", "live") and "Turn on" in _text(client, "/t/acme/channels/websocket")
    client.post("/t/acme/channels/websocket/switch", {"to": "on"})
    assert "websocket" in enabled("acme", "live")


def test_an_unconfigured_channel_is_not_turned_on(acme: TenantUnderTest) -> None:
    answer = _as(acme.owner).post("/t/acme/channels/sms/switch", {"to": "on"}, follow=True)
    assert "not configured yet" in answer.content.decode() and "sms" not in enabled("acme", "live")


def test_removing_forgets_the_credentials_and_says_who_did_it(acme: TenantUnderTest) -> None:
    set_channel_config("acme", "sms", SMS)
    client = _as(acme.owner)
    assert "Remove the configuration of SMS?" in _text(client, "/t/acme/channels/sms")
    client.post("/t/acme/channels/sms/remove")
    assert not ChannelConfig.objects.exists() and "sms" not in enabled("acme", "live")
    entry = selectors.audit_entries("acme")[0]
    assert (entry.action, entry.target, entry.by, entry.ip) == ("channel.removed", "sms", acme.owner, "127.0.0.1")


@pytest.mark.parametrize("channel", [name for name, found in registry().items() if found.providers])
def test_the_callback_address_is_there_to_copy(acme: TenantUnderTest, channel: str) -> None:
    page, chosen = _text(_as(acme.owner), f"/t/acme/channels/{channel}"), registry()[channel].providers[-1]
    addresses = {
        provider: f"{settings.PUBLIC_URL}/api/v1/callbacks/acme/{channel}/{provider}"
        for provider in registry()[channel].providers
    }
    assert all(address in page for address in addresses.values())
    set_channel_config("acme", channel, {"provider": chosen}, by=acme.owner)
    page = _text(_as(acme.owner), f"/t/acme/channels/{channel}")
    assert [provider for provider, address in addresses.items() if address in page] == [chosen]


@pytest.mark.parametrize("role", ["viewer", "developer"])
def test_who_may_not_configure_sees_states_and_no_values(acme: TenantUnderTest, role: str) -> None:
    set_channel_config("acme", "sms", SMS)
    client = _with_role(role)
    assert "status-on" in _text(client, "/t/acme/channels") and "Configure<" not in _text(client, "/t/acme/channels")
    page = _text(client, "/t/acme/channels/sms")
    assert "status-on" in page and "for the admins of Acme" in page
    assert not [value for value in (SID, TOKEN, "+34600000001", 'name="account_sid"', "Turn off") if value in page]


@pytest.mark.parametrize("role", ["viewer", "developer"])
def test_who_may_not_configure_changes_nothing(acme: TenantUnderTest, role: str) -> None:
    set_channel_config("acme", "sms", SMS)
    client = _with_role(role)
    paths = ["channels/sms", "channels/sms/switch", "channels/sms/remove", "channels/websocket/switch"]
    answers = [client.post(f"/t/acme/{path}", SMS | {"to": "off", "sender": "Mallory"}) for path in paths]
    assert [answer.status_code for answer in answers] == [403] * 4
    assert _stored_sms() and {"sms", "websocket"} <= set(enabled("acme", "live"))


def test_an_admin_may(acme: TenantUnderTest) -> None:
    assert _with_role("admin").post("/t/acme/channels/sms", SMS).status_code == 302


def test_a_stranger_finds_no_channels(acme: TenantUnderTest, globex: TenantUnderTest) -> None:
    set_channel_config("acme", "sms", SMS)
    client = _as(globex.owner)
    assert [client.get(f"/t/acme/channels{path}").status_code for path in ("", "/sms")] == [404, 404]
    assert [client.post(f"/t/acme/channels/sms{path}", SMS).status_code for path in ("", "/switch", "/remove")] == [
        404
    ] * 3
    assert SID not in _text(client, "/t/globex/channels/sms") and _stored_sms()


def test_there_is_no_page_of_a_channel_that_does_not_exist(acme: TenantUnderTest) -> None:
    client = _as(acme.owner)
    assert [client.get("/t/acme/channels/fax").status_code, client.post("/t/acme/channels/fax").status_code] == [
        404,
        404,
    ]


def test_the_command_configures_by_the_same_form(acme: TenantUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{TOKEN}\n"))
    call_command(
        "configure_channel",
        "acme",
        "sms",
        "--set",
        f"account_sid={SID}",
        "--set",
        "auth_token=-",
        "--set",
        "sender=Acme",
    )
    assert _stored_sms(sender="Acme") and "sms" in enabled("acme", "live")
    entry = selectors.audit_entries("acme")[0]
    assert (entry.action, entry.by) == ("channel.configured", None)


def test_the_command_keeps_what_is_not_named(acme: TenantUnderTest) -> None:
    set_channel_config("acme", "sms", SMS)
    call_command("configure_channel", "acme", "sms", "--set", "sender=Acme", "--off")
    assert _stored_sms(sender="Acme") and "sms" not in enabled("acme", "live")


def test_the_command_prints_a_secret_that_it_makes(acme: TenantUnderTest) -> None:
    out = io.StringIO()
    call_command("configure_channel", "acme", "http", stdout=out)
    assert out.getvalue() == f"secret={_values('http')['secret']}\n"
    again = io.StringIO()
    call_command("configure_channel", "acme", "http", "--set", "timeout=3", stdout=again)
    assert again.getvalue() == "" and _values("http")["timeout"] == 3.0


def test_the_command_shows_names_with_secrets_masked(acme: TenantUnderTest) -> None:
    set_channel_config("acme", "sms", SMS)
    out = io.StringIO()
    call_command("configure_channel", "acme", "sms", "--show", stdout=out)
    assert out.getvalue().splitlines()[:2] == [f"account_sid={SID}", f"auth_token={MASK}"]


def test_the_command_turns_a_channel_without_credentials_off(acme: TenantUnderTest) -> None:
    call_command("configure_channel", "acme", "websocket", "--off")
    assert "websocket" not in enabled("acme", "live")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["acme", "sms", "--set", "account_sid=x"], "account_sid: Enter a valid value"),
        (["acme", "sms", "--set", "token=x"], "NAME is one of account_sid, auth_token"),
        (["acme", "websocket", "--set", "x=y"], "nothing to set"),
        (["acme", "sms", "--set", "auth_token"], "use NAME=VALUE"),
        (["nobody", "websocket"], "no tenant 'nobody'"),
        (["acme", "sms", "--show", "--off"], "use it alone"),
    ],
)
def test_the_command_says_what_is_wrong(acme: TenantUnderTest, arguments: list[str], words: str) -> None:
    with pytest.raises(CommandError, match=words):
        call_command("configure_channel", *arguments)
    assert not ChannelConfig.objects.exists()


def test_stored_credentials_are_checked_again_by_a_button(acme: TenantUnderTest) -> None:
    client = _as(acme.owner)
    for token, words in ((TOKEN, "Nothing speaks against these credentials."), ("wrong", "The provider refuses")):
        set_channel_config("acme", "sms", SMS | {"auth_token": token})
        forget()
        assert "Check the credentials" in _text(client, "/t/acme/channels/sms")
        assert words in client.post("/t/acme/channels/sms/check", follow=True).content.decode()
    assert "Check the credentials" not in _text(client, "/t/acme/channels/http")


def test_a_test_goes_over_the_channel_to_the_address_that_is_given(acme: TenantUnderTest) -> None:
    set_channel_config("acme", "sms", SMS)
    client = _as(acme.owner)
    assert "Phone number" in _text(client, "/t/acme/channels/sms")
    form = {"to": " +1 202 555 0001 ", "idempotency_key": "k"}
    answers = [client.post("/t/acme/channels/sms/test", form) for _ in range(2)]
    assert answers[0].headers["Location"] == answers[1].headers["Location"]
    row = messages("acme", None).data[0]
    assert [entry.target for entry in audit_entries("acme").filter(action="channel.tried")] == ["sms"]
    assert (row.mode, row.channels) == ("live", ["sms"]) and row.to["addresses"][0]["address"] == "+1*****001"


@pytest.mark.parametrize(
    ("channel", "to", "words"),
    [("sms", "12", "international form"), ("sms", "", "say to whom"), ("websocket", "nobody", "create it first")],
)
def test_a_test_that_cannot_be_sent_says_why(acme: TenantUnderTest, channel: str, to: str, words: str) -> None:
    set_channel_config("acme", "sms", SMS)
    form = {"to": to, "idempotency_key": "k"}
    assert words in _as(acme.owner).post(f"/t/acme/channels/{channel}/test", form, follow=True).content.decode()
    assert messages("acme", None).data == []


def test_what_browsers_subscribe_with_is_there_for_everybody_to_copy(acme: TenantUnderTest) -> None:
    _as(acme.owner).post("/t/acme/channels/webpush", {"subject": "mailto:a@example.com"})
    public, private = (str(_values("webpush")[name]) for name in ("public_key", "private_key"))
    page = _text(_as(acme.viewer), "/t/acme/channels/webpush")
    assert "Application server key" in page and public in page and private not in page


def test_the_page_says_how_often_and_how_fast_a_channel_tries(acme: TenantUnderTest) -> None:
    client = _as(acme.viewer)
    set_channel_config("acme", "sms", SMS)
    assert "5 s, 30 s, 2 min, 10 min, 1 h" in _text(client, "/t/acme/channels/sms")
    set_channel_config("acme", "sms", SMS | {"retry_delays": [7, 90], "rate_limit": "5/second"})
    forget()
    page = _text(client, "/t/acme/channels/sms")
    assert "7 s, 90 s" in page and "5/second" in page
