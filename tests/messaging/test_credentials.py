"""Credentials are shown to their provider before they are stored."""

import json
import logging
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.conf import settings as settings_of
from django.core.management import CommandError, call_command
from pytest_django import Settings

from messaging import credentials
from messaging.channels import channel, registry
from messaging.credentials import doubt
from messaging.sandbox.google import service_account
from messaging.sandbox.mailgun import api_key_of
from messaging.sandbox.server import Sandbox
from messaging.sandbox.twilio import SUSPENDED, token_of
from tenants import selectors
from tenants.models import ChannelConfig
from tests.conftest import TenantUnderTest
from tests.environment import free_port
from tests.live import LiveSystem
from tests.messaging.test_channel_settings import SID, SMS, _as

CONFIGURABLE = [name for name, found in registry().items() if found.Config.base_fields]


def config(name: str, **changes: Any) -> dict[str, Any]:
    """What the gateway takes, with these changes; of mail, the server that asks for a login."""
    return {**registry()[name].sandbox_config("acme"), **(smtp() if name == "email" else {}), **changes}


def smtp() -> dict[str, Any]:
    server = {"provider": "smtp", "security": "none", "host": "127.0.0.1", "port": settings_of.SANDBOX_SMTP_PORT}
    return server | {"username": "acme", "password": "sandbox", "from_email": "acme@sandbox.example.com"}


