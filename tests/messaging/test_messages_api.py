"""POST /messages and its neighbours: what is refused, what is kept, whose it is."""

import json
from typing import Any

import pytest
from django.test import Client

from messaging import lanes
from messaging.documents import Message
from sprayer_project import amqp
from subscriptions import services as subscriptions
from subscriptions.inputs import AddressInput
from tenants.services import create_api_key, revoke_api_key, set_channel_config
from tests.conftest import TenantUnderTest
from tests.live import wait_for

pytestmark = [pytest.mark.services, pytest.mark.django_db]

BODY = {"to": {"receivers": ["alice"]}, "channels": ["sms"], "content": {"title": "Hello"}}


@pytest.fixture
def alice(acme: TenantUnderTest) -> TenantUnderTest:
    """acme with sms and http enabled, and alice, who has a number."""
    for channel in ("sms", "http", "websocket"):
        set_channel_config(acme.slug, channel, {"secret": "x"})
    subscriptions.put_receiver("acme", "alice", addresses=[AddressInput("sms", "+12025550001")])
    subscriptions.put_group("acme", "news")
    subscriptions.subscribe("acme", "news", "alice", None)
    return acme


def post(client: Client, tenant: TenantUnderTest, body: Any, key: str | None = None, **headers: str) -> Any:
    raw = body if isinstance(body, str) else json.dumps(body)
    sent = tenant.headers(key) | headers
    return client.post("/api/v1/messages", raw, content_type="application/json", headers=sent)


def stored() -> int:
    return Message._get_collection().count_documents({})


def test_a_message_is_journalled_and_its_job_is_with_the_broker(client: Client, alice: TenantUnderTest) -> None:
    answer = post(client, alice, BODY)
    assert answer.status_code == 202, answer.content
    body = answer.json()
    assert body["status"] == "accepted" and body["channels"] == ["sms"]
    assert answer["Location"] == f"/api/v1/messages/{body['id']}"
    assert amqp.depth(amqp.job_queue("sms", "single")) == 1
    record = Message._get_collection().find_one({"_id": body["id"]})
    assert record is not None and record["tenant"] == "acme" and record["mode"] == "live"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ("{", ""),
        ("[]", ""),
        ('{"to": {"receivers": ["alice"]}, "content": {"data": NaN}}', ""),
        ('{"to": {"receivers": ["alice"]}, "content": {}, "attributes": {"a": 1e999}}', ""),
        ('{"to": {"receivers": ["alice"]}, "content": {}, "overrides": {"ios": {"payload": {"a": -1e999}}}}', ""),
        (BODY | {"colour": "red"}, "/colour"),
        (BODY | {"to": {}}, "/to"),
        (BODY | {"to": {"receivers": "alice"}}, "/to/receivers"),
        (BODY | {"to": {"receivers": [7]}}, "/to/receivers/0"),
        (BODY | {"to": {"receivers": ["a\u0000b"]}}, "/to/receivers/0"),
        (BODY | {"to": {"receivers": ["x" * 257]}}, "/to/receivers/0"),
        (BODY | {"to": {"receivers": ["alice", "nobody"]}}, "/to/receivers/1"),
        (BODY | {"to": {"groups": ["news", "none"]}}, "/to/groups/1"),
        (BODY | {"to": {"receivers": [f"r{n}" for n in range(1001)]}}, "/to/receivers"),
        (BODY | {"to": {"addresses": [{"channel": "sms", "address": "12"}]}}, "/to/addresses/0/address"),
        (BODY | {"to": {"addresses": [{"channel": "pigeon", "address": "12"}]}}, "/to/addresses/0/channel"),
        (
            BODY | {"to": {"addresses": [{"channel": "http", "address": "http://x.example/"}]}},
            "/to/addresses/0/channel",
        ),
        (
            {"to": {"addresses": [{"channel": "http", "address": "ftp://x.example/"}]}, "content": {}},
            "/to/addresses/0/address",
        ),
        (
            {"to": {"addresses": [{"channel": "email", "address": "no mailbox"}]}, "content": {}},
            "/to/addresses/0/address",
        ),
        (BODY | {"channels": ["pigeon"]}, "/channels/0"),
        (BODY | {"channels": ["email"]}, "/channels/0"),
        (BODY | {"channels": []}, "/channels"),
        (BODY | {"content": "Hello"}, "/content"),
        (BODY | {"content": {"text": "Hello"}}, "/content/text"),
        (BODY | {"overrides": {"pigeon": {}}}, "/overrides/pigeon"),
        (BODY | {"overrides": {"email": {"colour": "red"}}}, "/overrides/email/colour"),
        (BODY | {"ttl": 0}, "/ttl"),
        (BODY | {"ttl": "60"}, "/ttl"),
        (BODY | {"ttl": True}, "/ttl"),
        (BODY | {"send_at": "tomorrow"}, "/send_at"),
        (BODY | {"priority": "urgent"}, "/priority"),
        (BODY | {"metadata": {"a": 1}}, "/metadata/a"),
        (BODY | {"attributes": {"a": []}}, "/attributes/a"),
        (BODY | {"collapse_key": "x" * 65}, "/collapse_key"),
    ],
)
def test_bad_input_is_refused_with_a_pointer_and_stores_nothing(
    client: Client, alice: TenantUnderTest, body: Any, pointer: str
) -> None:
    answer = post(client, alice, body)
    problem = answer.json()
    assert answer.status_code == 400, problem
    assert answer["Content-Type"] == "application/problem+json"
    assert problem["code"] and problem["detail"]
    assert pointer in [error["pointer"] for error in problem["errors"]], problem
    assert stored() == 0
    assert amqp.depth(amqp.job_queue("sms", "single")) == 0


