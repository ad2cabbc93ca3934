"""WebSocket: messages wait in the receiver's inbox, from which realtime connections take them.

Long poll and server-sent events read the same inbox. An acknowledgement by the client is the evidence for delivered.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, ClassVar

from feedback.events import Status
from messaging import inbox, inbox_ended, inbox_restore
from messaging.channels.base import Channel, Look, Outcome, Outgoing, Recipient
from messaging.inbox import Appended, Appending
from messaging.looks import pretty
from messaging.realtime import frames
from sprayer_project import redis


class WebSocket(Channel):
    label = "WebSocket"
    settles_at = Status.DELIVERED
    needs_address = False
    sent_waits: ClassVar[bool] = True
    ordered: ClassVar[bool] = True

    def __init__(self) -> None:
        self._reports = inbox_ended.Reports()

    def clean_address(self, value: Any) -> str:
        if value not in (None, ""):
            raise ValueError("This channel needs no address: leave it out, the receiver's name is enough.")
        return ""

    def mask_address(self, address: str) -> str:
        return ""

    def preview(self, message: Outgoing) -> Mapping[str, Any]:
        """Without each receiver's own offset and group."""
        return {"payload_bytes": len(frames.message_body(message).encode())}

    def look(self, message: Outgoing) -> Look:
        frame = {"type": "message", "offset": "..."} | json.loads(frames.message_body(message))
        return Look(shape="code", payload=pretty(frame))

    async def send(
        self, config: Mapping[str, Any], message: Outgoing, recipients: Sequence[Recipient]
    ) -> AsyncIterator[Outcome]:
        """sent means that it waits in the inbox. Raises the stores' errors."""
        body, token = frames.message_body(message), await redis.atoken(message.tenant)
        parts = (recipients[start : start + inbox.TOGETHER] for start in range(0, len(recipients), inbox.TOGETHER))
        appends = (inbox_restore.whole(partial(inbox.append, message, some, body, token=token)) for some in parts)
        async with aclosing(_one_ahead(appends)) as results:
            async for appending in results:
                if appending.ended:
                    self._reports.ask(message.tenant)
                for place in appending.places:
                    yield _outcome(place)

    def put_back(self, limit: int) -> int:
        return inbox_restore.put_back(limit)

    async def aclose(self) -> None:
        await self._reports.aclose()


async def _one_ahead(appends: Iterable[Coroutine[Any, Any, Appending]]) -> AsyncGenerator[Appending, None]:
    """Their results, in order: Redis works on the next while one is looked at. What is left is cancelled at the end."""
    under_way = deque[asyncio.Task[Appending]]()
    try:
        for append in appends:
            under_way.append(asyncio.create_task(append))
            if len(under_way) > 1:
                yield await under_way.popleft()
        while under_way:
            yield await under_way.popleft()
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


def _outcome(place: Appended) -> Outcome:
    if place.replaced:
        status, reason, detail = Status.SUPPRESSED, "replaced", {"epoch": place.epoch}
    else:
        status, reason, detail = Status.SENT, "", {"epoch": place.epoch, "offset": str(place.offset)}
    return Outcome(
        delivery=place.delivery,
        status=status,
        reason=reason,
        provider="inbox",
        detail=detail,
        keeper=place.keeper,
    )
