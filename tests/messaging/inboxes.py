"""Messages straight into inboxes, for tests that do not need what comes before."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from typing import Any

from feedback.events import delivery_id
from messaging import inbox, inbox_restore
from messaging.channels.base import Outgoing, Recipient
from messaging.realtime import frames
from sprayer_project.ids import new_id

_milliseconds = count()


def message(tenant: str = "acme", ttl: float = 3600, mode: str = "live", title: str = "Goal", **more: Any) -> Outgoing:
    """Each one's id is later than the one's before."""
    now = datetime.now(UTC)
    moment = now + timedelta(milliseconds=next(_milliseconds))
    outgoing = Outgoing(
        tenant=tenant,
        id=new_id("msg", moment),
        mode=mode,
        content={"title": title},
        overrides={},
        metadata={"order": "17"},
        attributes={},
        priority="high",
        collapse_key=None,
        created_at=now,
        expires_at=now + timedelta(seconds=ttl),
    )
    return replace(outgoing, **more)


def recipient(outgoing: Outgoing, receiver: str, round: int = 1, group: str | None = None) -> Recipient:
    return Recipient(
        delivery=delivery_id(outgoing.id, receiver, "websocket", ""),
        receiver=receiver,
        address="",
        address_hash="",
        round=round,
        attempt=1,
        group=group,
    )


async def send(outgoing: Outgoing, *receivers: str) -> tuple[inbox.Appended, ...]:
    recipients = [recipient(outgoing, receiver) for receiver in receivers]
    body = frames.message_body(outgoing)
    return (await inbox_restore.whole(partial(inbox.append, outgoing, recipients, body))).places
