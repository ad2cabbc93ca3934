"""A tenant's key on every path of the OpenAPI document, with another tenant's ids."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from django.test import Client
from drf_spectacular.generators import SchemaGenerator

from feedback import services as feedback
from feedback import webhooks
from feedback.events import DeliveryEvent, Status, delivery_id
from feedback.webhooks import Actor
from messaging import services
from sprayer_project import amqp, mongo, redis
from subscriptions import services as subscriptions
from subscriptions import suppressions
from subscriptions.addresses import address_hash
from subscriptions.inputs import AddressInput
from tenants import activity
from tests.conftest import TenantUnderTest
from tests.live import LiveSystem
from tests.resilience import sink

SECRET = "only-for-acme"
SUPPRESSED = "https://hooks.acme.example/suppressed"
"""Stands in everything that acme has."""
RECEIVER, GROUP = f"alice-{SECRET}", f"news-{SECRET}"
TO_ACME = {"to": {"receivers": [RECEIVER]}, "channels": ["http"], "content": {"title": "Mine"}}
BODIES: dict[str, Any] = {
    "GroupInputRequest": {"name": "Mine"},
    "InboxPlace": {"epoch": "0", "offset": "0"},
    "MessageRequest": TO_ACME,
    "MessageBatchRequest": {"messages": [TO_ACME]},
    "PatchedReceiverPatchRequest": {"locale": "es"},
    "PatchedWebhookPatchRequest": {"enabled": False},
    "ReceiverBatchRequest": {"receivers": [{"receiver": RECEIVER, "locale": "es"}]},
    "ReceiverInputRequest": {"locale": "es"},
    "SubscriptionBatchRequest": {"subscriptions": [{"receiver": RECEIVER}]},
    "SubscriptionInputRequest": {},
    "SuppressionInputRequest": {},
    "RotationRequest": {},
    "TokenRequest": {},
    "WebhookInputRequest": {"url": "https://hooks.example/mine"},
}
"""A good body for each request schema: what answers 404 must not have been refused for its body."""
QUERIES = {
    "/api/v1/messages/{message}/explain": f"?receiver={RECEIVER}",
    "/api/v1/deliveries/export": "?format=ndjson&since=2026-01-01T00:00:00Z",
}
"""What must be asked, by path."""
OWN_NAMES = {
    ("PUT", "/api/v1/receivers/{receiver}"),
    ("DELETE", "/api/v1/receivers/{receiver}"),
    ("POST", "/api/v1/receivers/{receiver}/erase"),
    ("PUT", "/api/v1/groups/{group}"),
    ("DELETE", "/api/v1/groups/{group}"),
    ("DELETE", "/api/v1/groups/{group}/subscriptions/{receiver}"),
    ("PUT", "/api/v1/suppressions/{channel}/{address}"),
    ("DELETE", "/api/v1/suppressions/{channel}/{address}"),
}
"""Names are each tenant's own: these concern the caller's receiver or group of that name, which need not exist."""

ENDLESS = {"/api/v1/events"}
"""Streams have no end to wait for: their own tests try them with a stranger's key."""


@dataclass(frozen=True, slots=True)
class Operation:
    method: str
    path: str
    parameters: tuple[str, ...]
    schema: str
    for_receivers: bool
    """Whether it takes a receiver's token instead of a tenant's key."""

    @property
    def names_something(self) -> bool:
        """Whether it is about something that must exist."""
        return bool(set(self.parameters) - {"channel"}) and (self.method, self.path) not in OWN_NAMES

    @property
    def body(self) -> str:
        return json.dumps(BODIES[self.schema]) if self.schema else ""

    def send(self, client: Client, ids: dict[str, str], headers: dict[str, str]) -> Any:
        path = self.path + QUERIES.get(self.path, "")
        for name in self.parameters:
            path = path.replace(f"{{{name}}}", quote(ids[name], safe=""))
        return client.generic(self.method, path, self.body, content_type="application/json", headers=headers)


@pytest.fixture
def acmes(live_system: LiveSystem, acme: TenantUnderTest) -> dict[str, str]:
    """What acme has, by the names that the document gives to path parameters."""
    live_system.start("sandbox")
    sink.prepare("acme", "orders")
    url = sink.address(SECRET)
    subscriptions.put_receiver("acme", RECEIVER, [AddressInput("http", url)], attributes={"note": SECRET})
    subscriptions.put_group("acme", GROUP)
    subscriptions.subscribe("acme", GROUP, RECEIVER, None)
    body = {"to": {"receivers": [RECEIVER]}, "channels": ["http"], "content": {"title": SECRET}}
    message = services.accept("acme", "live", body).id
    hashed = address_hash("acme", "http", url)
    failed = DeliveryEvent(
        tenant="acme",
        mode="live",
        message=message,
        delivery=delivery_id(message, RECEIVER, "http", hashed),
        receiver=RECEIVER,
        channel="http",
        status=Status.FAILED,
        at=_now(),
        attempt=1,
        address_hash=hashed,
        reason=SECRET,
        dead=True,
    )
    feedback.write([failed])
    httpx.post(url, headers={"Sprayer-Tenant": "acme"}, content=SECRET).raise_for_status()
    webhook, _ = webhooks.create("acme", "live", url, ["delivery.*"], Actor())
    names = {"message": message, "delivery": failed.delivery, "webhook": webhook.id}
    suppressions.put("acme", suppressions.clean("acme", "http", SUPPRESSED), "bounced")
    return names | {"receiver": RECEIVER, "group": GROUP, "channel": "http", "address": SUPPRESSED}


