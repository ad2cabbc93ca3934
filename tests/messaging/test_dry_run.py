"""A dry run says what a submission would, and leaves nothing behind."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client

from messaging.channels import registry
from messaging.channels.base import DeliveryError
from messaging.documents import Message
from sprayer_project import amqp, redis
from subscriptions import services as subscriptions
from subscriptions.addresses import address_hash
from subscriptions.inputs import AddressInput
from tenants.models import Tenant
from tenants.selectors import forget
from tenants.services import note_credentials, set_channel_config
from tests.conftest import TenantUnderTest
from tests.messaging.sending import outgoing

NUMBER = "+12025550001"
BODY = {"to": {"receivers": ["alice"]}, "channels": ["sms"], "content": {"title": "Hello"}}


@pytest.fixture
def alice(acme: TenantUnderTest, clean_stores: None) -> TenantUnderTest:
    for channel in ("sms", "websocket"):
        set_channel_config("acme", channel, {})
    subscriptions.put_receiver("acme", "alice", [AddressInput("sms", NUMBER)])
    return acme


def post(tenant: TenantUnderTest, body: Mapping[str, Any], query: str = "?dry_run=true", **headers: str) -> Any:
    path, sent = f"/api/v1/messages{query}", tenant.headers() | headers
    return Client().post(path, json.dumps(body), content_type="application/json", headers=sent)


def ran(tenant: TenantUnderTest, body: Mapping[str, Any]) -> dict[str, Any]:
    answer = post(tenant, body)
    assert answer.status_code == 200, answer.content
    return dict(answer.json())


def test_it_tells_and_keeps_nothing(alice: TenantUnderTest) -> None:
    redis.shard(redis.shard_of("acme")).flushall()
    found = ran(alice, BODY)
    assert found["dry_run"] is True and found["status"] == "accepted" and found["channels"] == ["sms"]
    assert found["contents"] == [
        {"channel": "sms", "preview": {"characters": 5, "encoding": "GSM-7", "segments": 1}, "refusal": None}
    ]
    assert found["totals"] == {"sms": {"will_send": 1}}
    (receiver,) = found["receivers"]
    assert receiver["channels"][0]["addresses"][0]["address"] == "+1*****001"
    assert Message._get_collection().count_documents({}) == 0
    assert not amqp.depth(amqp.job_queue("sms", "single"))
    assert not [key for key in redis.client("acme").scan_iter() if ":message" in str(key)]


def test_no_idempotency_key_is_used(alice: TenantUnderTest) -> None:
    key = {"Idempotency-Key": "once"}
    assert post(alice, BODY, **key).status_code == 200
    assert "Idempotency-Replayed" not in post(alice, BODY, "", **key)
    assert post(alice, BODY | {"content": {"title": "Other"}}, **key).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        BODY | {"colour": "red"},
        BODY | {"to": {"receivers": ["alice", "nobody"]}},
        BODY | {"channels": ["email"]},
        BODY | {"content": {"body": "x" * 300_000}},
        BODY | {"to": {"addresses": [{"channel": "sms", "address": "12"}]}},
    ],
)
def test_what_sending_refuses_it_refuses_with_the_same_words(alice: TenantUnderTest, body: dict[str, Any]) -> None:
    dry, sent = post(alice, body), post(alice, body, "")
    assert dry.status_code == sent.status_code >= 400
    assert dry.json() == sent.json()


def test_another_word_than_true_or_false_sends_nothing(alice: TenantUnderTest) -> None:
    assert post(alice, BODY, "?dry_run=yes").json()["errors"][0]["pointer"] == "?dry_run"
    assert post(alice, BODY, "?dry_run=false").status_code == 202
    assert Message._get_collection().count_documents({}) == 1


def test_it_is_counted_by_the_rate_limit(alice: TenantUnderTest) -> None:
    Tenant.objects.filter(slug="acme").update(rate_limit="2/hour")
    forget()
    assert [post(alice, BODY).status_code for _ in range(3)] == [200, 200, 429]


def test_each_receiver_is_told_why_not(alice: TenantUnderTest) -> None:
    for name, number in (("bob", "+12025550002"), ("carl", "+12025550003")):
        subscriptions.put_receiver("acme", name, [AddressInput("sms", number)])
    subscriptions.put_receiver("acme", "dora")
    for number, reason in (("+12025550002", "invalid_address"), ("+12025550003", "opted_out")):
        subscriptions.retire_address("acme", "sms", address_hash("acme", "sms", number), reason, datetime.now(UTC))
    to = {"receivers": ["alice", "bob", "carl", "dora"], "addresses": [{"channel": "sms", "address": "+12025550009"}]}
    found = ran(alice, BODY | {"to": to})
    verdicts = {story["receiver"]: story["channels"][0]["verdict"] for story in found["receivers"]}
    plain = f"addr:{address_hash('acme', 'sms', '+12025550009')}"
    expected = {"alice": "will_send", "bob": "address_retired", "carl": "opted_out", "dora": "no_address"}
    assert verdicts == expected | {plain: "will_send"}
    assert found["totals"]["sms"] == {"address_retired": 1, "no_address": 1, "opted_out": 1, "will_send": 2}


def test_refused_credentials_are_told(alice: TenantUnderTest) -> None:
    config = set_channel_config("acme", "sms", {})
    note_credentials("acme", "sms", config.updated_at, "20003: Authenticate")
    story = ran(alice, BODY)["receivers"][0]["channels"][0]
    assert story["verdict"] == "credentials_refused" and "20003" in story["detail"]


def test_a_text_in_unicode_costs_more_segments(alice: TenantUnderTest) -> None:
    found = ran(alice, BODY | {"content": {"body": "я" * 71}})
    assert found["contents"][0]["preview"] == {"characters": 71, "encoding": "UCS-2", "segments": 2}


def test_a_text_that_says_nothing_would_not_leave(alice: TenantUnderTest) -> None:
    found = ran(alice, BODY | {"content": {"data": {"n": 1}}})
    assert "empty_text" in found["contents"][0]["refusal"]
    assert found["totals"] == {"sms": {"failed": 1}}


def test_groups_are_counted_by_channel_with_a_bounded_sample(alice: TenantUnderTest) -> None:
    subscriptions.put_group("acme", "news")
    for number in range(12):
        subscriptions.put_receiver("acme", f"r{number:02}")
        subscriptions.subscribe("acme", "news", f"r{number:02}", ["websocket"])
    subscriptions.subscribe("acme", "news", "alice", ["sms"])
    redis.shard(redis.shard_of("acme")).flushall()
    found = ran(alice, BODY | {"to": {"groups": ["news"]}, "channels": ["sms", "websocket"]})
    counts = {group["channel"]: group["subscribers"] for group in found["groups"]}
    assert counts == {"sms": 1, "websocket": 12}
    samples = {group["channel"]: [story["receiver"] for story in group["sample"]] for group in found["groups"]}
    assert samples == {"sms": ["alice"], "websocket": [f"r{number:02}" for number in range(10)]}
    assert found["groups"][0]["sample"][0]["channels"][0]["verdict"] == "will_send"


@pytest.mark.parametrize("name", registry())
def test_every_channel_previews_as_it_sends(name: str) -> None:
    found = registry()[name]
    figures = found.preview(outgoing())
    assert figures and json.dumps(figures)
    assert figures.get("payload_bytes", 1) > 0
    small, large = outgoing(), outgoing(content={"title": "Hello", "body": "x" * 900})
    grown = {key for key, value in found.preview(large).items() if value != found.preview(small)[key]}
    assert grown


@pytest.mark.parametrize("name", ["ios", "android", "webpush"])
def test_a_push_that_is_too_large_is_refused_before_it_is_sent(name: str) -> None:
    with pytest.raises(DeliveryError, match="payload_too_large"):
        registry()[name].preview(outgoing(content={"title": "Hello", "body": "x" * 5_000}))
    figures = registry()[name].preview(outgoing())
    assert figures["payload_bytes"] < figures["limit"]


def test_a_mail_shows_subject_and_sizes() -> None:
    own = {"subject": "Two\nlines", "html": "<p>é</p>"}
    figures = registry()["email"].preview(outgoing(content={"body": "Hello"}, overrides=own))
    assert figures == {"subject": "Two lines", "text_bytes": 5, "html_bytes": 9, "attachments": 0}
