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
_CHUNK, _PAUSE = 200, 1.0

Held = tuple[str, str]
"""tenant, receiver"""


class Holdings:
    def __init__(self) -> None:
        self.process = new_id("prc")
        self.comings = Comings()
        self._grace = GRACE
        self._hold = Together(self._hold_all)
        self._release = Together(self._release_all)
        self._wanted: set[Held] = set()
        self._held: set[Held] = set()
        self._leaving: dict[Held, asyncio.TimerHandle] = {}
        self._settling: dict[Held, asyncio.Task[None]] = {}
        self._renewals: set[asyncio.Task[list[Hold]]] = set()

    @property
    def leaving(self) -> int:
        return len(self._leaving) + len(self._settling.keys() - self._wanted)

    async def take(self, tenant: str, receiver: str) -> None:
        """Wake-ups for the receiver come here from now on. Raises a store's error."""
        key = (tenant, receiver)
        self._wanted.add(key)
        if timer := self._leaving.pop(key, None):
            timer.cancel()
            # Held anew: whoever left was not looked after meanwhile, and Redis may have been emptied.
            self._held.discard(key)
        if key not in self._held:
            await asyncio.shield(self._settled(key))

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
        if self._settling:
            await asyncio.wait(list(self._settling.values()))

    async def renew(self, tenant: str, receivers: Sequence[str]) -> list[Hold]:
        """Hold receivers on who have connections here. Raises a store's error."""
        renewal = asyncio.get_running_loop().create_task(self._hold_all(tenant, receivers))
        self._renewals.add(renewal)
        renewal.add_done_callback(self._renewals.discard)
        return await renewal

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
        self._wanted.discard(key)
        self._held.discard(key)
        self._settled(key)

    def _settled(self, key: Held) -> asyncio.Task[None]:
        if key not in self._settling:
            self._settling[key] = asyncio.get_running_loop().create_task(self._settle(key))
        return self._settling[key]

    async def _settle(self, key: Held) -> None:
        """Hold it or let it go, never both at a time, until that is as wanted. Raises a store's error while it is."""
        held = None
        try:
            while held is not (wanted := key in self._wanted):
                try:
                    await (self._hold(*key) if wanted else self._release(*key))
                    held = wanted
                except STORE_ERRORS as error:
                    if wanted and key in self._wanted:
                        raise
                    if not self._grace:
                        log.info("left to its lease", tenant=key[0], error=type(error).__name__)
                        return
                    await asyncio.sleep(_PAUSE)
            if held:
                self._held.add(key)
        finally:
            del self._settling[key]

    async def _hold_all(self, tenant: str, receivers: Sequence[str]) -> list[Hold]:
        found = await holders.hold(tenant, receivers, self.process)
        self.comings.add(tenant, [name for name, hold in zip(receivers, found, strict=True) if hold.first], True)
        return found

    async def _release_all(self, tenant: str, receivers: Sequence[str]) -> Sequence[None]:
        if self._renewals:
            # One that began before they left must not hold them afterwards.
            await asyncio.wait(self._renewals)
        await self._give_up(tenant, receivers, self.process)
        return [None] * len(receivers)

    async def _give_up(self, tenant: str, receivers: Sequence[str], process: str) -> None:
        gone = await holders.release(tenant, receivers, process)
        self.comings.add(tenant, [name for name, last in zip(receivers, gone, strict=True) if last], False)
