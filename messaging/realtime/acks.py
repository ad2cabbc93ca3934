"""Acknowledgements and reads on their way: first reported to feedback, then the inbox's default start moves.

What cannot be reported because a store is away waits here and is tried again. A process that dies takes its pending
acks with it: their messages are then offered again, which their receivers acknowledge again.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from itertools import islice
from weakref import WeakKeyDictionary

import structlog

from feedback import services as feedback
from feedback.events import DeliveryEvent, Status
from messaging import inbox
from messaging.inbox import Ack, Entry
from sprayer_project.errors import STORE_ERRORS

log = structlog.get_logger(__name__)

_LINGER, _PAUSE, _BATCH = 0.05, 1.0, 500

Inbox = tuple[str, str, str]
"""tenant, receiver, epoch"""
Place = tuple[Inbox, int]


class Acks:
    """Everything that the receivers of this process have acknowledged or read and that is not settled yet."""

    def __init__(self) -> None:
        self._pending: dict[Inbox, int] = {}
        self._reads: dict[Place, None] = {}
        self._task: asyncio.Task[None] | None = None

    def add(self, tenant: str, receiver: str, epoch: str, offset: int) -> None:
        """Everything up to an offset has arrived."""
        key = (tenant, receiver, epoch)
        self._pending[key] = max(offset, self._pending.get(key, 0))
        self._begin()

    def read(self, tenant: str, receiver: str, epoch: str, offset: int) -> None:
        """The message at just this offset was read."""
        self._reads[(tenant, receiver, epoch), offset] = None
        self._begin()

    async def settled(self, limit: float) -> bool:
        """Wait until nothing is pending, `limit` seconds at most."""
        if self._task is not None and not self._task.done():
            await asyncio.wait([self._task], timeout=limit)
        return not self._pending and not self._reads

    def _begin(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._settle_all())

    async def _settle_all(self) -> None:
        while self._pending or self._reads:
            await asyncio.sleep(_LINGER)
            acks = list(islice(self._pending.items(), _BATCH))
            reads = list(islice(self._reads, _BATCH))
            try:
                await _settle(_settle_acks, acks)
                await _settle(_settle_reads, reads)
            except STORE_ERRORS as error:
                pending = len(self._pending) + len(self._reads)
                log.warning("acks wait for a store", pending=pending, error=type(error).__name__)
                await asyncio.sleep(_PAUSE)
                continue
            for key, offset in acks:
                if self._pending[key] == offset:
                    del self._pending[key]
            for read in reads:
                del self._reads[read]


async def _settle(settle: Callable[[Sequence[Place]], Awaitable[None]], places: Sequence[Place]) -> None:
    """One at which anything but a store fails is dropped: the others must not wait for it. Raises a store's error."""
    try:
        await settle(places)
    except STORE_ERRORS:
        raise
    except Exception:
        if len(places) == 1:
            ((tenant, _, _), _) = places[0]
            log.exception("an acknowledgement is lost", tenant=tenant)
            return
        middle = len(places) // 2
        await _settle(settle, places[:middle])
        await _settle(settle, places[middle:])


async def _settle_acks(places: Sequence[Place]) -> None:
    for tenant, acks in _by_tenant(places).items():
        await _report(tenant, acks, await inbox.newly_acknowledged(tenant, acks), Status.DELIVERED)
        await inbox.acknowledge(tenant, acks)


async def _settle_reads(places: Sequence[Place]) -> None:
    for tenant, reads in _by_tenant(places).items():
        await _report(tenant, reads, await inbox.entries_at(tenant, reads), Status.READ)


def _by_tenant(places: Iterable[Place]) -> dict[str, list[Ack]]:
    found: defaultdict[str, list[Ack]] = defaultdict(list)
    for (tenant, receiver, epoch), offset in places:
        found[tenant].append(Ack(receiver, epoch, offset))
    return found


async def _report(tenant: str, acks: list[Ack], entries: list[list[Entry]], status: Status) -> None:
    metadata = await inbox.metadata(tenant, list({entry.message for found in entries for entry in found}))
    events = [
        _event(tenant, ack.receiver, entry, metadata[entry.message], status)
        for ack, found in zip(acks, entries, strict=True)
        for entry in found
    ]
    if events:
        await feedback.areport(events)


def _event(tenant: str, receiver: str, entry: Entry, metadata: dict[str, str], status: Status) -> DeliveryEvent:
    return DeliveryEvent(
        tenant=tenant,
        mode=entry.mode,
        message=entry.message,
        delivery=entry.delivery,
        receiver=receiver,
        channel=inbox.CHANNEL,
        status=status,
        at=datetime.now(UTC),
        round=entry.round,
        event=f"evt_{entry.delivery.partition('_')[2]}_{status}",
        group=entry.group,
        expires_at=entry.expires_at,
        metadata=metadata,
    )


_of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, Acks] = WeakKeyDictionary()


def current() -> Acks:
    """The acknowledgements of the running event loop."""
    return _of_loops.setdefault(asyncio.get_running_loop(), Acks())