@pytest.mark.services
@pytest.mark.parametrize("mode", ["live", "test"])
def test_another_tenants_key_finds_and_changes_nothing_on_any_path_of_the_document(
    mode: str, acmes: dict[str, str], globex: TenantUnderTest, client: Client
) -> None:
    headers = globex.headers(globex.test_key if mode == "test" else None)
    before = list(_everything_of("acme"))
    operations = [operation for operation in _operations() if not operation.for_receivers]
    assert len(operations) >= 25
    for operation in sorted(operations, key=_late):
        answer = operation.send(client, acmes, headers)
        said = _said(answer)
        where = f"{operation.method} {operation.path}: {answer.status_code} {said[:300]}"
        assert SECRET not in _without_names(said), where
        if operation.names_something:
            assert answer.status_code == 404, where
        elif operation.method == "GET" and answer.status_code != 403:
            assert answer.status_code == 200 and (not said or json.loads(said)["data"] == []), where
        assert answer.status_code < 500, where
    assert list(_everything_of("acme")) == before


@pytest.mark.services
def test_a_tenants_key_opens_no_receivers_inbox(live_system: LiveSystem, acme: TenantUnderTest) -> None:
    live_system.start("web")
    operations = [operation for operation in _operations() if operation.for_receivers]
    assert len(operations) >= 4
    with httpx.Client(base_url=str(live_system["web"].url), headers=acme.headers()) as http:
        for operation in operations:
            answer = http.request(operation.method, operation.path, content=operation.body)
            assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token"), operation


@pytest.mark.services
def test_a_test_key_finds_no_live_message_delivery_or_webhook_on_any_path_of_the_document(
    acmes: dict[str, str], acme: TenantUnderTest, client: Client
) -> None:
    before = list(_everything_but_the_log_of_requests())
    names = {"message", "delivery", "webhook"}
    found = [operation for operation in _operations() if names & set(operation.parameters)]
    assert len(found) >= 10
    for operation in found:
        answer = operation.send(client, acmes, acme.headers(acme.test_key))
        assert answer.status_code == 404, f"{operation}: {answer.status_code}"
    assert list(_everything_but_the_log_of_requests()) == before


def test_every_path_parameter_and_request_body_of_the_document_is_known_here() -> None:
    for operation in _operations():
        known = {"receiver", "group", "message", "address", "delivery", "channel", "webhook"}
        assert set(operation.parameters) <= known, operation
        assert not operation.schema or operation.schema in BODIES, operation


def _operations() -> Iterator[Operation]:
    document = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    for path in sorted(document["paths"].keys() - ENDLESS):
        for method, operation in document["paths"][path].items():
            parameters = [item["name"] for item in operation.get("parameters", ()) if item["in"] == "path"]
            content = operation.get("requestBody", {}).get("content", {})
            schema = content["application/json"]["schema"]["$ref"].rpartition("/")[2] if content else ""
            for_receivers = any("receiverToken" in scheme for scheme in operation.get("security", ()))
            yield Operation(method.upper(), path, tuple(parameters), schema, for_receivers)


def _late(operation: Operation) -> int:
    """What may give the caller a receiver or group of its own comes last."""
    return 0 if operation.names_something else 1 if operation.method == "GET" else 2


def _everything_of(tenant: str) -> Iterator[Any]:
    """What the stores hold of a tenant: documents, Redis keys with their values, webhooks, jobs."""
    assert activity.flush()
    database = mongo.database()
    for name in sorted(database.list_collection_names()):
        yield from database[name].find({"tenant": tenant}).sort("_id")
    yield from webhooks.of_tenant(tenant).values()
    shard: Any = redis.client(tenant)
    for key in sorted(shard.scan_iter(match=redis.key(tenant, "*"))):
        yield key, _value(shard, key)
    for lane in amqp.LANES:
        yield amqp.depth(amqp.job_queue("http", lane))


def _everything_but_the_log_of_requests() -> Iterator[Any]:
    """acme's own requests are noted there."""
    log = activity.requests_of("acme").keys
    return (found for found in _everything_of("acme") if not (isinstance(found, tuple) and found[0] in log))


def _value(shard: Any, key: str) -> Any:
    kind = shard.type(key)
    if kind == "string":
        return shard.get(key)
    if kind == "hash":
        return sorted(shard.hgetall(key).items())
    if kind == "set":
        return sorted(shard.smembers(key))
    if kind == "zset":
        return shard.zrange(key, 0, -1, withscores=True)
    if kind == "stream":
        return shard.xrange(key)
    raise AssertionError(f"a key of another kind: {key} is a {kind}")


def _said(answer: Any) -> str:
    """A stream's text, too."""
    text: bytes = b"".join(answer.streaming_content) if answer.streaming else answer.content
    return text.decode()


def _without_names(text: str) -> str:
    """The names that the caller asked for may be said back."""
    return text.replace(RECEIVER, "").replace(GROUP, "")


def _now() -> datetime:
    return datetime.now(UTC)
