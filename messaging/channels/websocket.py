"""WebSocket: messages wait in the receiver's inbox, from which realtime connections take them.

Long poll and server-sent events read the same inbox. An acknowledgement by the client is the evidence for delivered.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from feedback.events import Status
from messaging import inbox, inbox_ended, inbox_restore
from messaging.channels.base import Channel, Outcome, Outgoing, Recipient
from messaging.realtime import frames


class WebSocket(Channel):
    label = "WebSocket"
    settles_at = Status.DELIVERED
    needs_address = False
    sent_waits: ClassVar[bool] = True

    def clean_address(self, value: Any) -> str:
        if value not in (None, ""):
            raise ValueError("This channel needs no address: leave it out, the receiver's name is enough.")
        return ""

    def mask_address(self, address: str) -> str:
        return ""

    def preview(self, message: Outgoing) -> Mapping[str, Any]:
        """Without each receiver's own offset and group."""
        return {"payload_bytes": len(frames.message_body(message).encode())}

    async def send(
        self, config: Mapping[str, Any], message: Outgoing, recipients: Sequence[Recipient]
    ) -> AsyncIterator[Outcome]:
        """sent means that it waits in the inbox. Raises the stores' errors."""
        append = partial(inbox.append, message, recipients, frames.message_body(message))
        appending = await inbox_restore.whole(append)
        for place in appending.places:
            yield Outcome(
                delivery=place.delivery,
                status=Status.SUPPRESSED if place.replaced else Status.SENT,
                reason="replaced" if place.replaced else "",
                provider="inbox",
                detail={"epoch": place.epoch}
                if place.replaced
                else {"epoch": place.epoch, "offset": str(place.offset)},
                keeper=place.keeper,
            )
        if appending.ended:
            await inbox_ended.report(message.tenant)

    def put_back(self, limit: int) -> int:
        return inbox_restore.put_back(limit)
