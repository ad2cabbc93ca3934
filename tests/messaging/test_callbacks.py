import json
from typing import Any
from urllib.parse import urlencode, urlsplit

import pika
import pytest
from django.test import Client
from pytest_django import Settings
from twilio.request_validator import RequestValidator

from deploy.local.servers import RabbitMQ
from deploy.local.stack import Stack
from messaging.callback_urls import callback_url
from messaging.callbacks import MAX_BODY
from messaging.channels import channel
from messaging.channels.base import Recipient
from messaging.sandbox.server import Sandbox
from messaging.sandbox.twilio import sandbox_credentials
from sprayer_project import amqp
from subscriptions import selectors
from subscriptions import services as subscriptions
from subscriptions.inputs import AddressInput
from tenants.services import set_channel_config
from tests.conftest import TenantUnderTest
from tests.live import wait_for
from tests.messaging.sending import outgoing, recipient

TOKEN = "0123456789abcdef0123456789abcdef"
CONFIG = {"account_sid": "AC" + "0" * 32, "auth_token": TOKEN, "sender": "+15005550006", "messaging_service_sid": ""}


def twilio_calls(
    url: str, token: str, word: str = "delivered", code: str = "", sid: str = "SM1", path: str | None = None
) -> Any:
    """The answer to a status callback as Twilio makes it."""
    form = {"MessageSid": sid, "MessageStatus": word, "To": "+34600000001"} | ({"ErrorCode": code} if code else {})
    signature = RequestValidator(token).compute_signature(url, form)
    parts = urlsplit(url)
    return Client(enforce_csrf_checks=True).post(
        f"{path or parts.path}?{parts.query}",
        urlencode(form),
        content_type="application/x-www-form-urlencoded",
        headers={"X-Twilio-Signature": signature},
    )


def our_url(tenant: str, mode: str = "live", receiver: str = "alice") -> tuple[str, Recipient]:
    message = outgoing(mode=mode, tenant=tenant)
    target = recipient(channel("sms"), message, receiver, "+34600000001")
    return callback_url(channel("sms"), "twilio", message, target), target


def reported(stack: Stack) -> list[dict[str, Any]]:
    """The events that wait for the status feeder."""
    connection = pika.BlockingConnection(pika.URLParameters(stack.environment()["SPRAYER_AMQP_URL"]))
    try:
        _, _, body = connection.channel().basic_get(amqp.RECORD_QUEUE, auto_ack=True)
        return json.loads(body) if body else []
    finally:
        connection.close()


@pytest.mark.services
def test_a_signed_callback_is_reported_with_all_that_its_row_needs(acme: TenantUnderTest, stack: Stack) -> None:
    set_channel_config("acme", "sms", CONFIG, by=acme.owner)
    url, target = our_url("acme")
    assert twilio_calls(url, TOKEN).status_code == 200
    (event,) = wait_for(lambda: reported(stack), what="the event")
    assert (event["tenant"], event["mode"], event["channel"]) == ("acme", "live", "sms")
    assert (event["delivery"], event["receiver"], event["status"]) == (target.delivery, "alice", "delivered")
    assert event["provider_id"] == "SM1"


@pytest.mark.services
def test_a_test_callback_is_verified_with_the_sandboxs_token(acme: TenantUnderTest, stack: Stack) -> None:
    url, target = our_url("acme", mode="test")
    assert twilio_calls(url, sandbox_credentials("acme")[1]).status_code == 200
    (event,) = wait_for(lambda: reported(stack), what="the event")
    assert (event["mode"], event["delivery"]) == ("test", target.delivery)


@pytest.mark.services
@pytest.mark.parametrize(
    ("mode", "code", "status"),
    [
        ("live", "30005", "retired"),
        ("live", "21610", "retired"),
        ("live", "30003", "active"),
        ("test", "30005", "active"),
    ],
)
def test_a_number_that_must_not_be_used_is_retired_by_a_live_callback_only(
    acme: TenantUnderTest, mode: str, code: str, status: str
) -> None:
    set_channel_config("acme", "sms", CONFIG, by=acme.owner)
    address = AddressInput("sms", "+34600000001")
    subscriptions.put_receiver("acme", "alice", [address])
    url, _ = our_url("acme", mode)
    token = TOKEN if mode == "live" else sandbox_credentials("acme")[1]
    assert twilio_calls(url, token, "undelivered", code).status_code == 200
    (kept,) = selectors.receiver("acme", "alice").addresses
    assert kept.status == status


