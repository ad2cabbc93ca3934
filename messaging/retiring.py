"""Addresses that are not to be used any more: a receiver's is retired, a plain one is suppressed."""

from datetime import datetime

from feedback.events import delivery_id
from messaging.documents import Message
from subscriptions import services as subscriptions
from subscriptions import suppressions


def retire(
    tenant: str, channel: str, delivery: str, message: str, address_hash: str, reason: str, at: datetime
) -> None:
    """What a live delivery said of its address. Raises the stores' errors; repeating it is harmless.

    Whether the address was a plain one is told by the delivery's id, so that an event need not name its receiver.
    """
    subscriptions.retire_address(tenant, channel, address_hash, reason, at)
    if delivery == delivery_id(message, f"addr:{address_hash}", channel, address_hash):
        address = _address(tenant, message, address_hash)
        suppressions.suppress(tenant, channel, address_hash, address, reason, at)


def _address(tenant: str, message: str, address_hash: str) -> str | None:
    """As the message names it; None where it was erased meanwhile."""
    record = Message._get_collection().find_one({"_id": message, "tenant": tenant}, {"to.addresses": 1})
    plain = record["to"]["addresses"] if record else []
    return next((item["address"] or None for item in plain if item["hash"] == address_hash), None)
