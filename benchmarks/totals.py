"""totals: GET of a message with a million deliveries beside one with ten, through the API.

Both are messages to a group whose totals the sweeper has counted; nobody makes events meanwhile.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from statistics import median
from typing import Any

import httpx

from benchmarks import seeding
from benchmarks.system import ENVIRONMENT, TENANT, Bench
from benchmarks.table import Row, row
from feedback import services, updates
from feedback.documents import Delivery
from feedback.events import DeliveryEvent, Status, delivery_id
from messaging import services as messages
from subscriptions.services import put_group, put_receiver, subscribe

TARGET = 3.0
_SMALL = 10
_CHUNK = 5_000
_CALLS = 200
"""Of a round; one after the other on one connection."""


def run(bench: Bench) -> list[Row]:
    large, small = _message(bench.sizes.deliveries), _message(_SMALL)
    counted = time.monotonic()
    seeding.count(partial(services.roll_up, 10))
    counted = time.monotonic() - counted
    (web,) = bench.live.start("web", env=ENVIRONMENT)
    figures, references = [], []
    with httpx.Client(base_url=str(web.url), headers={"Authorization": f"Bearer {bench.key}"}, timeout=60) as http:
        for _ in range(bench.sizes.rounds):
            references.append(_milliseconds(http, small, _SMALL))
            figures.append(_milliseconds(http, large, bench.sizes.deliveries))
    web.stop()
    note = (
        f"{bench.sizes.deliveries:,} deliveries beside {_SMALL}; median of {_CALLS} calls, one after the other, no "
        f"other load. The sweeper's count of the large message took {counted:.0f} s, in steps."
    )
    return [row("totals", "ms", figures, references, TARGET, note, at_most=True)]


def _message(number: int) -> str:
    """A message to a group of one, and so many deliveries beside."""
    group = f"totals-{number}"
    put_group(TENANT, group)
    put_receiver(TENANT, group)
    subscribe(TENANT, group, group)
    body = {"to": {"groups": [group]}, "channels": ["http"], "content": {"title": "Hello"}, "ttl": 86_400}
    message = messages.accept(TENANT, "live", body).id
    found = _rows(message, number - 1)
    with seeding.patient(Delivery) as rows:
        while chunk := list(islice(found, _CHUNK)):
            rows.insert_many(chunk, ordered=False)
    services.write([_event(message, number - 1, group)])
    return message


def _rows(message: str, number: int) -> Iterator[dict[str, Any]]:
    """As the feeder leaves them."""
    for index in range(number):
        (change,) = updates.merge([_event(message, index, "everybody")]).values()
        yield updates.row(change)


def _event(message: str, index: int, group: str) -> DeliveryEvent:
    now, receiver, hashed = datetime.now(UTC), f"receiver-{index:07}", f"{index:032x}"
    return DeliveryEvent(
        tenant=TENANT,
        mode="live",
        message=message,
        delivery=delivery_id(message, receiver, "http", hashed),
        receiver=receiver,
        channel="http",
        status=Status.DELIVERED if index % 10 else Status.FAILED,
        at=now,
        attempt=1,
        group=group,
        address_hash=hashed,
        address_masked="https://receiver.example/***",
        detail={"http_status": 204},
        expires_at=now + timedelta(days=1),
    )


def _milliseconds(http: httpx.Client, message: str, number: int) -> float:
    taken = []
    for _ in range(_CALLS):
        began = time.perf_counter()
        answer = http.get(f"/api/v1/messages/{message}")
        taken.append((time.perf_counter() - began) * 1000)
        if answer.status_code != 200 or answer.json()["totals"]["total"] != number:
            raise RuntimeError(f"{answer.status_code}: {answer.text[:300]}")
    return median(taken)
