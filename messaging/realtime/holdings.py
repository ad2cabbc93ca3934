"""The receivers that this process holds. One that leaves is held for a moment more: a page that reloads never left."""

import asyncio
from collections.abc import Sequence

import structlog

from messaging import holders
from messaging.holders import Hold
from messaging.realtime.comings import Comings
from messaging.realtime.together import Together
from sprayer_project.errors import STORE_ERRORS
from sprayer_project.ids import new_id

log = structlog.get_logger(__name__)

GRACE = 3.0
"""Seconds for a receiver to come back before it counts as gone."""
_CHUNK = 200

Held = tuple[str, str]
"""tenant, receiver"""


class Holdings:
    def __init__(self) -> None:
        self.process = new_id("prc")
        self.comings = Comings()
        self._grace = GRACE
        self._hold = Together(self.renew)
        self._release = Together(self._release_all)
        self._held: set[Held] = set()
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
            # Held anew: whoever left was not looked after meanwhile, and Redis may have been emptied.
            self._held.discard(key)
        if release := self._releasing.get(key):
            await asyncio.wait([release])
        if key not in self._held:
            await self._hold(tenant, receiver)
            self._held.add(key)

    def leave(self, tenant: str, receiver: str) -> None:
        """The receiver's last connection here is over."""
        key = (tenant, receiver)
        self._leaving[key] = asyncio.get_running_loop().call_later(self._grace, self._let_go, key)

    async def released(self) -> None:
        """Let everybody go who is leaving, now."""
        self._grace = 0
        for key, timer in list(self._leaving.items()):
            timer.cancel()
            self._let_go(key)
        if self._releasing:
            await asyncio.wait(list(self._releasing.values()))

    async def renew(self, tenant: str, receivers: Sequence[str]) -> list[Hold]:
        """Hold them, or hold them on. Raises a store's error."""
        found = await holders.hold(tenant, receivers, self.process)
        self.comings.add(tenant, [name for name, hold in zip(receivers, found, strict=True) if hold.first], True)
        return found

    async def live(self, shard: int) -> None:
        """Say that this process lives, and let go what dead ones held. Raises a store's error."""
        await holders.live(shard, self.process)
        for process in await holders.dead(shard):
            if not await holders.die(shard, process):
                continue
            for tenant, receivers in (await holders.held(shard, process)).items():
                log.warning("a process died", process=process, tenant=tenant, receivers=len(receivers))
                for start in range(0, len(receivers), _CHUNK):
                    await self._give_up(tenant, receivers[start : start + _CHUNK], process)

    def _let_go(self, key: Held) -> None:
        self._leaving.pop(key, None)
        self._held.discard(key)
        task = asyncio.get_running_loop().create_task(self._release_one(key))
        self._releasing[key] = task
        task.add_done_callback(lambda done: self._releasing.pop(key, None))

    async def _release_one(self, key: Held) -> None:
        try:
            await self._release(*key)
        except STORE_ERRORS as error:
            log.info("left to its lease", tenant=key[0], error=type(error).__name__)

    async def _release_all(self, tenant: str, receivers: Sequence[str]) -> Sequence[None]:
        await self._give_up(tenant, receivers, self.process)
        return [None] * len(receivers)

    async def _give_up(self, tenant: str, receivers: Sequence[str], process: str) -> None:
        gone = await holders.release(tenant, receivers, process)
        self.comings.add(tenant, [name for name, last in zip(receivers, gone, strict=True) if last], False)