def test_a_message_over_256_kilobytes_is_too_large(client: Client, alice: TenantUnderTest) -> None:
    answer = post(client, alice, BODY | {"content": {"body": "x" * 262_144}})
    assert (answer.status_code, answer.json()["code"]) == (413, "message_too_large")
    assert stored() == 0


def test_another_content_type_is_refused(client: Client, alice: TenantUnderTest) -> None:
    answer = client.post("/api/v1/messages", "a=b", content_type="text/plain", headers=alice.headers())
    assert answer.status_code == 415


def test_a_key_without_the_scope_cannot_send(client: Client, alice: TenantUnderTest) -> None:
    _, reader = create_api_key("acme", "live", ["messages:read"])
    answer = post(client, alice, BODY, key=reader)
    assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")
    assert stored() == 0


def test_a_revoked_key_cannot_send(client: Client, alice: TenantUnderTest) -> None:
    key, plain = create_api_key("acme", "live", ["messages:send"])
    assert post(client, alice, BODY, key=plain).status_code == 202
    revoke_api_key("acme", key.id)
    refused = wait_for(
        lambda: (a := post(client, alice, BODY, key=plain)).status_code == 401 and a, 1.5, "401", patience=1
    )
    assert refused.json()["code"] == "revoked_key"


def test_the_same_idempotency_key_and_body_make_one_message(client: Client, alice: TenantUnderTest) -> None:
    first = post(client, alice, BODY, **{"Idempotency-Key": "order-17"})
    again = post(client, alice, BODY, **{"Idempotency-Key": "order-17"})
    assert first.json() == again.json()
    assert (again.status_code, again["Idempotency-Replayed"]) == (202, "true")
    assert "Idempotency-Replayed" not in first
    assert stored() == 1


def test_the_same_idempotency_key_with_another_body_is_refused(client: Client, alice: TenantUnderTest) -> None:
    post(client, alice, BODY, **{"Idempotency-Key": "order-17"})
    answer = post(client, alice, BODY | {"content": {"title": "Bye"}}, **{"Idempotency-Key": "order-17"})
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert stored() == 1


def test_a_refused_request_leaves_its_idempotency_key_free(client: Client, alice: TenantUnderTest) -> None:
    key = {"Idempotency-Key": "order-17"}
    assert post(client, alice, BODY | {"ttl": 0}, **key).status_code == 400
    assert post(client, alice, BODY, **key).status_code == 202


