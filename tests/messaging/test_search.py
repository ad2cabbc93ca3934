"""Messages and deliveries are found by every filter, and by an index, while others keep arriving."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any

import pytest
from django.test import Client
from mongoengine import Document

from feedback import search as deliveries
from feedback import services as feedback
from feedback.documents import Delivery
from feedback.events import DeliveryEvent, Status, delivery_id
from messaging import channels, search
from messaging.documents import Message
from messaging.services import accept
from sprayer_project.ids import first_id, new_id
from subscriptions import services as subscriptions
from subscriptions.addresses import address_hash
from tenants.services import set_channel_config
from tests.conftest import TenantUnderTest

pytestmark = [pytest.mark.services, pytest.mark.django_db]

NUMBER = "+12025550001"
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


def event(receiver: str = "ann", channel: str = "sms", **fields: Any) -> DeliveryEvent:
    message = fields.pop("message", None) or new_id("msg", fields.pop("accepted", NOW))
    hashed = address_hash("acme", channel, fields.pop("address", NUMBER))
    values: dict[str, Any] = {"mode": "live", "status": Status.SENT, "at": NOW}
    return DeliveryEvent(
        tenant="acme",
        message=message,
        delivery=delivery_id(message, receiver, channel, hashed),
        receiver=receiver,
        channel=channel,
        address_hash=hashed,
        **(values | fields),
    )


def listed(tenant: TenantUnderTest, path: str, **query: Any) -> dict[str, Any]:
    answer = Client().get(f"/api/v1/{path}", query, headers=tenant.headers())
    assert answer.status_code == 200, answer.content
    return dict(answer.json())


def ids(tenant: TenantUnderTest, path: str, **query: Any) -> list[str]:
    return [row["id"] for row in listed(tenant, path, **query)["data"]]


def test_deliveries_are_found_by_every_filter(acme: TenantUnderTest, globex: TenantUnderTest) -> None:
    mine = event(group="news")
    other = event("bob", "email", address="bob@example.com", status=Status.FAILED, accepted=NOW + timedelta(hours=1))
    feedback.write([mine, other, event(mode="test")])
    later = (NOW + timedelta(minutes=30)).isoformat()
    for query, found in (
        ({"receiver": "ann"}, [mine]),
        ({"address": NUMBER, "channel": "sms"}, [mine]),
        ({"address": "bob@example.com", "channel": "email"}, [other]),
        ({"group": "news"}, [mine]),
        ({"channel": "email"}, [other]),
        ({"status": "failed"}, [other]),
        ({"status": "failed", "channel": "sms"}, []),
        ({"message": mine.message}, [mine]),
        ({"message": mine.message, "receiver": "bob"}, []),
        ({"message": mine.message, "status": "sent"}, [mine]),
        ({"since": later}, [other]),
        ({"until": later}, [mine]),
        ({}, [other, mine]),
    ):
        assert ids(acme, "deliveries", **query) == [one.delivery for one in found], query
    assert ids(globex, "deliveries") == []


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"address": NUMBER}, "?channel"),
        ({"address": "12", "channel": "sms"}, "?address"),
        ({"address": '{"endpoint"', "channel": "webpush"}, "?address"),
        ({"status": "arrived"}, "?status"),
        ({"message": "msg_"}, "?message"),
        ({"since": "yesterday"}, "?since"),
        ({"cursor": "WzFd"}, "?cursor"),
    ],
)
def test_what_is_asked_wrongly_is_said(acme: TenantUnderTest, query: dict[str, str], pointer: str) -> None:
    answer = Client().get("/api/v1/deliveries", query, headers=acme.headers())
    assert answer.status_code == 400
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


def test_pages_stay_whole_while_rows_arrive(acme: TenantUnderTest) -> None:
    first = [event(f"r{number}", accepted=NOW + timedelta(seconds=number)) for number in range(7)]
    feedback.write(first)
    page = listed(acme, "deliveries", limit=3)
    seen = [row["id"] for row in page["data"]]
    while page["next_cursor"]:
        feedback.write([event(f"new{len(seen)}", accepted=NOW + timedelta(hours=1))])
        page = listed(acme, "deliveries", limit=3, cursor=page["next_cursor"])
        seen += [row["id"] for row in page["data"]]
    assert seen == [one.delivery for one in reversed(first)]


def test_messages_are_found_by_key_and_by_plain_address(acme: TenantUnderTest) -> None:
    set_channel_config("acme", "sms", {})
    subscriptions.put_receiver("acme", "ann")
    body = {"content": {"body": "Hello"}, "channels": ["sms"]}
    keyed = accept("acme", "live", body | {"to": {"receivers": ["ann"]}}, "order-17").id
    plain = accept("acme", "live", body | {"to": {"addresses": [{"channel": "sms", "address": NUMBER}]}}).id
    assert ids(acme, "messages", idempotency_key="order-17") == [keyed]
    assert ids(acme, "messages", idempotency_key="order-18") == []
    assert ids(acme, "messages", address="+1 202 555 0001", channel="sms") == [plain]
    assert ids(acme, "messages", channel="sms") == [plain, keyed]
    assert ids(acme, "messages", receiver="ann", channel="sms") == [keyed]


def test_a_period_of_messages_is_the_one_of_their_acceptance(acme: TenantUnderTest) -> None:
    subscriptions.put_receiver("acme", "ann")
    message = accept("acme", "live", {"to": {"receivers": ["ann"]}, "channels": ["websocket"], "content": {}})
    just, before = message.created_at.isoformat(), (message.created_at - timedelta(milliseconds=1)).isoformat()
    assert ids(acme, "messages", since=just) == [message.id] == ids(acme, "messages", since=before)
    assert ids(acme, "messages", until=just) == [] == ids(acme, "messages", since=before, until=just)


def test_the_first_id_of_a_time_is_below_all_ids_of_that_time() -> None:
    assert first_id("msg", NOW - timedelta(milliseconds=1)) < first_id("msg", NOW) < new_id("msg", NOW)
    assert first_id("msg", datetime(1900, 1, 1, tzinfo=UTC)) == "msg_" + "0" * 26


def combined(values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every set of filters that the API allows."""
    for number in range(len(values) + 1):
        for names in combinations(values, number):
            yield {name: values[name] for name in names}


