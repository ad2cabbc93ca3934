"""The status feeder: from the record queue to the record, a batch at a time."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog
from django.conf import settings

from feedback import decoding, services
from feedback.events import DeliveryEvent
from sprayer_project import amqp, metrics, worker

log = structlog.get_logger(__name__)

_CONCURRENCY = 2
"""One batch is read while MongoDB writes the other."""


async def run(stop: asyncio.Event) -> None:
    await worker.consume(
        [amqp.RECORD_QUEUE],
        handle,
        prefetch=settings.FEEDER_BATCH * _CONCURRENCY,
        batch=settings.FEEDER_BATCH,
        linger=settings.FEEDER_LINGER,
        concurrency=_CONCURRENCY,
        stop=stop,
    )


async def handle(items: Sequence[worker.Item]) -> None:
    """Write the items' events. An item with a bad event is rejected with the reason; its good events are written."""
    await asyncio.to_thread(_handle, items)


def _handle(items: Sequence[worker.Item]) -> None:
    events: list[DeliveryEvent] = []
    for item in items:
        good, reason = decode(item.body)
        events += good
        if reason:
            log.warning("bad event", reason=reason)
            item.reject(reason)
    if not events:
        return
    # An AMQP message holds up to a few hundred events: a bulk of them all could outlast any timeout, every time.
    for start in range(0, len(events), settings.FEEDER_BATCH):
        if found := services.write(events[start : start + settings.FEEDER_BATCH]):
            services.tell_found(found)
    newest = max(event.at for event in events)
    metrics.FEEDER_LAG.set(max(0.0, (datetime.now(UTC) - newest).total_seconds()))


def decode(body: bytes) -> tuple[list[DeliveryEvent], str]:
    """The deliveries' events of one AMQP message, and what is wrong with the first bad one; empty when none is."""
    events, reason = decoding.decode(body)
    return [event for event in events if isinstance(event, DeliveryEvent)], reason
