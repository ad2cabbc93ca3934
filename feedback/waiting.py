"""What waits in inboxes: sent, not acknowledged, not expired. The inboxes themselves are messaging's."""

from collections.abc import Sequence
from datetime import datetime

from pymongo import UpdateOne

from feedback.events import Status
from feedback.selectors import DeliveryRow, find, rows


def waiting(tenant: str, channel: str, receivers: Sequence[str], now: datetime) -> list[DeliveryRow]:
    """These receivers' deliveries that are sent on a channel and have not expired, in both modes, oldest first."""
    indexed = {"tenant": tenant, "receiver": {"$in": list(receivers)}}
    rest = {"channel": channel, "state.status": Status.SENT.value, "expires_at": {"$gt": now}}
    return list(find(indexed, rest))


def lost(shard: int, incarnation: str, channel: str, now: datetime, limit: int) -> list[DeliveryRow]:
    """Unexpired deliveries of a channel whose keeper is another incarnation of this shard, at most `limit`.

    Two looks at an index that holds nothing else where nothing was lost.
    """
    present = f"{shard}/{incarnation}"
    found: list[DeliveryRow] = []
    for low, high in ((f"{shard}/", present), (present, f"{shard}/~")):
        indexed = {"state.keeper": {"$gt": low, "$lt": high}}
        rest = {"channel": channel, "state.status": Status.SENT.value, "expires_at": {"$gt": now}}
        found += find(indexed, rest, "state.keeper", limit=limit - len(found)) if len(found) < limit else []
    return found


def keep(deliveries: Sequence[tuple[DeliveryRow, str]]) -> None:
    """These have been put back, each with its keeper. Rows that moved on meanwhile are left alone."""
    found = [
        UpdateOne(
            {"_id": row.id, "tenant": row.tenant, "state.status": Status.SENT.value, "state.at": row.at},
            {"$set": {"state.keeper": keeper}},
        )
        for row, keeper in deliveries
    ]
    if found:
        rows().bulk_write(found, ordered=False)
