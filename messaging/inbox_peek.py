"""What waits for a receiver, for people who look: nothing is acknowledged, marked or put back."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from redis.exceptions import RedisError

from messaging import holders, inbox
from messaging.inbox import Lost
from sprayer_project import redis

MOST = 20
"""Messages that are shown; the others are only counted."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One message in an inbox, after the last acknowledged."""

    message: str
    title: str
    group: str | None
    mode: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Inbox:
    waiting: Sequence[Waiting]
    """The oldest first, at most MOST."""
    more: bool
    acknowledged: int
    """The offset from which clients start that name none."""
    holders: int
    """Web processes with connections of the receiver; 0: it is not connected."""


def peek(tenant: str, receiver: str) -> Inbox | None:
    """None while Redis is away. An inbox that is not in memory counts as empty: it comes back when it is used."""
    try:
        held = len(holders.holders_of(tenant, receiver)) if holders.present(tenant, receiver) else 0
        return asyncio.run(_peek(tenant, receiver, held))
    except RedisError:
        return None


async def _peek(tenant: str, receiver: str, held: int) -> Inbox:
    try:
        (start,) = await inbox.read(tenant, [(receiver, 0)], 0)
        (view,) = await inbox.read(tenant, [(receiver, start.acked)], MOST)
        frames = await inbox.frames(tenant, [entry.message for entry in view.entries])
    except Lost:
        return Inbox((), False, 0, held)
    finally:
        await redis.aclose()
    found = [
        Waiting(entry.message, _title(frames.get(entry.message)), entry.group, entry.mode, entry.expires_at)
        for entry in view.entries
    ]
    return Inbox(found, view.upto < view.last, view.acked, held)


def _title(frame: str | None) -> str:
    content = json.loads(frame)["content"] if frame else {}
    return str(content.get("title") or content.get("type") or content.get("body") or "")[:60]
