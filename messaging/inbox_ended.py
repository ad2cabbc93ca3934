"""Reporting what left inboxes before its receiver acknowledged it: overflowed, or replaced by a newer message.

Appending notes it in Redis in the same step that takes it out, so that a process that dies in between loses nothing:
whoever appends next for the tenant reports it. No append waits for that: of a process that appends all the time to full
inboxes, one task a tenant reports what has come together.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from feedback import services as feedback
from feedback.events import DeliveryEvent, Status
from messaging import inbox
from messaging.inbox import Entry
from sprayer_project import redis
from sprayer_project.errors import STORE_ERRORS

log = structlog.get_logger(__name__)

_SOME = 500
_GATHER = 0.1
"""Seconds between two reports of a tenant."""


@dataclass(frozen=True, slots=True)
class Ended:
    """An entry that left its inbox unacknowledged."""

    receiver: str
    reason: str
    """inbox_overflow or replaced"""
    entry: Entry


class Reports:
    """What one process reports, tenant by tenant, on the event loop that asks."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._asked: set[str] = set()

    def ask(self, tenant: str) -> None:
        """Something is noted for a tenant: report it soon."""
        self._asked.add(tenant)
        if tenant not in self._tasks:
            self._tasks[tenant] = asyncio.create_task(self._run(tenant))

    async def aclose(self) -> None:
        """Wait for what was asked."""
        if self._tasks:
            await asyncio.wait(self._tasks.values())

    async def _run(self, tenant: str) -> None:
        try:
            while tenant in self._asked:
                self._asked.discard(tenant)
                await report(tenant)
                await asyncio.sleep(_GATHER)
        except Exception:
            log.exception("what left inboxes could not be reported", tenant=tenant)
        finally:
            del self._tasks[tenant]


async def report(tenant: str) -> None:
    """Report all that is noted for a tenant. Where a store is away it stays noted."""
    try:
        while found := await noted(tenant):
            await feedback.areport(await _events(tenant, found))
            await _forget(tenant, found)
            if len(found) < _SOME:
                break
    except STORE_ERRORS as error:
        log.warning("what left inboxes is reported later", tenant=tenant, error=type(error).__name__)


async def noted(tenant: str) -> list[Ended]:
    """Some of what left the tenant's inboxes unacknowledged and is not reported yet."""
    client: Any = redis.aclient(tenant)
    flat = await client.hrandfield(inbox.ended_key(tenant), _SOME, withvalues=True)
    found = []
    for text in (flat or ())[1::2]:
        receiver, reason, message, delivery, round, mode, group, expires = json.loads(text)
        expires_at = datetime.fromtimestamp(int(expires) / 1000, UTC)
        found.append(Ended(receiver, reason, Entry(0, message, delivery, int(round), mode, group or None, expires_at)))
    return found


async def _forget(tenant: str, reported: Sequence[Ended]) -> None:
    fields = [f"{found.entry.delivery}:{found.entry.round}" for found in reported]
    client: Any = redis.aclient(tenant)
    await client.hdel(inbox.ended_key(tenant), *fields)


async def _events(tenant: str, ended: Sequence[Ended]) -> list[DeliveryEvent]:
    metadata = await inbox.metadata(tenant, list({found.entry.message for found in ended}))
    return [_event(tenant, found, metadata[found.entry.message]) for found in ended]


def _event(tenant: str, ended: Ended, metadata: dict[str, str]) -> DeliveryEvent:
    entry = ended.entry
    return DeliveryEvent(
        tenant=tenant,
        mode=entry.mode,
        message=entry.message,
        delivery=entry.delivery,
        receiver=ended.receiver,
        channel=inbox.CHANNEL,
        status=Status.SUPPRESSED,
        at=datetime.now(UTC),
        round=entry.round,
        event=f"evt_{entry.delivery.partition('_')[2]}_{entry.round}_{ended.reason}",
        group=entry.group,
        reason=ended.reason,
        expires_at=entry.expires_at,
        metadata=metadata,
        waiting=True,
    )
