"""Recording outcomes as they come, many in one round trip: the claim's mark, which carries the event, then the event.

A process that is killed in between leaves a mark with the event in it; whoever gets the job again publishes it.
"""

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from feedback import services as feedback
from feedback.events import DeliveryEvent, Status
from messaging import claims, jobs
from sprayer_project import amqp, metrics, worker
from sprayer_project.errors import STORE_ERRORS
from sprayer_project.facts import fact

log = structlog.get_logger(__name__)

_MOST = 500
_AT_ONCE = 3
"""Writes side by side: each waits for two stores three times, and each time for a turn of a busy event loop."""
_MARK_GRACE = 3600


@fact
class Entry:
    """One fact to record. claimed: this process holds the delivery's claim, which the fact turns into a mark.

    follow is the job that a deferral puts on a retry queue, published together with the event. held_to is when one that
    was not tried comes back, in Unix seconds: a job that is due earlier is a stale copy of it.
    """

    event: DeliveryEvent
    claimed: bool = True
    next_attempt: int = 0
    held_to: float = 0
    follow: amqp.Publication | None = None


@dataclass(frozen=True, slots=True)
class _Batch:
    """Entries that are written together, with their events encoded, and who waits for them."""

    done: "asyncio.Future[None]"
    entries: list[Entry] = field(default_factory=list)
    encoded: list[bytes] = field(default_factory=list)


class Recorder:
    """One a process and event loop."""

    def __init__(self, stop: asyncio.Event):
        self._stop = stop
        self._waiting: deque[_Batch] = deque()
        self._writing: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    def record(self, entry: Entry) -> "asyncio.Future[None]":
        """Done when the entry is safe; waits while a store is away; stopped meanwhile, it raises the store's error.

        Entries that are written together share it: wait for it, never cancel it.
        """
        if not self._waiting or len(self._waiting[-1].entries) >= _MOST:
            self._waiting.append(_Batch(asyncio.get_running_loop().create_future()))
            self._wake.set()
        batch = self._waiting[-1]
        batch.entries.append(entry)
        batch.encoded.append(entry.event.encoded())
        return batch.done

    async def aclose(self) -> None:
        for task in (self._task, *self._writing):
            task.cancel()

    async def _run(self) -> None:
        """One write at a time, so that what comes meanwhile grows; more beside it while full batches wait."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting and (not self._writing or self._many_wait()):
                task = asyncio.create_task(self._write(self._waiting.popleft()))
                self._writing.add(task)
                task.add_done_callback(self._written)

    def _many_wait(self) -> bool:
        return len(self._waiting) > 1 and len(self._writing) < _AT_ONCE

    def _written(self, task: "asyncio.Task[None]") -> None:
        self._writing.discard(task)
        self._wake.set()

    async def _write(self, batch: _Batch) -> None:
        attempt = 0
        while True:
            try:
                await _write(batch.entries, batch.encoded)
                batch.done.set_result(None)
                return
            except STORE_ERRORS as error:
                log.warning("outcomes wait for a store", outcomes=len(batch.entries), error=type(error).__name__)
                if self._stop.is_set():
                    batch.done.set_exception(error)
                    return
                await worker.pause(attempt, self._stop)
                attempt += 1
            except Exception as error:
                log.exception("outcomes could not be recorded", outcomes=len(batch.entries))
                batch.done.set_exception(error)
                return


async def all_recorded(futures: Iterable["asyncio.Future[None]"]) -> None:
    """Wait for what Recorder.record answered. Raises what it says."""
    waiting = set(futures)
    if waiting:
        await asyncio.wait(waiting)
    for future in waiting:
        future.result()


async def _write(entries: Sequence[Entry], encoded: Sequence[bytes]) -> None:
    now = datetime.now(UTC)
    ends: dict[str, claims.Marks] = defaultdict(dict)
    deferrals: dict[str, claims.Marks] = defaultdict(dict)
    for entry, text in zip(entries, encoded, strict=True):
        if entry.claimed:
            kind = deferrals if entry.next_attempt else ends
            kind[entry.event.tenant][entry.event.delivery, entry.event.round] = _mark(entry, text, now)
    for tenant, marks in ends.items():
        await claims.settle(tenant, marks)
    await feedback.areport_encoded(encoded)
    await amqp.apublish(jobs.together(entry.follow for entry in entries if entry.follow is not None))
    for tenant, marks in deferrals.items():
        # Such a mark makes this job stale and holds no event: whoever is killed before it gets the job again.
        await claims.settle(tenant, marks)
    for tenant, marks in ends.items():
        await claims.published(tenant, [*marks])
    outcomes = Counter((entry.event.channel, entry.event.status) for entry in entries)
    for (channel, status), count in outcomes.items():
        metrics.OUTCOMES.labels(channel=channel, status=status.value).inc(count)


def _mark(entry: Entry, encoded: bytes, now: datetime) -> tuple[bytes | str, int]:
    event = entry.event
    seconds = int(((event.expires_at or now) - now).total_seconds()) + _MARK_GRACE
    if not entry.next_attempt:
        return claims.done_mark(encoded), seconds
    return claims.next_mark(entry.next_attempt, entry.held_to), seconds


def is_final(status: Status) -> bool:
    """Whether a dispatcher has nothing more to do for a delivery of this status in its round."""
    return status not in (Status.SCHEDULED, Status.QUEUED, Status.DEFERRED)
