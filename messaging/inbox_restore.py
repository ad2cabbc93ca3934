"""Putting inboxes back from the record: what was sent to them and is neither acknowledged nor expired.

Two processes may restore one inbox at the same time: both append the same messages in the same order, appending is
idempotent, and nothing new gets in before one of them has finished. So there is no lock to wait for or to lose.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

import structlog

from feedback.selectors import DeliveryRow
from feedback.waiting import waiting
from messaging import inbox, payloads
from messaging.channels.base import Outgoing, Recipient
from messaging.inbox import Lost
from messaging.payloads import Payload
from messaging.realtime import frames

log = structlog.get_logger(__name__)

T = TypeVar("T")
_BATCH = 100


async def whole(action: Callable[[], Awaitable[T]]) -> T:
    """The action's result, once the inboxes that it found lost are restored. Raises the stores' errors."""
    while True:
        try:
            return await action()
        except Lost as lost:
            await restore(lost)


async def restore(lost: Lost) -> None:
    """Put back what the record says is waiting in these inboxes, under a new epoch, in the order of the messages."""
    rows = await asyncio.to_thread(waiting, lost.tenant, inbox.CHANNEL, lost.receivers, datetime.now(UTC))
    by_message: defaultdict[str, list[Recipient]] = defaultdict(list)
    for row in rows:
        by_message[row.message].append(_recipient(row))
    messages = sorted(by_message)
    for start in range(0, len(messages), _BATCH):
        batch = messages[start : start + _BATCH]
        found = await payloads.load(lost.tenant, batch)
        for message in batch:
            if message in found:
                outgoing = _outgoing(found[message])
                await inbox.append(outgoing, by_message[message], frames.message_body(outgoing), restoring=True)
    if await inbox.open_restored(lost) and rows:
        log.info("inboxes restored", tenant=lost.tenant, inboxes=len(lost.receivers), deliveries=len(rows))


def _recipient(row: DeliveryRow) -> Recipient:
    return Recipient(
        delivery=row.id,
        receiver=row.receiver,
        address="",
        address_hash=row.address_hash,
        round=row.round,
        attempt=row.attempt,
        group=row.group,
    )


def _outgoing(payload: Payload) -> Outgoing:
    return Outgoing(
        tenant=payload.tenant,
        id=payload.id,
        mode=payload.mode,
        content=payload.content,
        overrides=payload.overrides.get(inbox.CHANNEL, {}),
        metadata=payload.metadata,
        attributes=payload.attributes,
        priority=payload.priority,
        collapse_key=payload.collapse_key,
        created_at=payload.created,
        expires_at=payload.expires,
    )