@pytest.mark.services
def test_while_the_broker_is_away_the_provider_is_asked_to_repeat(acme: TenantUnderTest, stack: Stack) -> None:
    (broker,) = [server for server in stack.servers if isinstance(server, RabbitMQ)]
    broker.stop()
    url, _ = our_url("acme", mode="test")
    answer = twilio_calls(url, sandbox_credentials("acme")[1])
    assert answer.status_code == 503
    assert int(answer["Retry-After"]) >= 1


def test_a_callback_about_nothing_of_ours_is_answered_200(acme: TenantUnderTest) -> None:
    url, _ = our_url("acme", mode="test")
    assert twilio_calls(url.partition("&ref=")[0], sandbox_credentials("acme")[1]).status_code == 200


def test_a_bad_signature_is_403(acme: TenantUnderTest) -> None:
    url, _ = our_url("acme", mode="test")
    answer = twilio_calls(url, "another token")
    assert (answer.status_code, answer.json()["code"]) == (403, "bad_signature")
    assert answer["Content-Type"] == "application/problem+json"


def test_a_tenant_cannot_call_back_for_another(acme: TenantUnderTest, globex: TenantUnderTest) -> None:
    set_channel_config("globex", "sms", CONFIG, by=globex.owner)
    url, _ = our_url("acme")
    moved = url.replace("/callbacks/acme/", "/callbacks/globex/")
    assert twilio_calls(moved, TOKEN).status_code == 403


def test_a_live_reference_is_not_taken_with_the_sandboxs_signature(acme: TenantUnderTest) -> None:
    url, _ = our_url("acme")
    assert twilio_calls(url.replace("mode=live", "mode=test"), sandbox_credentials("acme")[1]).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/callbacks/nobody/sms/twilio",
        "/api/v1/callbacks/acme/pigeon/twilio",
        "/api/v1/callbacks/acme/sms/elsewhere",
        "/api/v1/callbacks/acme/sms/twilio",
    ],
    ids=["unknown tenant", "unknown channel", "unknown provider", "channel not configured"],
)
def test_a_callback_to_nobody_is_404(acme: TenantUnderTest, path: str) -> None:
    url, _ = our_url("acme")
    answer = twilio_calls(url, TOKEN, path=path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_providers_call_back_with_post_only(acme: TenantUnderTest) -> None:
    answer = Client().get("/api/v1/callbacks/acme/sms/twilio")
    assert (answer.status_code, answer["Allow"]) == (405, "POST")


def test_too_large_a_callback_is_413(acme: TenantUnderTest) -> None:
    answer = Client().post(
        "/api/v1/callbacks/acme/sms/twilio?mode=test", b"x" * (MAX_BODY + 1), content_type="application/octet-stream"
    )
    assert answer.status_code == 413


def test_what_arrived_at_the_sandbox_is_read_with_a_test_key(
    acme: TenantUnderTest, globex: TenantUnderTest, sandbox: Sandbox
) -> None:
    owner = sandbox.gateways["sms"].owner
    sandbox.arrivals.add("sms", owner("acme"), {"body": "ours"})
    sandbox.arrivals.add("sms", owner("globex"), {"body": "theirs"})
    answer = Client().get("/api/v1/sandbox/sms", headers=acme.headers(acme.test_key))
    assert answer.status_code == 200
    assert [row["body"] for row in answer.json()["data"]] == ["ours"]


def test_a_live_key_does_not_read_the_sandbox(acme: TenantUnderTest) -> None:
    answer = Client().get("/api/v1/sandbox/sms", headers=acme.headers())
    assert (answer.status_code, answer.json()["code"]) == (403, "test_key_needed")


def test_a_channel_that_does_not_exist_has_no_sandbox(acme: TenantUnderTest) -> None:
    answer = Client().get("/api/v1/sandbox/pigeon", headers=acme.headers(acme.test_key))
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_channel")


def test_without_a_sandbox_the_answer_is_503(acme: TenantUnderTest, settings: Settings) -> None:
    settings.SANDBOX_URL = "http://127.0.0.1:1"
    answer = Client().get("/api/v1/sandbox/sms", headers=acme.headers(acme.test_key))
    assert answer.status_code == 503
    assert "sandbox" in answer.json()["detail"]
