"""Calls that take long must not hold up the jobs behind them: a few slow hosts would occupy every slot of a lane.

When slots are wanted, a batch is handed over of which few are left that stand still: other jobs for its open
deliveries, due when their claims have ended, go to the broker, and the first ones are done. The calls go on in this
process; what they come to makes the other jobs stale. Where the process dies meanwhile, those try again: as the first
would have, coming back. A host that leaves several such calls without a word gets no more of them for a while: what is
behind waits in the retry queues.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Set

import structlog

from messaging.breaker import Circuit
from sprayer_project.errors import STORE_ERRORS
from sprayer_project.outbound import PER_HOST

log = structlog.get_logger(__name__)

PATIENCE, LOOK = 0.2, 0.05
"""Seconds that a batch has in any case; it stands still after so many without an outcome, or at once where hosts are
left that answered nothing of it."""
FEW = 10
"""Deliveries that are few of whatever number; otherwise half of it is."""
MOST = 2_000
"""Calls handed over at a time; beyond, jobs wait for their calls."""
SEVERAL, SILENCE = 5, 2.0
"""Calls handed over to a host, and seconds without an outcome from it, with which it is stalled."""
SHORTEST_WAIT, LONGEST_WAIT = 5.0, 60.0
"""Seconds for which a delivery to a stalled host is put off, the longer the more there are."""


class Stragglers:
    """The handed-over jobs of one lane."""

    def __init__(self, slots: int, prefetch: int) -> None:
        """slots: batches that are handled side by side; prefetch: jobs in hand, with those that wait for a slot."""
        self._slots, self._prefetch = slots, prefetch
        self._batches = self._jobs = self._given = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._calls: Counter[Circuit] = Counter()
        self._put_off: Counter[Circuit] = Counter()
        self._heard: dict[Circuit, float] = {}

    async def settle(
        self,
        task: "asyncio.Task[None]",
        jobs: int,
        left: Callable[[], Mapping[Circuit | None, int]],
        hand_over: Callable[[], Awaitable[None]],
    ) -> None:
        """Return when the task is done or handed over. Raises what the task raises.

        jobs: how many the batch has; left tells how many of its deliveries have no outcome yet, by circuit.
        Where most is slow, nothing is handed over: what a process has in hand stays bounded.
        """
        self._batches += 1
        self._jobs += jobs
        try:
            await self._settle(task, left, hand_over)
        finally:
            self._batches -= 1
            self._jobs -= jobs

    async def _settle(
        self,
        task: "asyncio.Task[None]",
        left: Callable[[], Mapping[Circuit | None, int]],
        hand_over: Callable[[], Awaitable[None]],
    ) -> None:
        all_of_it, before = left(), 0
        few = max(sum(all_of_it.values()) / 2, FEW)
        await asyncio.wait([task], timeout=PATIENCE)
        while not task.done():
            open_ones = left()
            count = sum(open_ones.values())
            heard = {circuit for circuit in open_ones if open_ones[circuit] < all_of_it[circuit]}
            stands, before = count == before or not heard, count
            if 0 < count <= few and stands and self._crowded() and self._given + count <= MOST:
                try:
                    await hand_over()
                except STORE_ERRORS as error:
                    log.warning("slow deliveries not handed over", error=type(error).__name__)
                    break
                self._keep(task, open_ones, heard)
                return
            await asyncio.wait([task], timeout=LOOK)
        await task

    def _crowded(self) -> bool:
        """Whether others may wait for what these batches hold."""
        return self._batches >= self._slots or self._jobs >= self._prefetch / 2

    def heard(self, circuit: Circuit | None) -> None:
        """An outcome came from there."""
        if circuit is not None and circuit in self._calls:
            self._heard[circuit] = time.monotonic()

    def wait(self, circuit: Circuit | None) -> float:
        """Seconds for which one more delivery to a stalled host is to be put off; 0 where it is to be tried."""
        if circuit is None or not circuit.host or self._calls[circuit] < SEVERAL:
            return 0.0
        if time.monotonic() - self._heard[circuit] < SILENCE:
            del self._put_off[circuit]
            return 0.0
        self._put_off[circuit] += 1
        return min(SHORTEST_WAIT + self._put_off[circuit] / PER_HOST, LONGEST_WAIT)

    @property
    def some(self) -> bool:
        """Whether any calls go on here: without, no host is stalled."""
        return bool(self._tasks)

    async def aclose(self) -> None:
        """Wait for the calls that still go on."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _keep(
        self, task: "asyncio.Task[None]", open_ones: Mapping[Circuit | None, int], heard: Set[Circuit | None]
    ) -> None:
        now = time.monotonic()
        calls = Counter({circuit: count for circuit, count in open_ones.items() if circuit is not None})
        for circuit in calls.keys() - self._calls.keys():
            self._heard[circuit] = now if circuit in heard else now - SILENCE
        self._calls += calls
        count = sum(open_ones.values())
        self._given += count
        self._tasks.add(task)

        def ended(task: "asyncio.Task[None]") -> None:
            self._tasks.discard(task)
            self._calls -= calls
            self._given -= count
            for circuit in calls.keys() - self._calls.keys():
                del self._heard[circuit], self._put_off[circuit]
            _tell(task)

        task.add_done_callback(ended)


def _tell(task: "asyncio.Task[None]") -> None:
    error = task.exception()
    if isinstance(error, STORE_ERRORS):
        log.warning("slow deliveries not recorded: they are tried again", error=type(error).__name__)
    elif error is not None:
        log.error("slow deliveries failed: they are tried again", exc_info=error)