def is_served(document: type[Document], indexed: Mapping[str, Any]) -> bool:
    """Whether the fields of a query, equal or of a list, and then a range of ids are the beginning of an index."""
    fields = [name for name in indexed if name != "_id"]
    meta: Any = document._meta
    served = [[name.lstrip("-") for name in index["fields"]] for index in meta["indexes"]]
    return [*fields, "id"] in served


MESSAGE_FILTERS = {
    "status": "routed",
    "channel": "sms",
    "group": "news",
    "receiver": "ann",
    "address_hash": "0" * 32,
    "idempotency_key": "k",
    "since": NOW,
    "until": NOW,
}
DELIVERY_FILTERS = {
    "message": new_id("msg", NOW),
    "receiver": "ann",
    "address_hash": "0" * 32,
    "group": "news",
    "channel": "sms",
    "status": "sent",
    "since": NOW,
    "until": NOW,
}


def test_every_set_of_filters_is_served_by_an_index() -> None:
    for wanted in combined(MESSAGE_FILTERS):
        asked = search.query("acme", "live", search.Wanted(**wanted))
        assert is_served(Message, asked.indexed), wanted
    for wanted in combined(DELIVERY_FILTERS):
        found = deliveries.query("acme", "live", deliveries.Wanted(**wanted), list(channels.registry()))
        assert is_served(Delivery, found.indexed), wanted
    assert not is_served(Delivery, {"tenant": "acme", "round": 1})


def test_the_server_says_that_it_uses_them() -> None:
    """The embedded server takes an index for equal values only: lists of values are a matter for MongoDB."""
    plans = [
        (Delivery, deliveries.query("acme", "live", deliveries.Wanted(**wanted), []).indexed)
        for wanted in combined(DELIVERY_FILTERS)
        if ("channel" in wanted) == ("status" in wanted)
    ]
    plans += [
        (Message, search.query("acme", "live", search.Wanted(**wanted)).indexed) for wanted in combined(MESSAGE_FILTERS)
    ]
    seen: set[str] = set()
    for document, indexed in plans:
        told = json.dumps(document._get_collection().find(dict(indexed)).sort("_id", -1).explain(), default=str)
        assert "IXSCAN" in told and "COLLSCAN" not in told, indexed
        seen.add(told.partition('"indexName": "')[2].partition('"')[0])
    assert len(seen) == 13
