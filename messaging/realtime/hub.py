"""One hub a process: it hears that inboxes have grown, reads them once and hands the frames to local connections.

A connection registers, the hub is subscribed, and only then its inbox is read: nothing can fall between. After every
(re)subscription and every REALTIME_CHECK seconds the hub compares the last offsets of its inboxes with what its
connections have seen, so that a lost wake-up costs time only.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import structlog
from django.conf import settings

from messaging import holders, inbox, inbox_restore
from messaging.holders import Hold
from messaging.inbox import Entry, View
from messaging.realtime import wakes
from messaging.realtime.bodies import Bodies, portions
from messaging.realtime.connection import Connection
from messaging.realtime.holdings import Holdings
from messaging.realtime.message_frames import Frame, Frames
from messaging.realtime.refusals import Restarting, TooMany, Unavailable
from messaging.realtime.together import Together
from messaging.realtime.wakes import Wake
from sprayer_project import redis
from sprayer_project.errors import STORE_ERRORS, StoreUnavailable
from sprayer_project.metrics import CONNECTIONS

log = structlog.get_logger(__name__)

_BATCH, _ENTRIES = 200, 100
_SUBSCRIBE_TIMEOUT = 3.0
_PAUSE = 0.5
_FAREWELL = 2.0


class Hub:
    def __init__(self) -> None:
        self.draining = False
        self.bodies = Bodies()
        self.look = Together(self._look)
        """The view of one receiver's inbox, without entries. Raises a store's error."""
        self._holdings = Holdings()
        self._admitted: Counter[str | tuple[str, str]] = Counter()
        self._members: dict[tuple[str, str], set[Connection]] = {}
        self._dirty: defaultdict[str, set[str]] = defaultdict(set)
        self._readers: dict[str, asyncio.Task[None]] = {}
        self._subscribed: dict[int, asyncio.Event] = {}
        self._beats: dict[int, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def admit(self, member: Connection) -> None:
        """Count a new connection; remove() counts it out. Raises TooMany."""
        tenant, pair = member.tenant, (member.tenant, member.receiver)
        if self._admitted[pair] >= settings.REALTIME_RECEIVER_CONNECTIONS:
            raise TooMany("This receiver has as many connections as it may have: close some.")
        if self._admitted[tenant] >= settings.REALTIME_TENANT_CONNECTIONS:
            raise TooMany("This tenant has as many connections as it may have: connect again in a while.")
        self._admitted[tenant] += 1
        self._admitted[pair] += 1
        member.admitted = True
        CONNECTIONS.labels(transport=member.transport).inc()

    async def add(self, member: Connection) -> None:
        """Register a connection that has been placed; its inbox is read at once. Raises Refused and a store's error."""
        await self._subscribe(redis.shard_of(member.tenant))
        if self.draining:
            raise Restarting
        self._members.setdefault((member.tenant, member.receiver), set()).add(member)
        await self._holdings.take(member.tenant, member.receiver)
        member.wake = partial(self.mark, member.tenant, (member.receiver,))
        member.wake()

    def remove(self, member: Connection) -> None:
        """The connection is over, registered or not."""
        member.over()
        pair = (member.tenant, member.receiver)
        if member.admitted:
            member.admitted = False
            self._count_out(member.tenant)
            self._count_out(pair)
            CONNECTIONS.labels(transport=member.transport).dec()
        members = self._members.get(pair, set())
        members.discard(member)
        if not members and self._members.pop(pair, None) is not None:
            self._holdings.leave(*pair)

    def _count_out(self, key: str | tuple[str, str]) -> None:
        self._admitted[key] -= 1
        if not self._admitted[key]:
            del self._admitted[key]

    def mark(self, tenant: str, receivers: Iterable[str]) -> None:
        """Read these inboxes soon."""
        held = {receiver for receiver in receivers if (tenant, receiver) in self._members}
        if not held:
            return
        self._dirty[tenant] |= held
        if tenant not in self._readers:
            self._readers[tenant] = self._spawn(self._read_tenant(tenant))

    async def read_once(self, member: Connection) -> None:
        """Give a connection that is placed, and not registered, what waits now. Raises a store's error."""
        await inbox_restore.whole(partial(self._read_once, member))

    async def drain(self) -> None:
        """Send every connection to another process; new ones are refused."""
        self.draining = True
        for member in [member for members in self._members.values() for member in members]:
            await member.expel(Restarting())

    async def farewell(self) -> None:
        """The process ends: nobody is connected to it any more."""
        await self._holdings.released()
        for shard, beat in self._beats.items():
            while not beat.done():
                # One cancel may be lost: in Python 3.11 asyncio.wait_for, by which redis-py sends, swallows one that
                # comes as its command ends.
                beat.cancel()
                await asyncio.wait([beat], timeout=_PAUSE)
            await self._try(holders.die(shard, self._holdings.process))
        await self._holdings.comings.reported(_FAREWELL)

    @property
    def connections(self) -> int:
        return sum(len(members) for members in self._members.values())

    @property
    def leaving(self) -> int:
        """Receivers that have left and are held for a moment more."""
        return self._holdings.leaving

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _read_tenant(self, tenant: str) -> None:
        try:
            while self._dirty[tenant]:
                receivers = [self._dirty[tenant].pop() for _ in range(min(_BATCH, len(self._dirty[tenant])))]
                try:
                    await inbox_restore.whole(partial(self._read_batch, tenant, receivers))
                except STORE_ERRORS as error:
                    log.warning("waiting for a store", tenant=tenant, error=type(error).__name__)
                    self._dirty[tenant].update(receivers)
                    await asyncio.sleep(_PAUSE)
        finally:
            del self._readers[tenant]
            if not self._dirty[tenant]:
                del self._dirty[tenant]

    async def _read_batch(self, tenant: str, receivers: Sequence[str]) -> None:
        positions = []
        for receiver in receivers:
            ready = [member.position.offset for member in self._of(tenant, receiver) if member.ready]
            if ready:
                positions.append((receiver, min(ready)))
        if not positions:
            return
        views = await inbox.read(tenant, positions, _ENTRIES)
        for portion in portions(list(zip(positions, views, strict=True))):
            wanted = {entry.message for _, view in portion for entry in view.entries}
            made = Frames(await self.bodies.get(tenant, wanted))
            for (receiver, _), view in portion:
                await self._give(tenant, receiver, view, made.of(view.entries))

    async def _read_once(self, member: Connection) -> None:
        (view,) = await inbox.read(member.tenant, [(member.receiver, member.position.offset)], _ENTRIES)
        bodies = await self.bodies.get(member.tenant, {entry.message for entry in view.entries})
        await member.follow(view, Frames(bodies).of(view.entries))

    async def _look(self, tenant: str, receivers: Sequence[str]) -> list[View]:
        positions = [(receiver, 0) for receiver in receivers]
        return await inbox_restore.whole(partial(inbox.read, tenant, positions, 0))

    async def _give(self, tenant: str, receiver: str, view: View, messages: Sequence[tuple[Entry, Frame]]) -> None:
        again = view.upto < view.last
        for member in self._of(tenant, receiver):
            try:
                done = await member.follow(view, messages)
            except Exception:
                self._failed(member)
                continue
            again = again or (not done and member.ready)
        if again:
            self.mark(tenant, [receiver])

    def _hand_on(self, wake: Wake) -> None:
        """Give a message that has just come; inboxes of whom something else comes first are read."""
        tenant, news = wake.tenant, wake.news
        if news is None:
            self.mark(tenant, wake.receivers)
            return
        made, late, id, excluded = Frames({news.message: news.body}), [], news.message, news.excluded
        for receiver, epoch, place, group in wake.places:
            offset = int(place)
            for member in tuple(self._members.get((tenant, receiver), ())):
                try:
                    if not member.give(epoch, offset, excluded, made.get(id, offset, group)):
                        late.append(receiver)
                except Exception:
                    self._failed(member)
        if late:
            self.bodies.remember(tenant, {news.message: news.body})
            self.mark(tenant, late)

    def _failed(self, member: Connection) -> None:
        """The others of this tenant must not wait for it."""
        log.exception("a connection failed", tenant=member.tenant, transport=member.transport)
        self.remove(member)
        self._spawn(member.expel(Unavailable()))

    def _of(self, tenant: str, receiver: str) -> list[Connection]:
        return list(self._members.get((tenant, receiver), ()))

    async def _subscribe(self, shard: int) -> None:
        if shard not in self._subscribed:
            self._subscribed[shard] = asyncio.Event()
            self._spawn(self._listen(shard))
            self._spawn(self._for_ever(settings.REALTIME_CHECK, partial(self._check, shard)))
            self._beats[shard] = self._spawn(self._for_ever(holders.BEAT, partial(self._holdings.live, shard)))
        if self._subscribed[shard].is_set():
            return
        try:
            await asyncio.wait_for(self._subscribed[shard].wait(), _SUBSCRIBE_TIMEOUT)
        except TimeoutError as error:
            raise StoreUnavailable("Redis") from error

    async def _listen(self, shard: int) -> None:
        """Hear wake-ups for ever."""
        while True:
            await self._try(self._hear(shard))
            await asyncio.sleep(_PAUSE)

    async def _hear(self, shard: int) -> None:
        pubsub = redis.ashard(shard).pubsub()
        try:
            await pubsub.subscribe(inbox.WAKE + self._holdings.process)
            while True:
                heard = await pubsub.get_message(timeout=10)
                if heard is None:
                    await pubsub.ping()
                elif heard["type"] == "subscribe":
                    await self._holdings.live(shard)
                    self._subscribed[shard].set()
                    self._spawn(self._try(self._check(shard)))
                elif heard["type"] == "message":
                    self._hand_on(wakes.decode(heard["data"]))
        finally:
            self._subscribed[shard].clear()
            await pubsub.aclose()  # type: ignore[no-untyped-call]

    async def _for_ever(self, seconds: float, action: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            await self._try(action())

    async def _try(self, work: Awaitable[object]) -> None:
        """Nothing ends the loops: whoever died of a mistake would hear no wake-up and hold nobody until a restart."""
        try:
            await work
        except STORE_ERRORS as error:
            log.warning("waiting for a store", error=type(error).__name__)
        except Exception:
            log.exception("the hub goes on")

    async def _check(self, shard: int) -> None:
        """Renew the leases of what this process holds and read what has grown unheard."""
        held: defaultdict[str, list[str]] = defaultdict(list)
        for tenant, receiver in self._members:
            if redis.shard_of(tenant) == shard:
                held[tenant].append(receiver)
        for tenant, receivers in held.items():
            for start in range(0, len(receivers), _BATCH):
                batch = [name for name in receivers[start : start + _BATCH] if (tenant, name) in self._members]
                found = await self._holdings.renew(tenant, batch)
                self.mark(
                    tenant, [name for name, at in zip(batch, found, strict=True) if self._behind(tenant, name, at)]
                )

    def _behind(self, tenant: str, receiver: str, at: Hold) -> bool:
        positions = [member.position for member in self._of(tenant, receiver)]
        return any(position.epoch != at.epoch or position.offset < at.last for position in positions)


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def current() -> Hub:
    """The hub of the running event loop."""
    return _hubs.setdefault(asyncio.get_running_loop(), Hub())
