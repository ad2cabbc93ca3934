"""So many at once to one host: the others wait in their order, and are told when that takes too long."""

import asyncio
from collections import deque
from math import inf
from types import TracebackType

_LOOK = 0.5


class Busy(Exception):
    """No place came free in time."""


class Gate:
    """A semaphore whose waiters have deadlines: one timer serves them all, where each would need one of its own.

    It opens as the host answers, as TCP's slow start does: at first it has few of its places, and with each call that
    went well one more.
    """

    def __init__(self, places: int, first: int | None = None) -> None:
        """first: how many of the places there are at first; all by default."""
        self._free = places if first is None else first
        self._more = places - self._free
        self._waiting: deque[tuple[float, asyncio.Future[None]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def enter(self, patience: float = inf) -> None:
        """Wait for a place, `patience` seconds at most and up to half a second more. Raises Busy."""
        if self.take():
            return
        running = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = running.create_future()
        self._waiting.append((running.time() + patience, waiter))
        if self._timer is None and patience < inf:
            self._timer = running.call_later(_LOOK, self._look)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.leave()
            raise

    def take(self) -> bool:
        """Whether there was a place, which is taken then."""
        if not self._free:
            return False
        self._free -= 1
        return True

    def leave(self) -> None:
        """Give the place to who waits longest."""
        while self._waiting:
            _, waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._free += 1

    def went_well(self) -> None:
        """A call did: there is one place more, until all are there."""
        if self._more:
            self._more -= 1
            self.leave()

    async def __aenter__(self) -> None:
        await self.enter()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    def _look(self) -> None:
        """Tell those whose time is over."""
        running, self._timer = asyncio.get_running_loop(), None
        now = running.time()
        for deadline, waiter in self._waiting:
            if deadline <= now and not waiter.done():
                waiter.set_exception(Busy())
        if any(not waiter.done() and deadline < inf for deadline, waiter in self._waiting):
            self._timer = running.call_later(_LOOK, self._look)
