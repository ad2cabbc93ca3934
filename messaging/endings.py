"""Deliveries that end by our own decision, as events."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

from feedback import services as feedback
from feedback.events import DeliveryEvent, Status
from feedback.selectors import DeliveryRow


def end(rows: Sequence[DeliveryRow], status: Status, reason: str) -> None:
    """Report that these reached a status without an attempt; repeats are one event. Raises BrokerUnavailable."""
    feedback.report([_event(row, status, reason) for row in rows])


def _event(row: DeliveryRow, status: Status, reason: str) -> DeliveryEvent:
    source = f"{row.id} {row.round} 0 {status}"
    return DeliveryEvent(
        event=f"evt_{hashlib.blake2b(source.encode(), digest_size=13).hexdigest()}",
        tenant=row.tenant,
        mode=row.mode,
        message=row.message,
        delivery=row.id,
        receiver=row.receiver,
        channel=row.channel,
        status=status,
        at=datetime.now(UTC),
        round=row.round,
        group=row.group,
        address_hash=row.address_hash,
        address_masked=row.address_masked,
        reason=reason,
        expires_at=row.expires_at,
    )
