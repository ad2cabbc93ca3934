"""The daemon of the live feed: from the queue of events to the tails of those tenants whose people look.

It keeps nothing and waits for nobody: what it cannot write is missing, and whoever looks is told.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import structlog
from django.conf import settings

from feedback import decoding, live
from feedback.events import DeliveryEvent
from sprayer_project import amqp, redis, tail, worker
from sprayer_project.errors import STORE_ERRORS

log = structlog.get_logger(__name__)

_MESSAGES, _LINGER = 500, 0.05

ByTenant = dict[str, list[Any]]


async def run(stop: asyncio.Event) -> None:
    writer = Writer()
    await asyncio.gather(
        # The queue of what is lost comes first: from then on nothing is lost untold.
        worker.consume(
            amqp.Consumer([amqp.LIVE_LOST_QUEUE, amqp.LIVE_QUEUE], 2 * _MESSAGES),
            writer.handle,
            batch=_MESSAGES,
            linger=_LINGER,
            stop=stop,
        ),
        worker.every(live.BEAT, writer.beat, stop),
    )


class Writer:
    def __init__(self) -> None:
        self._holes: set[int] = set()
        """Shards whose readers have not been told yet that something is missing."""

    async def handle(self, items: Sequence[worker.Item]) -> None:
        if any(item.queue == amqp.LIVE_LOST_QUEUE for item in items):
            log.warning("live events were lost: their queue was full, or nobody came for them")
            self._holes |= set(range(len(settings.REDIS_URLS)))
        by_shard: defaultdict[int, ByTenant] = defaultdict(dict)
        for item in items:
            if item.queue == amqp.LIVE_QUEUE:
                for tenant, bodies in _by_tenant(item.body).items():
                    by_shard[redis.shard_of(tenant)].setdefault(tenant, []).extend(bodies)
        await asyncio.gather(*(self._write(shard, by_shard[shard]) for shard in by_shard.keys() | self._holes))

    async def beat(self) -> None:
        for shard in range(len(settings.REDIS_URLS)):
            try:
                await live.beat(shard)
                await self._tell(shard)
            except STORE_ERRORS as error:
                log.warning("waiting for a store", shard=shard, error=type(error).__name__)

    async def _write(self, shard: int, by_tenant: ByTenant) -> None:
        try:
            await self._tell(shard)
            tails = [live.tail_of(tenant) for tenant in by_tenant]
            for wanted, is_open in zip(tails, await tail.aopened(tails) if tails else [], strict=True):
                if is_open:
                    await tail.aappend(wanted, list(_events(by_tenant[wanted.tenant])))
        except STORE_ERRORS as error:
            log.warning("live events are lost", shard=shard, error=type(error).__name__)
            self._holes.add(shard)

    async def _tell(self, shard: int) -> None:
        if shard in self._holes:
            await tail.areset(shard, live.tail_of)
            self._holes.discard(shard)


def _by_tenant(body: bytes) -> ByTenant:
    """What is no event is the status feeder's to report."""
    found: ByTenant = {}
    try:
        for event in decoding.bodies(body):
            if isinstance(event, dict):
                found.setdefault(str(event.get("tenant")), []).append(event)
    except (ValueError, TypeError):
        return {}
    return found


def _events(bodies: Iterable[Any]) -> Iterable[str]:
    """What names no delivery comes again when the feeder knows it."""
    for body in bodies:
        try:
            event = decoding.event_of(body)
        except decoding.ERRORS:
            continue
        if not isinstance(event, DeliveryEvent) or event.delivery:
            yield live.encoded(event)
