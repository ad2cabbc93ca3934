"""What one process does for a receiver stays in the order of its jobs, whatever else it does side by side."""

import asyncio
from collections.abc import AsyncIterator, Collection, Hashable
from contextlib import asynccontextmanager


class Order:
    """Who asks for a key has it when those that asked for it before are done. One event loop's."""

    def __init__(self) -> None:
        self._last: dict[Hashable, asyncio.Future[None]] = {}

    @asynccontextmanager
    async def of(self, keys: Collection[Hashable]) -> AsyncIterator[None]:
        """All of these keys at a time: nobody waits for who asked later, so that no two wait for each other."""
        earlier = {self._last[key] for key in keys if key in self._last}
        mine = asyncio.get_running_loop().create_future()
        self._last.update(dict.fromkeys(keys, mine))
        try:
            if earlier:
                await asyncio.wait(earlier)
            yield
        finally:
            mine.set_result(None)
            for key in keys:
                if self._last.get(key) is mine:
                    del self._last[key]
