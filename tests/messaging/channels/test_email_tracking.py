"""Mail providers' webhooks: proved by each provider's own means, then read as facts about one delivery."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from feedback import services as feedback
from feedback.events import DeliveryEvent, Status
from feedback.selectors import deliveries
from feedback.updates import check
from messaging.callback_urls import callback_address
from messaging.channels import channel
from messaging.channels.base import BadSignature, Callback
from messaging.esps import ESPS
from messaging.mail_reference import reference_to, to_metadata
from sprayer_project.errors import Invalid
from subscriptions import documents, selectors
from subscriptions import services as subscriptions
from subscriptions.addresses import address_hash
from subscriptions.inputs import AddressInput
from tenants.services import set_channel_config
from tests.conftest import TenantUnderTest
from tests.messaging.sending import outgoing, recipient
from tests.messaging.webhooks import AT, PROVIDERS, RECIPIENT, posted, secret_of

MESSAGE = outgoing(mode="live")
TARGET = replace(recipient(channel("email"), MESSAGE, "alice", RECIPIENT), round=2)
OURS = to_metadata(reference_to(MESSAGE, TARGET))
EXPECTED: Mapping[str, tuple[Status, str, str]] = {
    "delivered": (Status.DELIVERED, "", ""),
    "hard": (Status.BOUNCED, "", "bounced"),
    "soft": (Status.BOUNCED, "", "soft_bounce"),
    "delayed": (Status.SENT, "delayed", ""),
    "opened": (Status.DELIVERED, "opened", ""),
    "clicked": (Status.DELIVERED, "clicked", ""),
    "complained": (Status.DELIVERED, "complained", ""),
    "unsubscribed": (Status.SENT, "unsubscribed", ""),
    "blocked": (Status.FAILED, "", "blocked"),
    "bounced before": (Status.BOUNCED, "", "bounced"),
    "complained before": (Status.BOUNCED, "", "complained"),
}
"""What happened -> status, fact and reason of our event."""


def config_of(provider: str) -> dict[str, Any]:
    return {"provider": provider, "from_email": "shop@example.com", "webhook_secret": secret_of(provider)}


def callback(
    provider: str, happened: str = "delivered", metadata: Mapping[str, str] = OURS, tenant: str = "acme", **proof: str
) -> Callback:
    url = callback_address(tenant, channel("email"), provider)
    call = posted(provider, happened, dict(metadata), url, **proof)
    return Callback(
        tenant=tenant, provider=provider, method="POST", url=url, query={}, headers=call.headers, body=call.body
    )


def events(call: Callback) -> list[DeliveryEvent]:
    return channel("email").parse_events(call, config_of(call.provider))


def test_every_provider_with_an_api_can_report() -> None:
    assert set(channel("email").providers) == set(ESPS) == set(PROVIDERS)


@pytest.mark.parametrize(
    ("provider", "happened"), [(name, happened) for name, found in PROVIDERS.items() for happened in found.words]
)
def test_what_a_provider_reports_becomes_a_fact(provider: str, happened: str) -> None:
    (event,) = events(callback(provider, happened))
    assert (event.status, event.fact, event.reason) == EXPECTED[happened]
    assert (event.tenant, event.mode, event.channel, event.at) == ("acme", "live", "email", AT)
    assert (event.provider, event.address_hash) == (provider, TARGET.address_hash)
    if ESPS[provider].keeps_metadata:
        assert (event.message, event.delivery, event.round) == (MESSAGE.id, TARGET.delivery, 2)
    else:
        assert (event.message, event.delivery, event.provider_id) == ("", "", "m-1")
    assert RECIPIENT not in json.dumps(event.to_json())


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_webhook_that_another_secret_proves_is_refused(provider: str) -> None:
    happened = next(iter(PROVIDERS[provider].words))
    forged = callback(provider, happened, key="whsec_b3RoZXIgb3RoZXIgb3RoZXIgb3RoZXIgb3RoZXI=", basic="sprayer:guess")
    with pytest.raises(BadSignature):
        events(forged)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_without_a_secret_nothing_is_believed(provider: str) -> None:
    happened = next(iter(PROVIDERS[provider].words))
    with pytest.raises(BadSignature):
        channel("email").parse_events(callback(provider, happened), config_of(provider) | {"webhook_secret": ""})


def test_only_the_configured_provider_is_believed() -> None:
    with pytest.raises(BadSignature):
        channel("email").parse_events(callback("postmark"), config_of("brevo"))


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b'{"signature": {}}', b'{"signature": {"token": 1}}', b"null"])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_garbage_is_refused_whoever_it_claims_to_be_from(provider: str, body: bytes) -> None:
    happened = next(iter(PROVIDERS[provider].words))
    with pytest.raises((BadSignature, Invalid)):
        events(replace(callback(provider, happened), headers={"content-type": "application/json"}, body=body))


@pytest.mark.parametrize("body", [b"{}", b"[1]", b'{"RecordType": "Bounce", "Metadata": 3, "BouncedAt": 17}'])
def test_a_proved_webhook_that_cannot_be_read_is_told_so(body: bytes) -> None:
    call = replace(callback("postmark"), body=body)
    if body == b"{}":
        assert events(call) == []
    else:
        with pytest.raises(Invalid):
            events(call)


def test_the_same_webhook_again_is_the_same_fact() -> None:
    first, again = events(callback("mailgun", "opened")), events(callback("mailgun", "opened"))
    assert first[0].event == again[0].event
    assert first[0].event != events(callback("mailgun", "clicked"))[0].event


@pytest.mark.parametrize(
    "changed",
    [
        {"delivery": recipient(channel("email"), MESSAGE, "bob", RECIPIENT).delivery},
        {"round": "3"},
        {"round": "²"},
        {"address": "0" * 32},
        {"mode": "test"},
        {"signature": ""},
        {"signature": "ñ"},
    ],
)
def test_metadata_that_we_did_not_sign_names_no_delivery(changed: dict[str, str]) -> None:
    assert events(callback("mailgun", metadata=OURS | changed)) == []
    (event,) = events(callback("postmark", metadata=OURS | changed))
    assert (event.delivery, event.provider_id) == ("", "m-1")


def test_a_tenant_cannot_name_another_tenants_delivery() -> None:
    assert events(callback("mailgun", tenant="globex")) == []
    (event,) = events(callback("postmark", tenant="globex"))
    assert (event.tenant, event.delivery) == ("globex", "")
    assert event.address_hash == address_hash("globex", "email", RECIPIENT)


def test_mail_that_did_not_come_from_here_is_matched_by_an_id_of_its_own_only() -> None:
    assert events(callback("sparkpost", metadata={"delivery": "17"})) == []
    (event,) = events(callback("mailtrap", metadata={"delivery": "17"}))
    assert (event.delivery, event.provider_id) == ("", "m-1")


def _age(receiver: str) -> None:
    """The address is in use since long before AT."""
    documents.receivers().update_one({"name": receiver}, {"$set": {"addresses.0.active_at": AT - timedelta(days=1)}})


def post(provider: str, happened: str, mode: str = "live") -> Any:
    """The answer to the provider's call over HTTP."""
    message = replace(MESSAGE, mode=mode)
    url = callback_address("acme", channel("email"), provider) + ("?mode=test" if mode == "test" else "")
    call = posted(provider, happened, to_metadata(reference_to(message, TARGET)), url)
    headers = {name: value for name, value in call.headers.items() if name != "content-type"}
    path = url.partition("/api/")[2]
    client = Client(enforce_csrf_checks=True)
    return client.post(f"/api/{path}", call.body, content_type=call.headers["content-type"], headers=headers)