def test_idempotency_keys_of_modes_and_tenants_are_apart(
    client: Client, alice: TenantUnderTest, globex: TenantUnderTest
) -> None:
    set_channel_config("globex", "sms", {"secret": "x"})
    subscriptions.put_receiver("globex", "alice", addresses=[AddressInput("sms", "+12025550002")])
    key = {"Idempotency-Key": "order-17"}
    answers = [post(client, alice, BODY, **key), post(client, alice, BODY, key=alice.test_key, **key)]
    answers.append(post(client, globex, BODY, **key))
    assert [answer.status_code for answer in answers] == [202, 202, 202]
    assert len({answer.json()["id"] for answer in answers}) == 3


def test_a_key_is_free_again_after_24_hours(client: Client, alice: TenantUnderTest) -> None:
    first = post(client, alice, BODY, **{"Idempotency-Key": "order-17"}).json()["id"]
    record = Message._get_collection().find_one({"_id": first})
    assert record is not None
    past = record["created_at"].replace(year=record["created_at"].year - 1)
    Message._get_collection().update_one({"_id": first}, {"$set": {"key_expires_at": past}})
    second = post(client, alice, BODY, **{"Idempotency-Key": "order-17"})
    assert second.status_code == 202 and second.json()["id"] != first


def test_channels_default_to_what_each_target_has(client: Client, alice: TenantUnderTest) -> None:
    subscriptions.put_receiver("acme", "bob", addresses=[])
    answer = post(client, alice, {"to": {"receivers": ["alice", "bob"]}, "content": {"title": "Hello"}})
    assert answer.json()["channels"] == ["sms", "websocket"]
    record = Message._get_collection().find_one({"_id": answer.json()["id"]})
    assert record is not None and record["targets"] == {"sms": ["alice"], "websocket": ["alice", "bob"]}


def test_an_empty_group_is_accepted_with_zero_totals(client: Client, alice: TenantUnderTest) -> None:
    subscriptions.put_group("acme", "nobody")
    answer = post(client, alice, BODY | {"to": {"groups": ["nobody"]}})
    assert answer.status_code == 202
    found = client.get(answer["Location"], headers=alice.headers()).json()
    assert found["totals"]["total"] == 0


def test_a_batch_answers_item_by_item(client: Client, alice: TenantUnderTest) -> None:
    items = [
        BODY | {"idempotency_key": "a"},
        BODY | {"ttl": 0},
        BODY | {"idempotency_key": "a"},
        BODY | {"idempotency_key": "a", "ttl": 60},
    ]
    raw = json.dumps({"messages": items})
    answer = client.post("/api/v1/messages/batch", raw, content_type="application/json", headers=alice.headers())
    results = answer.json()["data"]
    assert [item["status"] for item in results] == [202, 400, 202, 422]
    assert results[0]["message"] == results[2]["message"]
    assert stored() == 1


def post_batch(client: Client, tenant: TenantUnderTest, items: list[Any]) -> list[Any]:
    raw = json.dumps({"messages": items})
    answer = client.post("/api/v1/messages/batch", raw, content_type="application/json", headers=tenant.headers())
    assert answer.status_code == 200, answer.content
    return list(answer.json()["data"])


def test_each_item_of_a_batch_is_judged_by_itself(client: Client, alice: TenantUnderTest) -> None:
    (earlier,) = post_batch(client, alice, [BODY | {"idempotency_key": "before"}])
    results = post_batch(
        client,
        alice,
        [
            BODY,
            BODY | {"to": {"receivers": ["alice", "nobody"]}},
            BODY | {"idempotency_key": "before"},
            BODY | {"idempotency_key": "before", "content": {"title": "Other"}},
            BODY | {"idempotency_key": ""},
            BODY | {"channels": ["email"]},
            BODY | {"content": {"body": "x" * 262_144}},
            BODY | {"send_at": "2027-11-01T09:00:00Z", "idempotency_key": "later"},
            {"to": {"groups": ["news", "none"]}, "content": {}},
            {"to": {"groups": ["news"]}, "content": {}},
        ],
    )
    codes = [item["problem"]["code"] if "problem" in item else item["message"]["status"] for item in results]
    refused = ["idempotency_key_reused", "invalid_idempotency_key", "channel_not_enabled", "message_too_large"]
    assert codes == ["accepted", "unknown_target", "accepted", *refused, "scheduled", "unknown_target", "accepted"]
    assert results[1]["problem"]["errors"][0]["pointer"] == "/to/receivers/1"
    assert results[8]["problem"]["errors"][0]["pointer"] == "/to/groups/1"
    assert results[2]["replayed"] and results[2]["message"] == earlier["message"]
    assert "sms" in results[9]["message"]["channels"]
    assert stored() == 4
    assert amqp.depth(amqp.job_queue("sms", "single")) == 2
    assert amqp.depth(amqp.job_queue("sms", "bulk")) == 1


