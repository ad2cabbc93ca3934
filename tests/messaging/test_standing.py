"""A provider that starts to refuse a tenant's credentials is reported, once, until it takes them again."""

import io
import json
import logging
from collections.abc import Mapping
from typing import Any

import pytest
from django.core.management import call_command
from prometheus_client import REGISTRY

from feedback import selectors as feedback
from feedback.events import Status
from feedback.selectors import DeliveryRow
from messaging.channels import channel
from messaging.sandbox.google import service_account
from subscriptions.inputs import AddressInput
from subscriptions.services import put_receiver
from tenants import selectors, services
from tenants.selectors import ChannelSettings
from tests.conftest import TenantUnderTest
from tests.live import wait_for
from tests.messaging.dispatching import dispatching, ended, send
from tests.messaging.test_channel_settings import _as
from tests.messaging.test_credentials import config, stranger

pytestmark = [
    pytest.mark.services,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("acme", "providers"),
]
REFUSED: Mapping[str, tuple[dict[str, Any], str]] = {
    "sms": ({"auth_token": "wrong"}, "20003: "),
    "ios": ({"private_key": stranger()}, "403: InvalidProviderToken"),
    "android": ({"service_account": json.dumps(service_account("acme", "disabled"))}, "account disabled"),
    "email": ({"password": "wrong"}, "Authentication"),
}


def stored(name: str) -> ChannelSettings:
    selectors.forget()
    found = selectors.channel_config("acme", name)
    assert found is not None
    return found


def configure(name: str, **changes: Any) -> ChannelSettings:
    services.set_channel_config("acme", name, config(name, **changes))
    return stored(name)


def deliver(name: str, status: Status, reason: str = "", count: int = 3) -> None:
    """One live message to so many receivers, until all deliveries have the status."""
    names = [f"{name}{number}" for number in range(count)]
    for receiver in names:
        put_receiver("acme", receiver, [AddressInput(name, channel(name).sandbox_address(receiver))])
    message = send(to=names, channels=[name], content={"title": "Hello", "body": "you"})
    assert {row.reason for row in ended(message, status, count)} == {reason}


def counted(name: str) -> float:
    return REGISTRY.get_sample_value("sprayer_credentials_refused_total", {"channel": name}) or 0


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    events = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
    return [event["event"] for event in events if event["event"].startswith("credentials")]


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_is_kept_with_the_providers_words_and_told_once(
    name: str, acme: TenantUnderTest, caplog: pytest.LogCaptureFixture
) -> None:
    changes, words = REFUSED[name]
    configure(name, **changes)
    before = counted(name)
    with caplog.at_level(logging.WARNING), dispatching(channel(name)):
        deliver(name, Status.FAILED, "credentials_refused")
        deliver(name, Status.FAILED, "credentials_refused", count=2)
    found = stored(name)
    assert found.refused_at is not None and words in found.refused_words
    assert not [secret for secret in changes.values() if secret in found.refused_words]
    assert (said(caplog), counted(name) - before) == (["credentials refused"], 1)
    _shown(name, acme, words)


def _shown(name: str, acme: TenantUnderTest, words: str) -> None:
    client, err = _as(acme.viewer), io.StringIO()
    listed, page = (client.get(f"/t/acme/channels{path}").content.decode() for path in ("", f"/{name}"))
    assert "refused" in listed and "The provider refuses these credentials" in page and words in page
    call_command("configure_channel", "acme", name, "--show", stdout=io.StringIO(), stderr=err)
    assert "refuses these credentials since" in err.getvalue() and words in err.getvalue()


def test_the_next_success_ends_it(caplog: pytest.LogCaptureFixture, acme: TenantUnderTest) -> None:
    found = configure("sms")
    assert services.note_credentials("acme", "sms", found.version, "20003: no")
    with caplog.at_level(logging.WARNING), dispatching(channel("sms")):
        deliver("sms", Status.SENT)
        deliver("sms", Status.SENT, count=2)
    assert stored("sms").refused_at is None
    assert said(caplog) == ["credentials accepted again"]
    assert "refuses these" not in _as(acme.viewer).get("/t/acme/channels/sms").content.decode()


def test_new_credentials_end_it_and_are_not_blamed_for_the_old_ones() -> None:
    old = configure("sms", auth_token="wrong")
    assert services.note_credentials("acme", "sms", old.version, "20003: no")
    assert not services.note_credentials("acme", "sms", old.version, "20003: no again")
    assert stored("sms").refused_words == "20003: no"
    configure("sms")
    assert not services.note_credentials("acme", "sms", old.version, "20003: no")
    assert stored("sms").refused_at is None


def test_a_test_message_that_succeeds_says_nothing_of_the_tenants_credentials() -> None:
    found = configure("sms", auth_token="wrong")
    services.note_credentials("acme", "sms", found.version, "20003: no")
    to = {"addresses": [{"channel": "sms", "address": "+15005550101"}]}
    with dispatching(channel("sms")):
        message = send(mode="test", to=to, channels=["sms"])
        wait_for(lambda: [row.status for row in _rows(message)] == [Status.SENT], 15, "the test message")
    assert stored("sms").refused_words == "20003: no"


def _rows(message: str) -> list[DeliveryRow]:
    return list(feedback.deliveries("acme", "test", message).data)