@pytest.mark.services
@pytest.mark.parametrize(
    ("happened", "reason"),
    [
        ("hard", "bounced"),
        ("complained", "complained"),
        ("unsubscribed", "opted_out"),
        ("soft", None),
        ("delayed", None),
        ("opened", None),
    ],
)
@pytest.mark.parametrize("provider", ["mailgun", "postmark"])
def test_bounces_for_good_and_complaints_retire_the_address(
    acme: TenantUnderTest, provider: str, happened: str, reason: str | None
) -> None:
    # The provider's clock says that the address was in use already.
    set_channel_config("acme", "email", config_of(provider), by=acme.owner)
    subscriptions.put_receiver("acme", "alice", [AddressInput("email", RECIPIENT)])
    _age("alice")
    assert post(provider, happened).status_code == 200
    (kept,) = selectors.receiver("acme", "alice").addresses
    assert (kept.status, kept.reason) == (("retired", reason) if reason else ("active", None))
    subscriptions.put_receiver("acme", "alice", [AddressInput("email", RECIPIENT)], {"vip": True})
    (kept,) = selectors.receiver("acme", "alice").addresses
    lasting = reason in ("complained", "opted_out")
    assert kept.status == ("retired" if lasting else "active"), "a person's own word holds, a mailbox may come back"


@pytest.mark.services
def test_a_provider_that_gives_nothing_back_is_matched_by_its_id(acme: TenantUnderTest) -> None:
    subscriptions.put_receiver("acme", "alice", [AddressInput("email", RECIPIENT)])
    _age("alice")
    set_channel_config("acme", "email", config_of("mailersend"), by=acme.owner)
    reference = reference_to(MESSAGE, TARGET)
    at, sent = AT - timedelta(minutes=1), {"channel": "email", "status": Status.SENT, "event": "evt_1"}
    feedback.write([check(reference.event(at=at, provider="mailersend", provider_id="m-1", **sent))])
    for happened in ("opened", "hard"):
        feedback.write([check(event) for event in events(callback("mailersend", happened))])
    row = deliveries("acme", "live", MESSAGE.id).data[0]
    assert (row.status, row.reason, row.times["opened"], row.round) == (Status.BOUNCED, "bounced", AT, 2)
    assert post("mailersend", "hard").status_code == 200
    (kept,) = selectors.receiver("acme", "alice").addresses
    assert (kept.status, kept.reason) == ("retired", "bounced")


@pytest.mark.services
def test_a_test_webhook_retires_nobody(acme: TenantUnderTest, settings: Settings) -> None:
    subscriptions.put_receiver("acme", "alice", [AddressInput("email", RECIPIENT)])
    _age("alice")
    # Proved with the tenant's secret: the sandbox's is another.
    set_channel_config("acme", "email", config_of("mailgun"), by=acme.owner)
    assert post("mailgun", "hard", mode="test").status_code == 403
    assert [address.status for address in selectors.receiver("acme", "alice").addresses] == ["active"]


def test_a_provider_may_ask_first_whether_anybody_is_there(acme: TenantUnderTest) -> None:
    assert Client().head("/api/v1/callbacks/acme/email/mandrill").status_code == 200
    assert Client().head("/api/v1/callbacks/acme/email/pigeon").status_code == 404
