"""Each provider's documented outcomes, all the way: the API takes a live message, a dispatcher sends it through the
real adapter to the gateway, and the API tells what became of every delivery and address.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from feedback.events import Status
from messaging.channels import channel
from messaging.sandbox import declared
from messaging.sandbox.browser import browser
from messaging.sandbox.ios import REASON_TOKENS
from messaging.sandbox.server import Sandbox
from tenants.services import set_channel_config
from tests.conftest import TenantUnderTest
from tests.live import wait_for
from tests.messaging.dispatching import dispatching

DELIVERED, SENT, FAILED, DEFERRED = Status.DELIVERED, Status.SENT, Status.FAILED, Status.DEFERRED
HOUR = 3600.0
"""The tenant's delay before a second attempt: what is deferred stays so, unless the provider asks for longer."""


@dataclass(frozen=True, slots=True)
class Row:
    """A magic address as its gateway declares it, and what shall be seen of a delivery to it."""

    magic: str
    status: Status
    reason: str = ""
    retired: bool = False
    """The address is not used again, for that reason."""
    requests: int = 1
    name: str = ""
    """The address itself, where magic is a pattern."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    later: bool = False
    """Its callback says so, which makes no dead letter: the message did leave."""
    alone: bool = False
    """It does something to its connection, which others would share."""

    @property
    def address(self) -> str:
        return self.name or self.magic


TOKEN_OF = {reason: token for token, reason in REASON_TOKENS.items()}


def _ios(reason: str, status: Status, word: str, retired: bool = False, requests: int = 1) -> Row:
    return Row(TOKEN_OF[reason], status, word, retired, requests)


def _android(name: str, *rest: Any, **more: Any) -> Row:
    return Row(f"sandbox-{name}", *rest, **more)


def _sender(number: str, status: Status, word: str) -> Row:
    own = f"+3460001{number[-4:]}"
    return Row(f"from {number}", status, word, name=own, overrides={"sms": {"sender": number}})


def _http(code: int, status: Status, word: str = "", retired: bool = False) -> Row:
    return Row("/status/<code>", status, word, retired, name=f"/status/{code}")


def _push(code: str, status: Status, word: str, retired: bool = False, magic: str = "<status>") -> Row:
    return Row(magic, status, word, retired, name=code)


TABLES: Mapping[str, Sequence[Row]] = {
    "sms": [
        Row("any other", DELIVERED, name="+34600000001"),
        Row("+15005550001", FAILED, "invalid_address", retired=True),
        Row("+15005550002", FAILED, "unroutable"),
        Row("+15005550003", FAILED, "region_not_enabled"),
        Row("+15005550004", Status.SUPPRESSED, "opted_out", retired=True),
        Row("+15005550009", FAILED, "not_mobile", retired=True),
        Row("+15005550010", FAILED, "unverified_address"),
        Row("+15005550011", FAILED, "text_too_long"),
        Row("+15005550101", SENT),
        Row("+15005550102", FAILED, "unreachable", later=True),
        Row("+15005550103", FAILED, "unknown_handset", retired=True, later=True),
        Row("+15005550104", FAILED, "landline", retired=True, later=True),
        Row("+15005550105", FAILED, "filtered", later=True),
        Row("+15005550106", FAILED, "blocked", later=True),
        Row("+15005550107", FAILED, "provider_error", later=True),
        Row("+15005550108", FAILED, "queue_overflow", later=True),
        Row("+15005550109", FAILED, "opted_out", retired=True, later=True),
        Row("+15005550111", DEFERRED, "rate_limited"),
        Row("+15005550112", DEFERRED, "provider_unavailable"),
        Row("+15005550113", DEFERRED, "provider_unavailable"),
        Row("+15005550114", FAILED, "connection_lost"),
        Row("+15005550115", DELIVERED),
        Row("+15005550116", FAILED, "provider_unavailable"),
        _sender("+15005550001", FAILED, "invalid_sender"),
        _sender("+15005550007", FAILED, "invalid_sender"),
        _sender("+15005550008", DEFERRED, "rate_limited"),
    ],
    "ios": [
        Row("any other", SENT, name="aaaaaaaa"),
        _ios("BadCollapseId", FAILED, "provider_refused"),
        _ios("BadDeviceToken", FAILED, "invalid_address", retired=True),
        _ios("BadExpirationDate", FAILED, "provider_refused"),
        _ios("BadMessageId", FAILED, "provider_refused"),
        _ios("BadPriority", FAILED, "provider_refused"),
        _ios("BadTopic", FAILED, "invalid_topic"),
        _ios("DeviceTokenNotForTopic", FAILED, "address_of_other_topic", retired=True),
        _ios("DuplicateHeaders", FAILED, "provider_refused"),
        _ios("IdleTimeout", DEFERRED, "provider_unavailable"),
        _ios("InvalidPushType", FAILED, "provider_refused"),
        _ios("MissingDeviceToken", FAILED, "provider_refused"),
        _ios("MissingTopic", FAILED, "invalid_topic"),
        _ios("PayloadEmpty", FAILED, "provider_refused"),
        _ios("TopicDisallowed", FAILED, "topic_not_allowed"),
        _ios("BadCertificate", FAILED, "credentials_refused"),
        _ios("BadCertificateEnvironment", FAILED, "credentials_refused"),
        _ios("BadEnvironmentKeyIdInToken", FAILED, "credentials_refused"),
        _ios("UnrelatedKeyIdInToken", FAILED, "credentials_refused"),
        _ios("ExpiredProviderToken", DEFERRED, "provider_token_expired", requests=2),
        _ios("Forbidden", FAILED, "provider_refused"),
        _ios("InvalidProviderToken", FAILED, "credentials_refused"),
        _ios("MissingProviderToken", FAILED, "credentials_refused"),
        _ios("BadPath", FAILED, "provider_refused"),
        _ios("MethodNotAllowed", FAILED, "provider_refused"),
        _ios("ExpiredToken", FAILED, "address_expired", retired=True),
        _ios("Unregistered", FAILED, "unregistered", retired=True),
        _ios("PayloadTooLarge", FAILED, "payload_too_large"),
        _ios("TooManyProviderTokenUpdates", DEFERRED, "rate_limited"),
        _ios("TooManyRequests", DEFERRED, "rate_limited"),
        _ios("InternalServerError", DEFERRED, "provider_unavailable"),
        _ios("ServiceUnavailable", DEFERRED, "provider_unavailable"),
        _ios("Shutdown", DEFERRED, "provider_unavailable"),
        Row("deadb002", DEFERRED, "connection_lost", alone=True),
        Row("deadb003", DEFERRED, "provider_unavailable"),
        Row("deadb004", SENT, requests=2),
        Row("deadb005", SENT, alone=True),
        Row("deadb006", DEFERRED, "rate_limited"),
        Row("deadb007", FAILED, "unregistered"),
    ],
    "android": [
        Row("any other", SENT, name="cRabbitHole_0123456789:APA91bWonderland"),
        _android("unregistered", FAILED, "unregistered", retired=True),
        _android("sender-mismatch", FAILED, "sender_mismatch", retired=True),
        _android("invalid-token", FAILED, "invalid_address", retired=True),
        _android("invalid-field", FAILED, "invalid_address", retired=True),
        _android("invalid-argument", FAILED, "provider_refused"),
        _android("quota", DEFERRED, "rate_limited"),
        _android("quota-unspecified", DEFERRED, "rate_limited"),
        _android("unavailable", DEFERRED, "provider_unavailable"),
        _android("unavailable-once", DEFERRED, "provider_unavailable"),
        _android("internal", DEFERRED, "provider_unavailable"),
        _android("unspecified", DEFERRED, "provider_unavailable"),
        _android("deadline", DEFERRED, "timeout"),
        _android("third-party", FAILED, "third_party_auth"),
        _android("unauthenticated", FAILED, "credentials_refused", requests=2),
        _android("expired-once", SENT, requests=2),
        _android("forbidden", FAILED, "credentials_refused"),
        _android("no-project", FAILED, "unknown_project"),
        _android("gateway", DEFERRED, "provider_unavailable"),
        _android("reset", DEFERRED, "connection_lost"),
    ],
    "webpush": [
        Row("any other", SENT, name="ok"),
        _push("400", FAILED, "provider_refused"),
        _push("401", FAILED, "vapid_refused"),
        _push("403", FAILED, "vapid_refused"),
        _push("404", FAILED, "unregistered", retired=True),
        _push("410", FAILED, "unregistered", retired=True),
        _push("413", FAILED, "payload_too_large"),
        _push("429", DEFERRED, "rate_limited", magic="429"),
        _push("500", DEFERRED, "provider_unavailable"),
        _push("503", DEFERRED, "provider_unavailable"),
        _push("503-once", DEFERRED, "provider_unavailable", magic="<status>-once"),
        Row("reset", DEFERRED, "connection_lost"),
    ],
    "http": [
        Row("any other", DELIVERED, name="/anything"),
        _http(200, DELIVERED),
        _http(202, DELIVERED),
        _http(301, FAILED, "redirected"),
        _http(400, FAILED, "endpoint_refused"),
        _http(404, FAILED, "endpoint_refused"),
        _http(408, DEFERRED, "endpoint_unavailable"),
        _http(410, FAILED, "gone", retired=True),
        _http(425, DEFERRED, "endpoint_unavailable"),
        _http(429, DEFERRED, "rate_limited"),
        _http(500, DEFERRED, "endpoint_unavailable"),
        _http(502, DEFERRED, "endpoint_unavailable"),
        _http(504, DEFERRED, "endpoint_unavailable"),
        Row("/retry-after/<seconds>", DEFERRED, "rate_limited", name="/retry-after/7200"),
        Row("/flaky/<n>/<name>", DEFERRED, "endpoint_unavailable", name="/flaky/1/x"),
        Row("/redirect", FAILED, "redirected"),
        Row("/reset", DEFERRED, "connection_lost"),
        Row("/count", DELIVERED, requests=0),
    ],
}


@dataclass(frozen=True, slots=True)
class Form:
    """How a channel's addresses are written, and read in its gateway's arrivals."""

    address: Callable[[Row], Any]
    seen: Callable[[Mapping[str, Any]], str]


FORMS: Mapping[str, Form] = {
    "sms": Form(lambda row: row.address, lambda arrival: arrival["to"]),
    "ios": Form(lambda row: row.address.ljust(64, "5"), lambda arrival: arrival["token"][:8]),
    "android": Form(lambda row: row.address, lambda arrival: arrival["message"]["token"]),
    "webpush": Form(lambda row: browser(row.address).subscription, lambda arrival: arrival["subscription"]),
    "http": Form(
        lambda row: f"{settings.SANDBOX_URL}/http{row.address}", lambda arrival: arrival["path"].removeprefix("/http")
    ),
}


class Api:
    """The tenant's application."""

    def __init__(self, key: str):
        self._client, self._headers = Client(), {"Authorization": f"Bearer {key}"}

    def post(self, path: str, body: Any) -> Any:
        answer = self._client.post(f"/api/v1/{path}", body, "application/json", headers=self._headers)
        assert answer.status_code in (200, 202), answer.content
        return answer.json()

    def all(self, path: str) -> list[dict[str, Any]]:
        answer = self._client.get(f"/api/v1/{path}?limit=100", headers=self._headers)
        assert answer.status_code == 200, answer.content
        found: list[dict[str, Any]] = answer.json()["data"]
        return found


