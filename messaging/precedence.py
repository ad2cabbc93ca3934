"""Single messages go first: at every step a process's pages of broadcasts let those pass that it has in hand.

One event loop serves both lanes, and one page is work for half a second: a single message that takes turns with
four pages at each of its steps would wait for each of their steps.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from sprayer_project.worker import Handler, Item

PATIENCE = 0.01
"""Seconds that a step waits for single messages at most: under a stream of them broadcasts go on, too."""


class Precedence:
    """One a process and event loop."""

    def __init__(self) -> None:
        self._singles = 0
        self._none = asyncio.Event()
        self._none.set()

    def order(self, lane: str, handler: Handler) -> Handler:
        """A lane's handler; while it has single messages in hand, the other lane gives way."""
        return self._first(handler) if lane == "single" else handler

    def turns(self, lane: str) -> Callable[[], Awaitable[None]]:
        """What a lane calls between two steps."""
        return _at_once if lane == "single" else self._give_way

    def _first(self, handler: Handler) -> Handler:
        async def handle(items: Sequence[Item]) -> None:
            self._singles += 1
            self._none.clear()
            try:
                await handler(items)
            finally:
                self._singles -= 1
                if not self._singles:
                    self._none.set()

        return handle

    async def _give_way(self) -> None:
        await asyncio.sleep(0)  # whoever else is ready has a turn
        if self._singles:
            try:
                await asyncio.wait_for(self._none.wait(), PATIENCE)
            except TimeoutError:
                return


async def _at_once() -> None:
    return
