"""Whom a message would reach: for questions that people ask, not for dispatching."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import structlog
from redis.exceptions import RedisError

from sprayer_project.errors import StoreUnavailable
from subscriptions import index, record
from subscriptions.rebuild import ensure_index
from subscriptions.record import ReceiverRow

__all__ = [
    "ReceiverRow",
    "Subscribers",
    "reach",
    "receivers_named",
    "subscribers",
    "subscribers_after",
    "subscribers_among",
]

log = structlog.get_logger(__name__)

T = TypeVar("T")


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
        found = _from_index(tenant, lambda: index.subscribers_of_groups(tenant, groups, channels, most))
    except (RedisError, StoreUnavailable) as error:
        log.warning("subscribers not counted", tenant=tenant, error=type(error).__name__)
        return {}
    return {pair: Subscribers(count, tuple(sample)) for pair, (count, sample) in found.items()}


def subscribers_after(tenant: str, group: str, channel: str, after: str, count: int) -> list[str]:
    """The next whom a group reaches on a channel, by name, by the index. Raises the store errors."""
    return _from_index(tenant, lambda: index.subscribers_after(tenant, group, channel, after, count))


def subscribers_among(tenant: str, group: str, channel: str, names: Sequence[str]) -> list[str]:
    """Those of the receivers whom a group reaches on a channel, by the index. Raises the store errors."""
    found = _from_index(tenant, lambda: index.subscribers_among(tenant, group, channel, names))
    return [name for name, among in zip(names, found, strict=True) if among]


def _from_index(tenant: str, read: Callable[[], T]) -> T:
    """Builds the index where Redis lost it. Raises the store errors."""
    try:
        return read()
    except index.NotValid:
        ensure_index(tenant)
    try:
        return read()
    except index.NotValid as error:
        raise StoreUnavailable("Redis", "The subscription index is lost again and again.") from error