@pytest.mark.parametrize("name", TABLES)
def test_the_table_names_every_address_that_the_gateway_declares(name: str) -> None:
    slow = {one.address for one in declared()[name].magic if "`slow`" in one.answer}
    assert len(slow) == 1
    assert {row.magic for row in TABLES[name]} == {one.address for one in declared()[name].magic} - slow | {"any other"}


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", TABLES)
def test_every_documented_outcome_is_told_in_the_api(
    name: str, acme: TenantUnderTest, providers: Sandbox, live_server: LiveServer, settings: Settings
) -> None:
    settings.PUBLIC_URL = live_server.url
    found, rows, api = channel(name), TABLES[name], Api(acme.key)
    set_channel_config("acme", name, {**found.sandbox_config("acme"), "retry_delays": [HOUR]})
    receivers = [
        {"receiver": row.address, "addresses": [{"channel": name, "address": FORMS[name].address(row)}]} for row in rows
    ]
    api.post("receivers/batch", {"receivers": receivers})
    with dispatching(found):
        for group in _messages(rows):
            _send_and_watch(api, name, group)
    arrived = providers.arrivals.newest(name, None, 1_000)
    requests = Counter(FORMS[name].seen(arrival) for arrival in arrived)
    assert requests == {row.address: row.requests for row in rows if row.requests}