def test_the_messages_of_a_batch_count_towards_the_tenants_share_of_the_single_lane(
    client: Client, alice: TenantUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "SINGLE_SHARE", 3)
    assert {item["status"] for item in post_batch(client, alice, [BODY] * 5)} == {202}
    assert amqp.depth(amqp.job_queue("sms", "single")) == 3
    assert amqp.depth(amqp.job_queue("sms", "surplus")) == 2


def test_strangers_and_the_other_mode_see_nothing(
    client: Client, alice: TenantUnderTest, globex: TenantUnderTest
) -> None:
    where = post(client, alice, BODY)["Location"]
    for headers in (globex.headers(), alice.headers(alice.test_key)):
        for path in (where, f"{where}/deliveries"):
            assert client.get(path, headers=headers).status_code == 404
        assert client.post(f"{where}/cancel", headers=headers).status_code == 404
        assert client.get("/api/v1/messages", headers=headers).json()["data"] == []


def test_messages_are_listed_newest_first_in_pages(client: Client, alice: TenantUnderTest) -> None:
    ids = [post(client, alice, BODY).json()["id"] for _ in range(5)]
    seen: list[str] = []
    cursor = ""
    while True:
        page = client.get(f"/api/v1/messages?limit=2&cursor={cursor}", headers=alice.headers()).json()
        seen += [row["id"] for row in page["data"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert seen == sorted(ids, reverse=True)


@pytest.mark.parametrize("query", ["status=lost", "channel=pigeon", "since=yesterday", "cursor=%21", "limit=0"])
def test_a_bad_filter_is_refused(client: Client, alice: TenantUnderTest, query: str) -> None:
    answer = client.get(f"/api/v1/messages?{query}", headers=alice.headers())
    assert answer.status_code == 400 and answer.json()["code"]


def test_a_plain_address_is_shown_masked(client: Client, alice: TenantUnderTest) -> None:
    to = {"addresses": [{"channel": "sms", "address": "+12025550123"}]}
    answer = post(client, alice, {"to": to, "content": {"title": "Hello"}})
    assert answer.status_code == 202
    shown = client.get(answer["Location"], headers=alice.headers()).content.decode()
    assert "+12025550123" not in shown and "*" in shown


def test_a_scheduled_message_waits_and_can_be_cancelled(client: Client, alice: TenantUnderTest) -> None:
    answer = post(client, alice, BODY | {"send_at": "2027-11-01T09:00:00Z"})
    assert answer.json()["status"] == "scheduled"
    assert amqp.depth(amqp.job_queue("sms", "single")) == 0
    cancelled = client.post(f"{answer['Location']}/cancel", headers=alice.headers())
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")


def test_retrying_an_unknown_delivery_is_not_found(client: Client, alice: TenantUnderTest) -> None:
    assert client.post("/api/v1/deliveries/dlv_none/retry", headers=alice.headers()).status_code == 404


@pytest.mark.parametrize(
    "data",
    [
        '"\\ud800"',
        "99999999999999999999",
        '{"a\\u0000b": 1}',
        "[" * 150 + "]" * 150,
        '{"$set": {"a.b": 1}, "": 2}',
        "1e400",
        "1.5e300",
    ],
)
def test_no_json_value_is_a_server_error(client: Client, alice: TenantUnderTest, data: str) -> None:
    raw = '{"to": {"receivers": ["alice"]}, "channels": ["sms"], "content": {"data": ' + data + "}}"
    answer = post(client, alice, raw)
    assert answer.status_code in (202, 400), answer.content
    assert stored() == (answer.status_code == 202)
    if data.startswith("[["):
        assert answer.status_code == 400
    if answer.status_code == 202:
        found = client.get(answer["Location"], headers=alice.headers())
        assert found.json()["content"]["data"] == json.loads(data)