def stranger() -> str:
    """A private key that no team of the sandbox has."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def account(name: str) -> str:
    return json.dumps(service_account("acme", name))


@pytest.mark.parametrize("name", CONFIGURABLE)
def test_good_credentials_raise_no_doubt_and_nothing_is_sent(providers: Sandbox, name: str) -> None:
    assert doubt(channel(name), config(name)) is None
    arrived = providers.arrivals.newest(name, None, 10)
    assert not [row for row in arrived if row["answer"] < 300 and not row["validate_only"]]


REFUSALS = {
    "sms, a wrong token": ("sms", {"auth_token": "wrong"}, "Authentication Error"),
    "sms, a suspended account": (
        "sms",
        {"account_sid": "AC" + "0" * 24 + SUSPENDED, "auth_token": token_of("AC" + "0" * 24 + SUSPENDED)},
        "suspended",
    ),
    "ios, another key": ("ios", {"private_key": stranger()}, "InvalidProviderToken"),
    "android, a disabled account": ("android", {"service_account": account("disabled")}, "account disabled"),
    "android, another project": ("android", {"project_id": "sandbox-0000"}, "denied"),
    "email, a wrong password": ("email", {"password": "wrong"}, "Authentication"),
    "email, a wrong key": ("email", {"provider": "mailgun", "api_key": "key-stolen"}, "401 Unauthorized"),
}


@pytest.mark.parametrize(("name", "changes", "words"), REFUSALS.values(), ids=REFUSALS)
def test_what_the_provider_refuses_is_said_in_its_words(
    providers: Sandbox, name: str, changes: dict[str, Any], words: str
) -> None:
    found = doubt(channel(name), config(name, **changes))
    assert found and found.refused
    assert words in found.sentence
    assert not [value for value in changes.values() if value in found.sentence]


def test_a_mail_providers_key_is_asked_about_for_its_domain(providers: Sandbox) -> None:
    mailgun = channel("email").sandbox_config("acme")
    assert doubt(channel("email"), mailgun) is None
    elsewhere = {"sender_domain": "elsewhere.example", "api_key": api_key_of("elsewhere.example")}
    found = doubt(channel("email"), {**mailgun, **elsewhere})
    assert found and found.refused and "Domain not found: elsewhere.example" in found.sentence
    assert [row["answer"] for row in providers.arrivals.newest("email", None, 10)] == [404, 400]


def test_a_mail_server_at_a_private_address_is_refused(providers: Sandbox, settings: Settings) -> None:
    settings.WEBHOOK_ALLOW_PRIVATE = []
    found = doubt(channel("email"), config("email"))
    assert found and found.refused and "not a public address" in found.sentence


@pytest.mark.parametrize("name", ["sms", "ios", "android", "email"])
def test_a_provider_that_nobody_reaches_leaves_a_doubt(sandbox: Sandbox, settings: Settings, name: str) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    settings.PROVIDER_URLS = dict.fromkeys(settings.PROVIDER_URLS, nowhere)
    settings.WEBHOOK_ALLOW_PRIVATE = [nowhere.partition("//")[2]]
    found = doubt(channel(name), config(name, **({"port": int(nowhere[-5:])} if name == "email" else {})))
    assert found and not found.refused and "could not be asked" in found.sentence


@pytest.mark.parametrize("name", ["sms", "ios", "android", "email"])
def test_a_provider_that_keeps_silent_is_not_waited_for(
    silent: str, settings: Settings, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings.PROVIDER_URLS = dict.fromkeys(settings.PROVIDER_URLS, silent)
    monkeypatch.setattr(credentials, "LIMIT", 0.3)
    with caplog.at_level(logging.WARNING):
        found = doubt(channel(name), channel(name).sandbox_config("acme"))
    assert found and not found.refused and "within 0.3 seconds" in found.sentence
    assert caplog.records == []  # such as a task that nobody ended


@pytest.mark.services
def test_the_page_says_what_the_provider_refuses_and_saves_nothing(acme: TenantUnderTest, providers: Sandbox) -> None:
    answer = _as(acme.owner).post("/t/acme/channels/sms", SMS | {"auth_token": "wrong-token", "anyway": "on"})
    page = answer.content.decode()
    assert answer.status_code == 200
    assert "The provider refuses this configuration" in page and "Authentication Error" in page
    assert "Save anyway" not in page and "wrong-token" not in page and "type them again" in page
    assert not ChannelConfig.objects.exists()


@pytest.mark.services
def test_a_mail_providers_key_is_stored_once_the_provider_takes_it(acme: TenantUnderTest, providers: Sandbox) -> None:
    client, mailgun = _as(acme.owner), dict(channel("email").sandbox_config("acme"))
    page = client.post("/t/acme/channels/email", mailgun | {"api_key": "key-stolen", "anyway": "on"}).content.decode()
    assert "The provider refuses this configuration: 401 Unauthorized" in page and "key-stolen" not in page
    assert not ChannelConfig.objects.exists()
    assert client.post("/t/acme/channels/email", mailgun).status_code == 302
    page = client.post("/t/acme/channels/email/check", follow=True).content.decode()
    assert "Nothing speaks against these credentials" in page


@pytest.mark.services
def test_what_nobody_could_be_asked_about_is_saved_by_who_says_so(
    acme: TenantUnderTest, settings: Settings, sandbox: Sandbox
) -> None:
    settings.PROVIDER_URLS = {**settings.PROVIDER_URLS, "twilio": f"http://127.0.0.1:{free_port()}"}
    client = _as(acme.owner)
    page = client.post("/t/acme/channels/sms", SMS).content.decode()
    assert "could not be asked" in page and 'name="anyway"' in page
    assert not ChannelConfig.objects.exists()
    assert client.post("/t/acme/channels/sms", SMS | {"anyway": "on"}).status_code == 302
    assert ChannelConfig.objects.exists()


@pytest.mark.services
def test_the_command_saves_what_is_refused_only_to_turn_it_off(
    acme: TenantUnderTest, providers: Sandbox, settings: Settings
) -> None:
    wrong = ["acme", "sms", "--set", f"account_sid={SID}", "--set", "auth_token=wrong", "--set", "sender=Acme"]
    with pytest.raises(CommandError, match=r"refuses this configuration: .*Authentication Error.* Nothing is saved"):
        call_command("configure_channel", *wrong, "--anyway")
    settings.PROVIDER_URLS = {**settings.PROVIDER_URLS, "twilio": f"http://127.0.0.1:{free_port()}"}
    with pytest.raises(CommandError, match="--anyway saves it"):
        call_command("configure_channel", *wrong)
    assert not ChannelConfig.objects.exists()
    call_command("configure_channel", *wrong, "--anyway")
    call_command("configure_channel", *wrong, "--off")
    found = selectors.channel_config("acme", "sms")
    assert found and not found.enabled


def test_an_answer_that_is_not_twilios_leaves_a_doubt(sandbox: Sandbox, settings: Settings) -> None:
    settings.PROVIDER_URLS = {**settings.PROVIDER_URLS, "twilio": f"{sandbox.url}/http/status/200"}
    found = doubt(channel("sms"), config("sms"))
    assert found and not found.refused


@pytest.mark.services
def test_others_are_served_while_a_provider_keeps_a_form_waiting(
    acme: TenantUnderTest, live_system: LiveSystem
) -> None:
    client, csrf = _as(acme.owner), "a" * 32
    cookies = {settings_of.SESSION_COOKIE_NAME: client.cookies[settings_of.SESSION_COOKIE_NAME].value}
    with socket.create_server(("127.0.0.1", 0)) as provider, ThreadPoolExecutor(1) as aside:
        url = f"http://127.0.0.1:{provider.getsockname()[1]}"
        (web,) = live_system.start("web", env={"SPRAYER_TWILIO_URL": url})
        form = {**SMS, "csrfmiddlewaretoken": csrf}
        cookies[settings_of.CSRF_COOKIE_NAME] = csrf
        headers = {"Origin": str(web.url), "Referer": f"{web.url}/"}
        post = partial(httpx.post, data=form, cookies=cookies, headers=headers, timeout=30)
        saving = aside.submit(post, f"{web.url}/t/acme/channels/sms")
        asked, _ = provider.accept()
        answers = [httpx.get(f"{web.url}{path}", cookies=cookies) for path in ("/healthz", "/t/acme/channels")]
        assert ([answer.status_code for answer in answers], saving.done()) == ([200, 200], False)
        provider.close()
        asked.close()
        assert "could not be asked" in saving.result().text
