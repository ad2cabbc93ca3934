"""totals: GET of a message with a million deliveries beside one with ten, through the API.

Both are messages to a group whose totals the sweeper has counted; nobody makes events meanwhile.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

import httpx

from benchmarks.system import ENVIRONMENT, TENANT, Bench
from benchmarks.table import Row, row
from feedback import services, updates
from feedback.documents import Delivery, collection
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
    while services.roll_up(10):
        pass
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
    rows, chunk = collection(Delivery), list[dict[str, Any]]()
    for found in _rows(message, number - 1):
        chunk.append(found)
        if len(chunk) == _CHUNK:
            rows.insert_many(chunk, ordered=False)
            chunk = []
    if chunk:
        rows.insert_many(chunk, ordered=False)
    services.write([_event(message, number - 1, group)])
    return message


def _rows(message: str, number: int) -> Iterator[dict[str, Any]]:
    """As the feeder leaves them."""
    names = ("tenant", "mode", "message", "channel", "receiver", "group", "address_hash", "address_masked")
    for index in range(number):
        event = _event(message, index, "everybody")
        slot, entry = updates.slot_of(event)
        known = {name: getattr(event, name) for name in names} | {"expires_at": event.expires_at}
        yield known | {"_id": event.delivery, "state": updates.state_of(event), "events": {slot: entry}}


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