def _messages(rows: Sequence[Row]) -> list[list[Row]]:
    """Which rows one message can try together."""

    def kind(row: Row) -> tuple[str, str]:
        return row.magic if row.alone else "", str(row.overrides)

    return [list(same) for _, same in groupby(sorted(rows, key=kind), kind)]


def _send_and_watch(api: Api, name: str, rows: Sequence[Row]) -> None:
    to = {"receivers": [row.address for row in rows]}
    content = {"title": "Hello", "body": "This is a message."}
    body = {"to": to, "channels": [name], "content": content, "overrides": rows[0].overrides}
    message = api.post("messages", body)["id"]
    expected = {row.address: (row.status.value, row.reason or None) for row in rows}
    deliveries: dict[str, dict[str, Any]] = {}

    def seen() -> bool:
        deliveries.update({row["receiver"]: row for row in api.all(f"messages/{message}/deliveries")})
        return {receiver: (row["status"], row["reason"]) for receiver, row in deliveries.items()} == expected

    try:
        wait_for(seen, 30, "every outcome")
    except AssertionError:
        assert {receiver: (row["status"], row["reason"]) for receiver, row in deliveries.items()} == expected
        raise
    for row in rows:
        _check_retry(row, deliveries[row.address])
    health = {row["receiver"]: row["addresses"][0] for row in api.all("receivers")}
    assert {row.address: (health[row.address]["status"], health[row.address]["reason"]) for row in rows} == {
        row.address: ("retired", row.reason) if row.retired else ("active", None) for row in rows
    }


def _check_retry(row: Row, delivery: Mapping[str, Any]) -> None:
    """What is deferred is tried once more, later; what failed is a dead letter; nothing else is either."""
    assert (delivery["attempts"], delivery["dead"]) == (1, row.status is FAILED and not row.later), row
    assert (delivery["due_at"] is not None) == (row.status is DEFERRED), row
    if row.status is DEFERRED:
        wait = datetime.fromisoformat(delivery["due_at"]) - datetime.now(UTC)
        assert wait > timedelta(seconds=HOUR * 0.8), row
