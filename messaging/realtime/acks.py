"""Acknowledgements on their way: first reported to feedback, then the inbox's default start moves.

What cannot be reported because a store is away waits here and is tried again. A process that dies takes its pending
acks with it: their messages are then offered again, which their receivers acknowledge again.
"""

import asyncio
from collections import defaultdict
from datetime import UTC, datetime
from weakref import WeakKeyDictionary

import structlog

from feedback import services as feedback
from feedback.events import DeliveryEvent, Status
from messaging import inbox
from messaging.inbox import Ack, Entry
from sprayer_project.errors import STORE_ERRORS

log = structlog.get_logger(__name__)

_LINGER, _PAUSE, _BATCH = 0.05, 1.0, 500


class Acks:
    """Everything that the receivers of this process have acknowledged and that is not settled yet."""

    def __init__(self) -> None:
        self._pending: dict[tuple[str, str, str], int] = {}
        self._task: asyncio.Task[None] | None = None

    def add(self, tenant: str, receiver: str, epoch: str, offset: int) -> None:
        key = (tenant, receiver, epoch)
        self._pending[key] = max(offset, self._pending.get(key, 0))
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._settle_all())

    async def settled(self, limit: float) -> bool:
        """Wait until nothing is pending, `limit` seconds at most."""
        if self._task is not None and not self._task.done():
            await asyncio.wait([self._task], timeout=limit)
        return not self._pending

    async def _settle_all(self) -> None:
        while self._pending:
            await asyncio.sleep(_LINGER)
            batch = dict(list(self._pending.items())[:_BATCH])
            by_tenant: defaultdict[str, list[Ack]] = defaultdict(list)
            for (tenant, receiver, epoch), offset in batch.items():
                by_tenant[tenant].append(Ack(receiver, epoch, offset))
            try:
                for tenant, acks in by_tenant.items():
                    await _settle(tenant, acks)
            except STORE_ERRORS as error:
                log.warning("acks wait for a store", pending=len(self._pending), error=type(error).__name__)
                await asyncio.sleep(_PAUSE)
                continue
            for key, offset in batch.items():
                if self._pending[key] == offset:
                    del self._pending[key]


async def _settle(tenant: str, acks: list[Ack]) -> None:
    entries = await inbox.newly_acknowledged(tenant, acks)
    metadata = await inbox.metadata(tenant, list({entry.message for found in entries for entry in found}))
    events = [
        _delivered(tenant, ack.receiver, entry, metadata[entry.message])
        for ack, found in zip(acks, entries, strict=True)
        for entry in found
    ]
    if events:
        await feedback.areport(events)
    await inbox.acknowledge(tenant, acks)


def _delivered(tenant: str, receiver: str, entry: Entry, metadata: dict[str, str]) -> DeliveryEvent:
    return DeliveryEvent(
        tenant=tenant,
        mode=entry.mode,
        message=entry.message,
        delivery=entry.delivery,
        receiver=receiver,
        channel=inbox.CHANNEL,
        status=Status.DELIVERED,
        at=datetime.now(UTC),
        round=entry.round,
        event=f"evt_{entry.delivery.partition('_')[2]}_delivered",
        group=entry.group,
        expires_at=entry.expires_at,
        metadata=metadata,
    )


_of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, Acks] = WeakKeyDictionary()


def current() -> Acks:
    """The acknowledgements of the running event loop."""
    return _of_loops.setdefault(asyncio.get_running_loop(), Acks())
