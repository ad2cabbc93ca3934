"""What waits in inboxes: sent, not acknowledged, not expired. The inboxes themselves are messaging's."""

from collections.abc import Sequence
from datetime import datetime

from feedback.events import Status
from feedback.selectors import DeliveryRow, row_of, rows


def waiting(tenant: str, channel: str, receivers: Sequence[str], now: datetime) -> list[DeliveryRow]:
    """These receivers' deliveries that are sent on a channel and have not expired, in both modes, oldest first."""
    query = {
        "tenant": tenant,
        "receiver": {"$in": list(receivers)},
        "channel": channel,
        "state.status": Status.SENT.value,
        "expires_at": {"$gt": now},
    }
    return [row_of(found) for found in rows().find(query).sort("_id", 1)]
