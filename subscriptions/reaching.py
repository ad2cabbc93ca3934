"""Whom a message would reach: for questions that people ask, not for dispatching."""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from redis.exceptions import RedisError

from sprayer_project.errors import StoreUnavailable
from subscriptions import index, record
from subscriptions.rebuild import ensure_index
from subscriptions.record import ReceiverRow

__all__ = ["ReceiverRow", "Subscribers", "reach", "receivers_named", "subscribers"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Subscribers:
    """Whom a group reaches on a channel now."""

    count: int
    sample: tuple[str, ...]
    """The first by name."""


def receivers_named(tenant: str, names: Sequence[str]) -> dict[str, ReceiverRow]:
    """Those that exist, by name, from the record."""
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


def subscribers(
    tenant: str, groups: Sequence[str], channels: Sequence[str], most: int
) -> dict[tuple[str, str], Subscribers]:
    """(group, channel) -> whom it reaches, by the index; empty while Redis is away. Raises the errors of MongoDB."""
    if not groups or not channels:
        return {}
    try:
        try:
            found = index.subscribers_of_groups(tenant, groups, channels, most)
        except index.NotValid:
            ensure_index(tenant)
            found = index.subscribers_of_groups(tenant, groups, channels, most)
    except (RedisError, index.NotValid, StoreUnavailable) as error:
        log.warning("subscribers not counted", tenant=tenant, error=type(error).__name__)
        return {}
    return {pair: Subscribers(count, tuple(sample)) for pair, (count, sample) in found.items()}
