"""Readers of tails in one process: each tail is read once, and what it says is given to all who follow it here.

A reader that falls behind is cut, and nobody waits for it. Whoever connects again says how far it came.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import structlog

from sprayer_project import redis, tail
from sprayer_project.errors import STORE_ERRORS, Limited, SprayerError
from sprayer_project.flow import Flow
from sprayer_project.metrics import CONNECTIONS
from sprayer_project.tail import Entry, Stand, Tail

log = structlog.get_logger(__name__)

POLL, RENEW = 0.2, 15.0
"""Seconds between two looks at what is followed, and after which a tail on demand is kept on."""
MOST_READERS = 50
"""Of a tenant in a process."""
_ENTRIES = 200
_BEHIND = 1_000
"""Entries that a reader may be behind."""


@dataclass(frozen=True, slots=True)
class Position:
    """How far a reader came in a tail: the last whole entry, and how many events of the one after it."""

    epoch: str
    offset: int
    events: int = 0

    def __str__(self) -> str:
        return f"{self.epoch}.{self.offset}.{self.events}"

    @classmethod
    def parse(cls, text: str) -> "Position":
        """Raises ValueError."""
        epoch, offset, events = text.split(".")
        if not (epoch.isalnum() and offset.isdecimal() and events.isdecimal() and len(text) < 80):
            raise ValueError("not a position")
        return cls(epoch, int(offset), int(events))


@dataclass(frozen=True, slots=True)
class Moved:
    """There may be a hole before what follows in this tail."""

    tail: Tail
    position: Position


@dataclass(frozen=True, slots=True)
class News:
    tail: Tail
    epoch: str
    entry: Entry


class Restarting(SprayerError):
    """This process ends."""

    status = 503

    def __init__(self) -> None:
        super().__init__("restarting", "The server restarts: connect again.", (), 1)


class TooSlow(SprayerError):
    """The client does not take what it is sent."""

    status = 429

    def __init__(self) -> None:
        super().__init__("too_slow", "Too much was not taken for too long.")


class Reader:
    """One connection. `take` gives what it has not seen."""

    def __init__(self, tenant: str, client: Flow) -> None:
        self.tenant, self.client = tenant, client
        self.ended: SprayerError | None = None
        self._items: deque[News | Moved] = deque()
        self._changed = asyncio.Event()
        client.changed = self._changed.set

    def give(self, items: Sequence[News | Moved]) -> None:
        if len(self._items) + len(items) > _BEHIND:
            self.cut()
        else:
            self._items.extend(items)
            self._changed.set()

    def give_first(self, items: Sequence[News | Moved]) -> None:
        self._items.extendleft(reversed(items))

    def end(self, reason: SprayerError) -> None:
        self.ended = reason
        self._changed.set()

    def cut(self) -> None:
        """It is too slow: its connection ends with all that waits for it."""
        log.info("reader cut", tenant=self.tenant)
        self._items.clear()
        self.client.abort()
        self.end(TooSlow())

    async def take(self, seconds: float) -> list[News | Moved]:
        """What came, once the client takes it; nothing after so many seconds, or when it has ended."""
        try:
            async with asyncio.timeout(seconds):
                while self.ended is None and (self.client.paused or not self._items):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return []
        items = list(self._items)
        self._items.clear()
        return items


@dataclass(slots=True)
class _Followed:
    tail: Tail
    epoch: str
    offset: int
    readers: set[Reader] = field(default_factory=set)


class Following:
    """Of one event loop."""

    def __init__(self) -> None:
        self._followed: dict[Tail, _Followed] = {}
        self._admitted: Counter[str] = Counter()
        self._readers: set[Reader] = set()
        self._draining = False
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def admit(self, reader: Reader) -> None:
        """leave() counts it out. Raises Limited, Restarting."""
        self.check(reader.tenant)
        self._readers.add(reader)
        self._admitted[reader.tenant] += 1
        CONNECTIONS.labels(transport="live").inc()

    def check(self, tenant: str) -> None:
        """Whether one more may come. Raises Limited, Restarting."""
        if self._draining:
            raise Restarting
        if self._admitted[tenant] >= MOST_READERS:
            raise Limited("too_many_streams", "This tenant has as many live streams as it may have.", (), 10)

    async def follow(self, reader: Reader, wanted: Tail, since: Position | None) -> tuple[Position, bool]:
        """Give the reader what comes after a position; answers where it begins, and whether nothing is missing.

        Without a position it begins now. Raises redis errors.
        """
        stand = await tail.aopen(wanted)
        followed = self._followed.get(wanted)
        if followed is None:
            followed = self._followed[wanted] = _Followed(wanted, stand.epoch, stand.last)
            self._run(redis.shard_of(wanted.tenant))
        followed.readers.add(reader)
        now = Position(followed.epoch, followed.offset)
        if since is None:
            return now, True
        whole = since.epoch == stand.epoch == followed.epoch and stand.first - 1 <= since.offset <= stand.last
        if not whole or followed.offset - since.offset > _BEHIND:
            return now, False
        if since.offset < followed.offset:
            ((_, entries),) = await tail.aread([(wanted, since.offset)], now.offset - since.offset)
            missed = [News(wanted, now.epoch, entry) for entry in entries if entry.offset <= now.offset]
            reader.give_first(missed)
            return since, len(missed) == now.offset - since.offset
        return since, True

    def leave(self, reader: Reader) -> None:
        reader.client.changed = _nothing
        if reader in self._readers:
            self._readers.remove(reader)
            self._admitted[reader.tenant] -= 1
            CONNECTIONS.labels(transport="live").dec()
        for followed in [followed for followed in self._followed.values() if reader in followed.readers]:
            followed.readers.remove(reader)
            if not followed.readers:
                del self._followed[followed.tail]

    async def drain(self) -> None:
        """Send every reader to another process; new ones are refused."""
        self._draining = True
        for reader in self._readers:
            reader.end(Restarting())

    def _run(self, shard: int) -> None:
        if shard not in self._tasks or self._tasks[shard].done():
            self._tasks[shard] = asyncio.get_running_loop().create_task(self._read_shard(shard))

    async def _read_shard(self, shard: int) -> None:
        """Until nobody follows anything on it."""
        loop = asyncio.get_running_loop()
        renew_at = loop.time() + RENEW
        while followed := self._on(shard):
            try:
                if loop.time() >= renew_at:
                    await self._renew(followed)
                    renew_at = loop.time() + RENEW
                await self._read(followed)
            except STORE_ERRORS as error:
                log.warning("waiting for a store", shard=shard, error=type(error).__name__)
                renew_at = 0.0
            except Exception:
                log.exception("tails could not be read", shard=shard)
            await asyncio.sleep(POLL)

    def _on(self, shard: int) -> list[_Followed]:
        return [found for found in self._followed.values() if redis.shard_of(found.tail.tenant) == shard]

    async def _renew(self, followed: Sequence[_Followed]) -> None:
        for found in followed:
            stand = await tail.aopen(found.tail)
            if stand.epoch != found.epoch:
                self._begin_anew(found, stand)

    async def _read(self, followed: Sequence[_Followed]) -> None:
        answers = await tail.aread([(found.tail, found.offset) for found in followed], _ENTRIES)
        for found, (epoch, entries) in zip(followed, answers, strict=True):
            if epoch != found.epoch:
                self._begin_anew(found, await tail.aopen(found.tail))
            elif entries:
                if entries[0].offset != found.offset + 1:
                    self._move(found, found.epoch, entries[0].offset - 1)
                found.offset = entries[-1].offset
                news = [News(found.tail, found.epoch, entry) for entry in entries]
                for reader in found.readers:
                    reader.give(news)

    def _begin_anew(self, found: _Followed, stand: Stand) -> None:
        """What one on demand holds is all of the new epoch; another one has what was before, too."""
        self._move(found, stand.epoch, 0 if found.tail.on_demand else stand.last)

    def _move(self, found: _Followed, epoch: str, offset: int) -> None:
        found.epoch, found.offset = epoch, offset
        for reader in found.readers:
            reader.give([Moved(found.tail, Position(epoch, offset))])


def _nothing() -> None:
    pass


_followings: WeakKeyDictionary[asyncio.AbstractEventLoop, Following] = WeakKeyDictionary()


def current() -> Following:
    """Of the running event loop."""
    return _followings.setdefault(asyncio.get_running_loop(), Following())
