"""Every page of the console with many deliveries stored: each query goes by an index, whatever the number of rows."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from statistics import median
from typing import Any

import mongoengine
import pytest
from django.test import Client
from pymongo import monitoring

from benchmarks import seeding
from feedback import rollups, services, updates
from feedback.documents import Delivery, MessageTotals
from feedback.events import DeliveryEvent, Status, delivery_id
from messaging.documents import Message
from messaging.services import accept
from sprayer_project import mongo
from sprayer_project.ids import new_id, time_of
from sprayer_project.urls import CONSOLE
from subscriptions.services import put_receiver
from tests.conftest import TenantUnderTest
from tests.soak import SOAK, either

pytestmark = [pytest.mark.services, pytest.mark.django_db]

DELIVERIES = either(20_000, 1_000_000)
EACH = 1_000
"""Deliveries of a message."""
LIMIT_MS = 300
_LARGE = ("deliveries", "messages", "message_totals", "period_totals")


class Queries(monitoring.CommandListener):
    """What this process asks MongoDB for, while it is wanted."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []
        self.wanted = False

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if self.wanted and event.command_name in ("find", "aggregate", "count"):
            self.seen.append((str(event.command[event.command_name]), dict(event.command)))

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Its plan is asked for afterwards."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """The page says so."""


@pytest.fixture
def queries() -> Iterator[Queries]:
    """A client of MongoDB that tells what it is asked."""
    listener = Queries()
    monitoring.register(listener)
    mongoengine.disconnect()
    mongo.connect()
    yield listener
    listener.wanted = False


def test_every_page_asks_by_an_index_however_many_deliveries_are_stored(
    acme: TenantUnderTest, queries: Queries, tell: Callable[[str], None]
) -> None:
    message = _store(datetime.now(UTC))
    client = Client()
    client.force_login(acme.owner)
    took: dict[str, float] = {}
    for path in _paths(message):
        _server_ms(client, path)
        queries.wanted = True
        took[path] = median(_server_ms(client, path) for _ in range(3))
        queries.wanted = False
    slow = sorted(took.items(), key=lambda item: -item[1])[:4]
    tell(
        f"{len(took)} pages, {DELIVERIES:,} deliveries, slowest {', '.join(f'{path} {ms:.0f} ms' for path, ms in slow)}"
    )
    assert queries.seen
    assert [asked for name, asked in queries.seen if name in _LARGE and _scans(name, asked)] == []
    if SOAK:
        assert {path: ms for path, ms in took.items() if ms >= LIMIT_MS} == {}


def _store(now: datetime) -> str:
    """Messages with so many deliveries together, over a week, and their totals; the id of one."""
    put_receiver("acme", "r0")
    body = {"to": {"receivers": ["r0"]}, "channels": ["websocket"], "content": {"title": "Hello"}}
    sample = accept("acme", "live", body)
    record = Message._get_collection().find_one({"_id": sample.id})
    assert record is not None
    record.pop("idempotency", None)
    known = {"tenant": "acme", "mode": "live", "version": 1, "stored_version": 0, "stale": True}
    messages = [
        new_id("msg", now - timedelta(days=7) * number * EACH / DELIVERIES) for number in range(DELIVERIES // EACH)
    ]
    with seeding.patient(Message) as kept, seeding.patient(Delivery) as rows, seeding.patient(MessageTotals) as totals:
        for message in messages:
            at = time_of(message)
            kept.insert_one(record | {"_id": message, "created_at": at, "status": "settled"})
            rows.insert_many([_row(message, index, at) for index in range(EACH)], ordered=False)
            totals.insert_one(known | {"_id": message})
    seeding.count(partial(services.roll_up, 200))
    rollups.mark_messages(("acme", "live", message) for message in messages)
    seeding.count(partial(rollups.roll_up, 200, now + timedelta(hours=4)))
    return messages[-1]


def _row(message: str, index: int, at: datetime) -> dict[str, Any]:
    status = Status.FAILED if index % 50 == 0 else Status.DELIVERED
    event = DeliveryEvent(
        tenant="acme",
        mode="live",
        message=message,
        delivery=delivery_id(message, f"r{index}", "websocket", None),
        receiver=f"r{index}",
        channel="websocket",
        status=status,
        at=at + timedelta(seconds=2),
        attempt=1,
        dead=status is Status.FAILED,
    )
    (change,) = updates.merge([event]).values()
    return updates.row(change)


def _paths(message: str) -> list[str]:
    """Every page that needs no name of its own, and those of one message, delivery and channel."""
    plain = [str(found.pattern) for found in CONSOLE]
    names = {"<str:message>": message, "<str:channel>": "sms"}
    names["<str:delivery>"] = delivery_id(message, "r7", "websocket", None)
    filled = []
    for path in plain:
        for name, value in names.items():
            path = path.replace(name, value)
        filled.append(path)
    extra = ["?range=hour", "?range=month", "messages?status=settled", "messages?channel=websocket"]
    return [f"/t/acme/{path}" for path in [*filled, *extra, f"messages/{message}?status=failed"] if "<" not in path]


def _server_ms(client: Client, path: str) -> float:
    """Pages that need more than their address are refused at once; a stream is no page: it ends with its last row."""
    began = time.monotonic()
    answer = client.get(path)
    if answer.streaming:
        return 0
    assert answer.status_code in (200, 302, 400, 404, 405, 501), (path, answer.status_code)
    return (time.monotonic() - began) * 1000


def _scans(name: str, command: dict[str, Any]) -> bool:
    """Whether the query would look at every document. What an id pins is not asked about: the plan need not say so."""
    query = command.get("filter") or command.get("query") or command.get("pipeline", [{}])[0].get("$match", {})
    if isinstance(query.get("_id"), str) or "$in" in query.get("_id", {}):
        return False
    plan = json.dumps(mongo.database()[name].find(query).explain()["queryPlanner"], default=str)
    return "COLLSCAN" in plan
