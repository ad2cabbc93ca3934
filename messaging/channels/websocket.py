"""WebSocket: messages wait in the receiver's inbox, from which realtime connections take them.

Long poll and server-sent events read the same inbox. An acknowledgement by the client is the evidence for delivered.
"""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from feedback.events import Status
from messaging import inbox, inbox_ended, inbox_restore
from messaging.channels.base import Channel, Look, Outcome, Outgoing, Recipient
from messaging.inbox import Appended
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
        for start in range(0, len(recipients), inbox.TOGETHER):
            some = recipients[start : start + inbox.TOGETHER]
            appending = await inbox_restore.whole(partial(inbox.append, message, some, body, token=token))
            if appending.ended:
                self._reports.ask(message.tenant)
            for place in appending.places:
                yield _outcome(place)

    def put_back(self, limit: int) -> int:
        return inbox_restore.put_back(limit)

    async def aclose(self) -> None:
        await self._reports.aclose()


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
