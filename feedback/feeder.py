"""The status feeder: from the record queue to the record, a batch at a time."""

import asyncio
from collections.abc import Sequence
from datetime import datetime

import structlog
from django.conf import settings

from feedback import backlog, decoding, services
from feedback.events import DeliveryEvent
from sprayer_project import amqp, worker
from sprayer_project.errors import STORE_ERRORS
from sprayer_project.ids import new_id

log = structlog.get_logger(__name__)

_CONCURRENCY = 2
"""One batch is read while MongoDB writes the other."""
_MESSAGES, _BYTES = 250, 2**18
"""Of a batch. An AMQP message holds one event or up to a few hundred: its bytes tell how much work it is."""
_TELL = 1.0


async def run(stop: asyncio.Event) -> None:
    feeder = Feeder()
    await asyncio.gather(
        worker.consume(
            amqp.Consumer([amqp.RECORD_QUEUE], _MESSAGES * _CONCURRENCY),
            feeder.handle,
            batch=_MESSAGES,
            most_bytes=_BYTES,
            linger=settings.FEEDER_LINGER,
            concurrency=_CONCURRENCY,
            stop=stop,
        ),
        worker.every(_TELL, feeder.tell, stop),
    )


class Feeder:
    """Writes batches, and says every second how old the oldest event is that it has in hand."""

    def __init__(self) -> None:
        self._name = new_id("fdr")
        self._in_hand: dict[tuple[int, int], datetime] = {}

    async def handle(self, items: Sequence[worker.Item]) -> None:
        """Write the items' events. An item with a bad one is rejected with the reason; its good ones are written."""
        first = items[0].incoming
        key = (first.link, first.tag)
        events = await asyncio.to_thread(_decoded, items)
        try:
            if events:
                self._in_hand[key] = min(event.at for event in events)
                await asyncio.to_thread(_write, events)
        except STORE_ERRORS:
            # The same items come again: they stay in hand.
            raise
        except BaseException:
            self._in_hand.pop(key, None)
            raise
        self._in_hand.pop(key, None)

    async def tell(self) -> None:
        await backlog.tell(self._name, min(self._in_hand.values(), default=None))


def _decoded(items: Sequence[worker.Item]) -> list[DeliveryEvent]:
    events: list[DeliveryEvent] = []
    for item in items:
        good, reason = decode(item.body)
        events += good
        if reason:
            log.warning("bad event", reason=reason)
            item.reject(reason)
    return events


def _write(events: Sequence[DeliveryEvent]) -> None:
    for start in range(0, len(events), settings.FEEDER_BATCH):
        if found := services.write(events[start : start + settings.FEEDER_BATCH]):
            services.tell_found(found)


def decode(body: bytes) -> tuple[list[DeliveryEvent], str]:
    """The deliveries' events of one AMQP message, and what is wrong with the first bad one; empty when none is."""
    events, reason = decoding.decode(body)
    return [event for event in events if isinstance(event, DeliveryEvent)], reason
