"""What one process does for a receiver stays in the order of its jobs, whatever else it does side by side."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable, Sequence, Set
from types import TracebackType
from typing import TypeVar

from sprayer_project.worker import together

T = TypeVar("T")


class Order:
    """Who asks for a key has it when those that asked for it before are done. One event loop's."""

    def __init__(self) -> None:
        self._last: dict[Hashable, _Turn] = {}

    def of(self, keys: Collection[Hashable]) -> "_Turn":
        """To be entered: all of these keys, behind those that called before. So no two wait for each other."""
        return _Turn(self._last, keys)

    async def act(
        self,
        items: Sequence[T],
        keys_of: Callable[[T], Set[Hashable]],
        action: Callable[[Sequence[T]], Awaitable[None]],
    ) -> None:
        """Act on the items whose keys nobody has, and on the others together when theirs are free.

        Raises what an action raises, when both are done.
        """
        free, held, taken = list[T](), list[T](), set[Hashable]()
        for item in items:
            keys = keys_of(item)
            if keys.isdisjoint(taken) and not any(key in self._last for key in keys):
                free.append(item)
            else:
                held.append(item)
                taken |= keys

        async def take_turn(turn: _Turn, part: Sequence[T]) -> None:
            async with turn:
                await action(part)

        parts = [part for part in (free, held) if part]
        turns = [self.of({key for item in part for key in keys_of(item)}) for part in parts]
        await together(map(take_turn, turns, parts))


class _Turn:
    def __init__(self, last: dict[Hashable, "_Turn"], keys: Collection[Hashable]):
        self._last, self._keys = last, keys
        self._done = asyncio.get_running_loop().create_future()
        self._earlier = {last[key]._done for key in keys if key in last}
        last.update(dict.fromkeys(keys, self))

    async def __aenter__(self) -> None:
        try:
            if self._earlier:
                await asyncio.wait(self._earlier)
        except BaseException:
            self._end()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        self._done.set_result(None)
        for key in self._keys:
            if self._last.get(key) is self:
                del self._last[key]
