"""Time limits of many calls under way: one timer looks after them all, where asyncio.timeout needs one for each."""

import asyncio
from types import TracebackType

_LOOK = 0.5


class Limits:
    """Those of one event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()  # which is a system call, each time
        self._running: set[Limit] = set()
        self._timer: asyncio.TimerHandle | None = None

    def within(self, seconds: float) -> "Limit":
        """A context that raises TimeoutError when its body takes longer, by up to half a second."""
        return Limit(self, seconds)

    def enter(self, limit: "Limit") -> None:
        self._running.add(limit)
        if self._timer is None:
            self._timer = self.loop.call_later(_LOOK, self._look)

    def leave(self, limit: "Limit") -> None:
        self._running.discard(limit)

    def _look(self) -> None:
        self._timer, now = None, self.loop.time()
        for limit in [limit for limit in self._running if limit.due <= now]:
            self._running.discard(limit)
            limit.end()
        if self._running:
            self._timer = self.loop.call_later(_LOOK, self._look)


class Limit:
    """One of them. It ends its task's body as asyncio.timeout does."""

    __slots__ = ("_before", "_limits", "_over", "_task", "due")

    def __init__(self, limits: Limits, seconds: float):
        task = asyncio.current_task(limits.loop)
        if task is None:
            raise RuntimeError("A limit needs a task.")
        self._limits, self._task, self._before, self._over = limits, task, task.cancelling(), False
        self.due = limits.loop.time() + seconds

    def end(self) -> None:
        self._over = True
        self._task.cancel()

    def __enter__(self) -> None:
        self._limits.enter(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._limits.leave(self)
        if self._over and self._task.uncancel() <= self._before and kind is asyncio.CancelledError:
            raise TimeoutError from error
