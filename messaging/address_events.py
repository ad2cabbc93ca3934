"""Addresses that are retired or active again, on their way to feedback."""

from collections.abc import Sequence

from feedback import services as feedback
from feedback.events import AddressEvent
from sprayer_project.background import Background
from subscriptions.changes import AddressChange

_LINGER, _BATCH, _MOST = 0.05, 1_000, 100_000


def note(changes: Sequence[AddressChange]) -> None:
    """While the broker is away the newest wait, and a process that dies takes them with it."""
    _events.add(
        AddressEvent(
            tenant=change.tenant,
            receiver=change.receiver,
            channel=change.channel,
            address_masked=change.address_masked,
            active=change.active,
            reason=change.reason,
            at=change.at,
            event=f"evt_{change.fact}",
        )
        for change in changes
    )


_events: Background[AddressEvent] = Background("address events", feedback.report, _LINGER, _BATCH, _MOST)
