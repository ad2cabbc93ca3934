"""Why somebody got a message or did not: each reason as it comes about."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from feedback import services as feedback
from feedback.events import DeliveryEvent, Status, delivery_id
from feedback.selectors import DeliveryRow
from feedback.selectors import deliveries as rows_of
from messaging import services
from messaging.explain_verdicts import Verdict
from subscriptions import services as subscriptions
from subscriptions.addresses import address_hash
from subscriptions.inputs import AddressInput
from tenants.services import set_channel_config
from tests.conftest import TenantUnderTest
from tests.live import wait_for
from tests.messaging.dispatching import dispatching, send
from tests.resilience import sink

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True)]


def told(tenant: TenantUnderTest, message: str, receiver: str, channel: str = "http", key: str = "") -> dict[str, Any]:
    """What the API says of one channel."""
    answer = asked(tenant, message, receiver, key)
    assert answer.status_code == 200, answer.content
    (story,) = [story for story in answer.json()["channels"] if story["channel"] == channel]
    return dict(story)


def asked(tenant: TenantUnderTest, message: str, receiver: str, key: str = "") -> Any:
    path = f"/api/v1/messages/{message}/explain"
    return Client().get(path, {"receiver": receiver}, headers=tenant.headers(key or tenant.key))


def put(name: str, path: str = "") -> None:
    subscriptions.put_receiver("acme", name, [AddressInput("http", sink.address(path))] if path else [])


def retire(path: str, reason: str) -> None:
    hashed = address_hash("acme", "http", sink.address(path))
    subscriptions.retire_address("acme", "http", hashed, reason, datetime.now(UTC))


@pytest.mark.usefixtures("sandbox")
def test_seven_receivers_have_seven_reasons(acme: TenantUnderTest) -> None:
    sink.prepare("acme", "orders", 1)
    subscriptions.put_group("acme", "news")
    put("ann", "ok")
    put("bea")
    put("cid", "cid")
    put("dan", "status/403")
    put("eve", "status/503")
    put("fay", "fay")
    put("gus", "gus")
    retire("cid", "gone")
    retire("gus", "opted_out")
    named = ["ann", "bea", "cid", "dan", "eve", "gus"]
    with dispatching():
        message = send(to={"receivers": named, "groups": ["news"]})

        def tried() -> list[DeliveryRow]:
            found = rows_of("acme", "live", message).data
            return found if len(found) == 6 and all(row.status is not Status.QUEUED for row in found) else []

        wait_for(tried, 15, "six rows")
    found = {name: told(acme, message, name) for name in [*named, "fay"]}
    assert {name: story["verdict"] for name, story in found.items() if name != "eve"} == {
        "ann": "delivered",
        "bea": "no_address",
        "cid": "address_retired",
        "dan": "provider_refused",
        "gus": "opted_out",
        "fay": "not_subscribed",
    }
    assert found["eve"]["verdict"] in ("deferred", "unreachable")
    today = f"since {datetime.now(UTC):%Y-}"
    assert "gone" in found["cid"]["detail"] and today in found["cid"]["detail"]
    assert found["cid"]["addresses"][0]["reason"] == "gone" and found["cid"]["addresses"][0]["retired_at"]
    (refused,) = found["dan"]["deliveries"]
    assert refused["provider_answer"] == {"http_status": 403} and refused["address"].endswith("/***")
    assert found["ann"]["deliveries"][0]["status"] == "delivered" and "news" in found["fay"]["detail"]


def event(message: str, status: Status, **fields: Any) -> DeliveryEvent:
    values: dict[str, Any] = {
        "tenant": "acme",
        "mode": "live",
        "message": message,
        "delivery": delivery_id(message, "ann", "http", "h"),
        "receiver": "ann",
        "channel": "http",
        "at": datetime.now(UTC),
        "attempt": 1,
    }
    return DeliveryEvent(status=status, **(values | fields))


@pytest.mark.parametrize(
    ("status", "reason", "detail", "verdict"),
    [
        (Status.READ, "", {}, "read"),
        (Status.SENT, "", {"http_status": 201}, "sent"),
        (Status.DEFERRED, "breaker_open", {}, "breaker_open"),
        (Status.DEFERRED, "paced", {}, "rate_limited"),
        (Status.DEFERRED, "timeout", {}, "deferred"),
        (Status.FAILED, "credentials_refused", {"code": 20003, "message": "Authenticate"}, "credentials_refused"),
        (Status.FAILED, "timeout", {}, "unreachable"),
        (Status.FAILED, "payload_too_large", {"message": "Too large"}, "failed"),
        (Status.FAILED, "channel_off", {}, "channel_off"),
        (Status.BOUNCED, "bounced", {"message": "no such mailbox"}, "bounced"),
        (Status.SUPPRESSED, "unsubscribed", {}, "not_subscribed"),
        (Status.SUPPRESSED, "no_receiver", {}, "no_receiver"),
        (Status.SUPPRESSED, "muted", {}, "suppressed"),
        (Status.EXPIRED, "expired", {}, "expired"),
        (Status.CANCELLED, "cancelled", {}, "cancelled"),
    ],
)
def test_a_row_tells_its_reason(
    acme: TenantUnderTest, status: Status, reason: str, detail: dict[str, Any], verdict: str
) -> None:
    set_channel_config("acme", "http", {})
    put("ann")
    message = send(to=["ann"])
    feedback.write([event(message, status, reason=reason, detail=detail)])
    story = told(acme, message, "ann")
    assert story["verdict"] == verdict
    assert story["detail"].endswith(".") and story["deliveries"][0]["provider_answer"] == detail


def test_of_several_addresses_the_best_one_speaks(acme: TenantUnderTest) -> None:
    set_channel_config("acme", "http", {})
    put("ann")
    message = send(to=["ann"])
    other = event(message, Status.DELIVERED, delivery=delivery_id(message, "ann", "http", "i"))
    feedback.write([event(message, Status.FAILED, reason="gone"), other])
    story = told(acme, message, "ann")
    assert story["verdict"] == "delivered" and len(story["deliveries"]) == 2


def test_what_is_in_no_row_yet_waits(acme: TenantUnderTest) -> None:
    set_channel_config("acme", "http", {})
    put("ann", "ok")
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    now, scheduled = send(to=["ann"]), send(to=["ann"], send_at=later)
    assert told(acme, now, "ann")["verdict"] == "queued"
    assert told(acme, scheduled, "ann")["verdict"] == "scheduled"
    services.cancel("acme", "live", scheduled)
    assert told(acme, scheduled, "ann")["verdict"] == "cancelled"


def test_a_channel_that_the_message_does_not_use_says_why(acme: TenantUnderTest) -> None:
    set_channel_config("acme", "http", {})
    set_channel_config("acme", "sms", {}, enabled=False)
    put("ann", "ok")
    chosen, left_to_us = (
        send(to=["ann"]),
        services.accept("acme", "live", {"to": {"receivers": ["ann"]}, "content": {}}),
    )
    assert told(acme, chosen, "ann", "sms")["verdict"] == "not_asked"
    assert told(acme, left_to_us.id, "ann", "sms")["verdict"] == "channel_off"
    assert told(acme, left_to_us.id, "ann", "ios")["verdict"] == "no_credentials"
    set_channel_config("acme", "sms", {})
    assert told(acme, left_to_us.id, "ann", "sms")["verdict"] == "no_address"


def test_a_newer_message_is_named(acme: TenantUnderTest) -> None:
    set_channel_config("acme", "http", {})
    put("ann", "ok")
    old, new = (send(to=["ann"], collapse_key="score") for _ in range(2))
    feedback.write([event(old, Status.SUPPRESSED, reason="replaced")])
    story = told(acme, old, "ann")
    assert story["verdict"] == "replaced" and new in story["detail"]


def test_a_member_of_a_group_is_told_by_channel(acme: TenantUnderTest) -> None:
    set_channel_config("acme", "http", {})
    put("ann", "ok")
    subscriptions.put_group("acme", "news")
    message = send(to={"groups": ["news"]}, channels=["http", "websocket"])
    subscriptions.subscribe("acme", "news", "ann", ["websocket"])
    assert told(acme, message, "ann", "websocket")["verdict"] == "queued"
    assert told(acme, message, "ann", "http")["verdict"] == "not_subscribed"
    assert told(acme, message, "nobody", "http")["verdict"] == "no_receiver"


def test_a_plain_address_has_a_story_of_its_own(acme: TenantUnderTest) -> None:
    set_channel_config("acme", "http", {})
    address = sink.address("plain")
    message = send(to={"addresses": [{"channel": "http", "address": address}]})
    receiver = f"addr:{address_hash('acme', 'http', address)}"
    assert told(acme, message, receiver)["verdict"] == "queued"
    assert told(acme, message, receiver, "sms")["verdict"] == "not_asked"
    assert address not in asked(acme, message, receiver).content.decode()


def test_whom_the_message_never_named_is_not_found(acme: TenantUnderTest, globex: TenantUnderTest) -> None:
    set_channel_config("acme", "http", {})
    put("ann", "ok")
    message = send(to=["ann"])
    assert asked(acme, message, "bea").json()["code"] == "receiver_not_named"
    assert asked(acme, "msg_none", "ann").status_code == 404
    assert asked(acme, message, "").json()["code"] == "missing_receiver"
    assert asked(acme, message, "ann", acme.test_key).status_code == 404
    assert asked(globex, message, "ann").status_code == 404


def test_the_documentation_has_every_verdict() -> None:
    text = (settings.BASE_DIR / "docs" / "api.md").read_text()
    assert [verdict for verdict in Verdict if f"| `{verdict}` |" not in text] == []


def test_the_console_explains_beside_the_message(acme: TenantUnderTest, globex: TenantUnderTest) -> None:
    set_channel_config("acme", "http", {})
    put("ann")
    message = send(to=["ann"])
    feedback.write([event(message, Status.SUPPRESSED, reason="no_address")])
    client = Client()
    client.force_login(acme.owner)
    assert "Why did a receiver get it, or not?" in client.get(f"/t/acme/messages/{message}").content.decode()
    path = f"/t/acme/messages/{message}/explain"
    alone = client.get(path, {"receiver": "ann"}, headers={"HX-Request": "true"}).content.decode()
    assert "no_address" in alone and "<html" not in alone
    page = client.get(path, {"receiver": "ann"}).content.decode()
    assert "no_address" in page and "<html" in page
    assert "names no group" in client.get(path, {"receiver": "bea"}).content.decode()
    client.force_login(globex.owner)
    assert client.get(path, {"receiver": "ann"}).status_code == 404
