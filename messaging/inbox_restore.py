"""Putting inboxes back from the record: what was sent to them and is neither acknowledged nor expired.

An inbox is restored when somebody uses it. A delivery whose `sent` reaches the record only after that carries the lost
server's name: put_back finds those by it.

Two processes may restore one inbox at the same time: both append the same messages in the same order, appending is
idempotent, and nothing new gets in before one of them has finished. So there is no lock to wait for or to lose.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

import structlog
from django.conf import settings
from redis.exceptions import RedisError

from feedback.selectors import DeliveryRow
from feedback.waiting import keep, waiting
from feedback.waiting import lost as lost_deliveries
from messaging import inbox, payloads
from messaging.channels.base import Outgoing, Recipient
from messaging.inbox import Lost
from messaging.payloads import Payload
from messaging.realtime import frames
from sprayer_project import redis

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
    await _append(lost.tenant, rows, restoring=True)
    if await inbox.open_restored(lost) and rows:
        log.info("inboxes restored", tenant=lost.tenant, inboxes=len(lost.receivers), deliveries=len(rows))


def put_back(limit: int) -> int:
    """Append what is waiting in the record under an incarnation of Redis that is over; how many there were.

    A shard that is away is left for later. Appending is idempotent, so what is there already stays where it is.
    """
    count = 0
    for shard in range(len(settings.REDIS_URLS)):
        try:
            present = redis.incarnation(shard)
            rows = lost_deliveries(shard, present, inbox.CHANNEL, datetime.now(UTC), limit)
            if rows:
                kept = asyncio.run(_put_back(rows))
                # Where the message itself is gone there is nothing to put back, and nothing to look for again.
                keep([(row, kept.get(row.id, f"{shard}/{present}")) for row in rows])
                log.info("put back what a lost Redis held", shard=shard, deliveries=len(rows))
        except RedisError as error:
            log.warning("waiting for a store", shard=shard, error=type(error).__name__)
            continue
        count = max(count, len(rows))
    return count


async def _put_back(rows: Sequence[DeliveryRow]) -> dict[str, str]:
    """delivery -> its new keeper."""
    by_tenant: defaultdict[str, list[DeliveryRow]] = defaultdict(list)
    for row in rows:
        by_tenant[row.tenant].append(row)
    kept: dict[str, str] = {}
    try:
        for tenant, found in by_tenant.items():
            kept |= await whole(partial(_append, tenant, found))
    finally:
        await redis.aclose()
    return kept


async def _append(tenant: str, rows: Sequence[DeliveryRow], restoring: bool = False) -> dict[str, str]:
    """Append rows in the order of their messages: delivery -> keeper. A message that is gone is left out."""
    by_message: defaultdict[str, list[Recipient]] = defaultdict(list)
    for row in rows:
        by_message[row.message].append(_recipient(row))
    messages = sorted(by_message)
    kept: dict[str, str] = {}
    for start in range(0, len(messages), _BATCH):
        batch = messages[start : start + _BATCH]
        found = await payloads.load(tenant, batch)
        for message in batch:
            if message in found:
                outgoing = _outgoing(found[message])
                body = frames.message_body(outgoing)
                appending = await inbox.append(outgoing, by_message[message], body, restoring=restoring)
                kept |= {place.delivery: place.keeper for place in appending.places}
    return kept


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
        exclude_connection=payload.exclude_connection,
    )
