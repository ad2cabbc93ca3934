"""The receivers that this process holds. One that leaves is held for a moment more: a page that reloads never left."""

import asyncio
from collections.abc import Iterable, Sequence

import structlog

from messaging import holders
from messaging.realtime.together import Together
from sprayer_project.errors import STORE_ERRORS

log = structlog.get_logger(__name__)

GRACE = 3.0
"""Seconds for a receiver to come back before it counts as gone."""

Held = tuple[str, str]
"""tenant, receiver"""


class Holdings:
    def __init__(self, process: str) -> None:
        self.process = process
        self.grace = GRACE
        self._hold = Together(self._hold_all)
        self._release = Together(self._release_all)
        self._leaving: dict[Held, asyncio.TimerHandle] = {}
        self._releasing: dict[Held, asyncio.Task[None]] = {}

    @property
    def leaving(self) -> int:
        return len(self._leaving) + len(self._releasing)

    async def take(self, tenant: str, receiver: str) -> None:
        """Wake-ups for the receiver come here from now on. Raises a store's error."""
        key = (tenant, receiver)
        if timer := self._leaving.pop(key, None):
            timer.cancel()
            return
        if release := self._releasing.get(key):
            await asyncio.wait([release])
        await self._hold(tenant, receiver)

    def leave(self, tenant: str, receiver: str) -> None:
        """The receiver's last connection here is over."""
        key = (tenant, receiver)
        self._leaving[key] = asyncio.get_running_loop().call_later(self.grace, self._let_go, key)

    async def released(self) -> None:
        """Let everybody go who is leaving, now."""
        self.grace = 0
        for key, timer in list(self._leaving.items()):
            timer.cancel()
            self._let_go(key)
        if self._releasing:
            await asyncio.wait(list(self._releasing.values()))

    async def renew(self, tenant: str, receivers: Iterable[str]) -> list[tuple[str, int]]:
        """Renew the leases; answers each receiver's epoch and last offset. Raises a store's error."""
        return await holders.hold(tenant, list(receivers), self.process)

    def _let_go(self, key: Held) -> None:
        self._leaving.pop(key, None)
        task = asyncio.get_running_loop().create_task(self._release_one(key))
        self._releasing[key] = task
        task.add_done_callback(lambda done: self._releasing.pop(key, None))

    async def _release_one(self, key: Held) -> None:
        try:
            await self._release(*key)
        except STORE_ERRORS as error:
            log.info("left to its lease", tenant=key[0], error=type(error).__name__)

    async def _hold_all(self, tenant: str, receivers: Sequence[str]) -> Sequence[tuple[str, int]]:
        return await holders.hold(tenant, receivers, self.process)

    async def _release_all(self, tenant: str, receivers: Sequence[str]) -> Sequence[None]:
        await holders.release(tenant, receivers, self.process)
        return [None] * len(receivers)
