"""Recording outcomes as they come, many in one round trip: the claim's mark, which carries the event, then the event.

A process that is killed in between leaves a mark with the event in it; whoever gets the job again publishes it.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from feedback import services as feedback
from feedback.events import DeliveryEvent, Status
from messaging import claims
from sprayer_project import amqp, metrics, worker
from sprayer_project.errors import STORE_ERRORS

log = structlog.get_logger(__name__)

_MOST = 500
_MARK_GRACE = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One fact to record. claimed: this process holds the delivery's claim, which the fact turns into a mark.

    follow is the job that a deferral puts on a retry queue, published together with the event.
    """

    event: DeliveryEvent
    claimed: bool = True
    next_attempt: int = 0
    follow: amqp.Publication | None = None


class Recorder:
    """One a process and event loop."""

    def __init__(self, stop: asyncio.Event):
        self._stop = stop
        self._waiting: asyncio.Queue[tuple[Entry, asyncio.Future[None]]] = asyncio.Queue()
        self._task = asyncio.create_task(self._run())

    def record(self, entry: Entry) -> "asyncio.Future[None]":
        """Done when the entry is safe; waits while a store is away; stopped meanwhile, it raises the store's error."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((entry, future))
        return future

    async def aclose(self) -> None:
        self._task.cancel()

    async def _run(self) -> None:
        while True:
            batch = [await self._waiting.get()]
            while not self._waiting.empty() and len(batch) < _MOST:
                batch.append(self._waiting.get_nowait())
            error = await self._write([entry for entry, _ in batch])
            for _, future in batch:
                if future.cancelled():
                    continue
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(error)

    async def _write(self, entries: Sequence[Entry]) -> Exception | None:
        attempt = 0
        while True:
            try:
                await _write(entries)
                return None
            except STORE_ERRORS as error:
                log.warning("outcomes wait for a store", outcomes=len(entries), error=type(error).__name__)
                if self._stop.is_set():
                    return error
                await worker.pause(attempt, self._stop)
                attempt += 1
            except Exception as error:
                log.exception("outcomes could not be recorded", outcomes=len(entries))
                return error


async def _write(entries: Sequence[Entry]) -> None:
    now = datetime.now(UTC)
    by_tenant: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.claimed:
            by_tenant[entry.event.tenant].append(entry)
    for tenant, claimed in by_tenant.items():
        await claims.settle(tenant, dict(_mark(entry, now) for entry in claimed if not entry.next_attempt))
    await feedback.areport([entry.event for entry in entries])
    await amqp.apublish([entry.follow for entry in entries if entry.follow is not None])
    for tenant, claimed in by_tenant.items():
        # Such a mark makes this job stale and holds no event: whoever is killed before it gets the job again.
        await claims.settle(tenant, dict(_mark(entry, now) for entry in claimed if entry.next_attempt))
        done = [(entry.event.delivery, entry.event.round) for entry in claimed if not entry.next_attempt]
        await claims.published(tenant, done)
    for entry in entries:
        metrics.OUTCOMES.labels(channel=entry.event.channel, status=entry.event.status.value).inc()


def _mark(entry: Entry, now: datetime) -> tuple[tuple[str, int], tuple[str, int]]:
    event = entry.event
    until = event.expires_at or now
    seconds = int((until - now).total_seconds()) + _MARK_GRACE
    if entry.next_attempt:
        held_to = event.due_at if not event.attempt else None
        mark = claims.next_mark(entry.next_attempt, held_to.timestamp() if held_to else 0)
    else:
        mark = claims.done_mark(json.dumps(event.to_json(), separators=(",", ":"), ensure_ascii=False))
    return (event.delivery, event.round), (mark, seconds)


def is_final(status: Status) -> bool:
    """Whether a dispatcher has nothing more to do for a delivery of this status in its round."""
    return status not in (Status.SCHEDULED, Status.QUEUED, Status.DEFERRED)
