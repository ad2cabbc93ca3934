"""A device is one receiver's: the address of a phone or a browser stays with whoever registered it last.

This comes after the write that registers it, from the record alone: of two receivers that register a device at once,
each finds both and both find the same winner. A process that dies before leaves the registration pending, and whoever
finishes it does this first.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime

from bson import ObjectId

from subscriptions import documents, record
from subscriptions.addresses import is_device
from subscriptions.record import ReceiverRow


def move(tenant: str, rows: Sequence[ReceiverRow]) -> set[ObjectId]:
    """Leave the devices of these receivers with who registered each last; others lose them, also these themselves.

    Returns the ids of those who lost one; their index is pending. Raises pymongo errors.
    """
    devices: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        for address in row.addresses:
            if not row.deleted and address.status == "active" and is_device(address.channel):
                devices[address.channel].add(address.hash)
    return {loser for channel, hashes in devices.items() for loser in _settle(tenant, channel, hashes)}


def _settle(tenant: str, channel: str, hashes: set[str]) -> set[ObjectId]:
    held: dict[str, list[tuple[datetime, ObjectId]]] = defaultdict(list)
    for row in record.holders(tenant, channel, hashes):
        for address in row.addresses:
            if address.hash in hashes:
                held[address.hash].append((address.active_at, row.id))
    losers = set[ObjectId]()
    for hashed, holders in held.items():
        last, winner = max(holders)
        for _, receiver in holders:
            if receiver != winner and _take(receiver, channel, hashed, last):
                losers.add(receiver)
    return losers


def _take(receiver: ObjectId, channel: str, hashed: str, last: datetime) -> bool:
    """Unless it was registered again later meanwhile."""
    registered = {"channel": channel, "hash": hashed, "active_at": {"$lte": last}}
    now = datetime.now(UTC)
    change = {
        "$pull": {"addresses": registered},
        "$set": {"updated_at": now.replace(microsecond=now.microsecond // 1000 * 1000), "index_pending": True},
        "$inc": {"version": 1},
    }
    query = {"_id": receiver, "addresses": {"$elemMatch": registered}}
    return bool(documents.receivers().update_one(query, change).matched_count)
