"""feedback: delivery events a second that one feeder process writes from a full queue.

Reference: bare pymongo, unordered bulks of the same upserts, one after the other.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from benchmarks.system import TENANT, Bench, Busy, percent
from benchmarks.table import Row, row
from feedback import selectors, services, updates
from feedback.events import DeliveryEvent, Status, delivery_id
from sprayer_project.ids import new_id
from tests.live import wait_for

TARGET = 0.7
_BULK = 1_000
_LIMIT = 120.0


def run(bench: Bench) -> list[Row]:
    figures, references, shares = [], [], []
    for _ in range(bench.sizes.rounds):
        references.append(_written_a_second(_events(bench.sizes.events)))
        rate, share = _fed_a_second(bench, _events(bench.sizes.events))
        figures.append(rate)
        shares.append(share or 0)
    note = (
        f"{bench.sizes.events:,} events in the queue before the feeder starts, timed from its first row to its last; "
        f"it used {percent(max(shares))} of one core, nobody else makes load meanwhile."
    )
    return [row("feedback", "events/s", figures, references, TARGET, note)]


def _events(number: int) -> list[DeliveryEvent]:
    """One message to a group, delivered: a new row for each event."""
    message, now = new_id("msg"), datetime.now(UTC)
    return list(_delivered(message, now, number))


def _delivered(message: str, now: datetime, number: int) -> Iterator[DeliveryEvent]:
    for index in range(number):
        receiver, hashed = f"receiver-{index:06}", f"{index:032x}"
        yield DeliveryEvent(
            tenant=TENANT,
            mode="live",
            message=message,
            delivery=delivery_id(message, receiver, "http", hashed),
            receiver=receiver,
            channel="http",
            status=Status.DELIVERED,
            at=now,
            attempt=1,
            group="everybody",
            address_hash=hashed,
            address_masked="https://receiver.example/***",
            detail={"http_status": 204},
            expires_at=now + timedelta(days=1),
        )


def _written_a_second(events: list[DeliveryEvent]) -> float:
    operations = [updates.operation(change) for change in updates.merge(events).values()]
    rows, started = selectors.rows(), time.monotonic()
    for start in range(0, len(operations), _BULK):
        rows.bulk_write(operations[start : start + _BULK], ordered=False)
    return len(operations) / (time.monotonic() - started)


def _fed_a_second(bench: Bench, events: list[DeliveryEvent]) -> tuple[float, float | None]:
    """The rate, and the feeder's share of a core."""
    services.report(events)
    # The last of each AMQP message: with all of them there, everything is there.
    step = services.EVENTS_A_PUBLICATION
    last = [event.delivery for event in events[step - 1 :: step]] + [events[-1].delivery]
    (feeder,) = bench.live.start("feeder")
    first = wait_for(lambda: _there(last), _LIMIT, "the feeder's first row")
    busy, started = Busy(feeder.pid), time.monotonic()
    wait_for(lambda: len(_there(last)) == len(set(last)), _LIMIT, "the feeder's last row")
    seconds, share = time.monotonic() - started, busy.share()
    feeder.stop()
    written = selectors.rows().count_documents({"tenant": TENANT, "message": events[0].message})
    if written != len(events):
        raise RuntimeError(f"{written} rows of {len(events)} events")
    return max(len(events) - step * len(first), 1) / max(seconds, 0.001), share


def _there(deliveries: list[str]) -> list[str]:
    return [found["_id"] for found in selectors.rows().find({"_id": {"$in": deliveries}}, {"_id": 1})]
