"""Calls for single receivers, made together: all that ask while one round trip is under way share the next."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")

_MOST = 200


class Together(Generic[T]):
    """call answers one value a receiver, in their order. So a flood of connections needs one Redis connection."""

    def __init__(self, call: Callable[[str, Sequence[str]], Awaitable[Sequence[T]]]) -> None:
        self._call = call
        self._waiting: defaultdict[str, dict[str, asyncio.Future[T]]] = defaultdict(dict)
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def __call__(self, tenant: str, receiver: str) -> T:
        """Raises what the call raises."""
        waiting = self._waiting[tenant]
        if receiver not in waiting:
            waiting[receiver] = asyncio.get_running_loop().create_future()
        future = waiting[receiver]
        if tenant not in self._tasks:
            self._tasks[tenant] = asyncio.get_running_loop().create_task(self._run(tenant))
        return await asyncio.shield(future)

    async def _run(self, tenant: str) -> None:
        while waiting := self._waiting[tenant]:
            batch = {name: waiting.pop(name) for name in list(waiting)[:_MOST]}
            try:
                answers = await self._call(tenant, list(batch))
            except Exception as error:
                for future in batch.values():
                    future.set_exception(error)
                    future.exception()
            else:
                for future, answer in zip(batch.values(), answers, strict=True):
                    future.set_result(answer)
        del self._waiting[tenant], self._tasks[tenant]
