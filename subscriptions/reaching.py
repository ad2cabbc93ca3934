"""Whom a message would reach, by the record: for questions that people ask, not for dispatching."""

from collections.abc import Sequence

from subscriptions import record
from subscriptions.record import ReceiverRow

__all__ = ["ReceiverRow", "reach", "receivers_named"]


def receivers_named(tenant: str, names: Sequence[str]) -> dict[str, ReceiverRow]:
    """Those that exist, by name."""
    return {row.name: row for row in record.find_receivers(record.live(tenant, name={"$in": list(names)}))}


def reach(tenant: str, receiver: ReceiverRow, groups: Sequence[str]) -> dict[str, frozenset[str]]:
    """Those of the groups that the receiver subscribes to, and the channels on which each reaches it."""
    owners = {row.id: row for row in record.find_groups(record.live(tenant, name={"$in": list(groups)}))}
    query = {"group_id": {"$in": list(owners)}, "receiver_id": receiver.id, "deleted": False}
    found: dict[str, frozenset[str]] = {}
    for row in record.find_subscriptions(query):
        allowed = owners[row.group_id].channels
        chosen = record.effective_channels(receiver, row.channels)
        found[row.group] = chosen if allowed is None else chosen & frozenset(allowed)
    return found
