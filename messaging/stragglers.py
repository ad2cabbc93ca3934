"""Calls that take long must not hold up the jobs behind them: a few slow hosts would occupy every slot of a lane.

After PATIENCE seconds a batch is handed over as soon as most of it is done: other jobs for its open deliveries, due
when their claims have ended, go to the broker, and the first ones are done. The calls go on in this process; what they
come to makes the other jobs stale. Where the process dies meanwhile, those try again: as the first would have, coming
back.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from sprayer_project.errors import STORE_ERRORS

log = structlog.get_logger(__name__)

PATIENCE, AGAIN = 1.0, 0.2
"""Seconds until the first look at a batch, and between the next ones."""
MOST = 50
"""Jobs handed over at a time; beyond, jobs wait for their calls."""


class Stragglers:
    """The handed-over jobs of one lane."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    async def settle(
        self, task: "asyncio.Task[None]", few_left: Callable[[], bool], hand_over: Callable[[], Awaitable[None]]
    ) -> None:
        """Return when the task is done or handed over. Raises what the task raises.

        Where all is slow, nothing is handed over: what a process has in hand stays bounded by its prefetch.
        """
        await asyncio.wait([task], timeout=PATIENCE)
        while not task.done():
            if len(self._tasks) < MOST and few_left():
                try:
                    await hand_over()
                except STORE_ERRORS as error:
                    log.warning("slow deliveries not handed over", error=type(error).__name__)
                    break
                self._tasks.add(task)
                task.add_done_callback(self._ended)
                return
            await asyncio.wait([task], timeout=AGAIN)
        await task

    async def aclose(self) -> None:
        """Wait for the calls that still go on."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        error = task.exception()
        if isinstance(error, STORE_ERRORS):
            log.warning("slow deliveries not recorded: they are tried again", error=type(error).__name__)
        elif error is not None:
            log.error("slow deliveries failed: they are tried again", exc_info=error)
