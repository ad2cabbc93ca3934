"""Looking for messages: every question is answered by what one index holds, whatever the number of messages.

A message's id begins with its time, so that a period and a cursor are ranges of ids, which every index ends with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from messaging import channels
from sprayer_project.errors import Invalid
from sprayer_project.ids import first_id
from subscriptions.addresses import address_hash, written

STATUSES = ("scheduled", "accepted", "routing", "routed", "settled", "cancelled", "expired")
_LEADS = (
    # A filter, and the fields before the id in the index that serves it: the most telling first.
    ("idempotency_key", ("tenant", "mode", "idempotency_key")),
    ("to.addresses.hash", ("tenant", "to.addresses.hash")),
    ("to.receivers", ("tenant", "to.receivers")),
    ("to.groups", ("tenant", "to.groups")),
    ("status", ("tenant", "mode", "status")),
    ("channels", ("tenant", "mode", "channels")),
    ("mode", ("tenant", "mode")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which messages: all that is not empty has to fit. Times are those of acceptance."""

    status: str | None = None
    channel: str | None = None
    group: str | None = None
    receiver: str | None = None
    address_hash: str | Sequence[str] | None = None
    """Of a plain address; several where it may be one of several channels."""
    idempotency_key: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """indexed is what one index holds, in its order; rest is looked at message by message."""

    indexed: Mapping[str, Any]
    rest: Mapping[str, Any]


def query(tenant: str, mode: str, wanted: Wanted, before: str | None = None) -> Query:
    """before: the id that ended the page before. Raises Invalid."""
    if wanted.status and wanted.status not in STATUSES:
        raise Invalid("invalid_status", f"status is one of {', '.join(STATUSES)}.", "?status")
    filters = {
        "tenant": tenant,
        "mode": mode,
        "status": wanted.status,
        "channels": channels.channel(wanted.channel).name if wanted.channel else None,
        "to.groups": wanted.group,
        "to.receivers": wanted.receiver,
        "to.addresses.hash": _any_of(wanted.address_hash),
        "idempotency_key": wanted.idempotency_key,
    }
    named = {name: value for name, value in filters.items() if value}
    fields = next(fields for name, fields in _LEADS if name in named)
    upper = [bound for bound in (before, wanted.until and first_id("msg", wanted.until)) if bound]
    ids = {"$gte": first_id("msg", wanted.since)} if wanted.since else {}
    ids |= {"$lt": min(upper)} if upper else {}
    indexed = {name: named.pop(name) for name in fields} | ({"_id": ids} if ids else {})
    return Query(indexed, named)


def _any_of(hashes: str | Sequence[str] | None) -> Any:
    return {"$in": list(hashes)} if hashes and not isinstance(hashes, str) else hashes


def hashes_of(tenant: str, address: str) -> list[str]:
    """What may stand for a plain address in the record: its hash on each channel to which it can belong."""
    found = []
    for name, channel in channels.registry().items():
        if channel.needs_address:
            try:
                found.append(hash_of(tenant, name, address))
            except Invalid:
                continue
    return [hashed for hashed in found if hashed]


def hash_of(tenant: str, channel: str | None, address: str | None) -> str | None:
    """What stands for a plain address in the record; None without one. A subscription object is given as JSON.

    Raises Invalid.
    """
    if not address:
        return None
    if not channel:
        raise Invalid("missing_channel", "Say on which channel this address is: ?channel=...", "?channel")
    found = channels.channel(channel)
    try:
        cleaned = found.clean_address(written(address))
    except ValueError as error:
        raise Invalid("invalid_address", f"Not an address of {channel}: {error}", "?address") from error
    return address_hash(tenant, channel, cleaned)
