"""Reading messages."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from feedback import selectors as feedback
from feedback.selectors import Totals
from messaging import channels, payloads, search
from messaging.channels.base import Outgoing
from messaging.documents import Message
from sprayer_project import paging
from sprayer_project.errors import NotFound
from sprayer_project.paging import Page

STATUSES = search.STATUSES


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRow:
    """A message as it was submitted, and where it stands."""

    id: str
    tenant: str
    mode: str
    status: str
    created_at: datetime
    send_at: datetime | None
    expires_at: datetime
    to: Mapping[str, Any]
    channels: list[str]
    content: Mapping[str, Any]
    overrides: Mapping[str, Any]
    attributes: Mapping[str, Any]
    metadata: Mapping[str, str]
    ttl: int
    priority: str
    collapse_key: str | None
    exclude_connection: str | None
    totals: Totals


def messages(
    tenant: str,
    mode: str | None,
    *,
    cursor: str | None = None,
    limit: int = paging.DEFAULT_LIMIT,
    **wanted: Any,
) -> Page[MessageRow]:
    """A tenant's messages, newest first; mode None: live and test; wanted: fields of search.Wanted. Raises Invalid."""
    before = paging.decode(cursor, str)
    found: list[dict[str, Any]] = []
    # Each mode is a range of an index: two short queries instead of one that every server would have to plan well.
    for one in (mode,) if mode else ("live", "test"):
        asked = search.query(tenant, one, search.Wanted(**wanted), before)
        stages = [{"$match": dict(asked.indexed)}, {"$match": dict(asked.rest)}, {"$sort": {"_id": -1}}]
        found += Message._get_collection().aggregate([*stages, {"$limit": limit + 1}])
    found = sorted(found, key=lambda record: str(record["_id"]), reverse=True)[: limit + 1]
    totals = feedback.totals_of(tenant, [record["_id"] for record in found])
    return paging.page([_row(record, totals[record["_id"]]) for record in found], limit, lambda row: row.id)


def has_messages(tenant: str) -> bool:
    """Whether the tenant ever sent one that is still kept."""
    kept = Message._get_collection()
    return any(kept.find_one({"tenant": tenant, "mode": mode}, {"_id": 1}) is not None for mode in ("live", "test"))


def message(tenant: str, mode: str | None, identifier: str) -> MessageRow:
    """Raises NotFound, also for another tenant's message and, with a mode, for the other mode's."""
    record = _record(tenant, mode, identifier)
    return _row(record, feedback.totals(tenant, identifier))


def record(tenant: str, mode: str | None, identifier: str) -> dict[str, Any]:
    """The raw document of a message, within this package. Raises NotFound as message does."""
    return _record(tenant, mode, identifier)


def plain_addresses(tenant: str, identifier: str) -> list[dict[str, Any]]:
    """A message's plain addresses as they were submitted, {"channel", "address"}; erased ones are left out.

    They must not be shown. Raises NotFound.
    """
    found = _record(tenant, None, identifier, {"to.addresses": 1})["to"].get("addresses", [])
    return [{"channel": item["channel"], "address": item["address"]} for item in found if item["address"]]


def require(tenant: str, mode: str | None, identifier: str) -> None:
    """Raises NotFound as message does, without reading the totals."""
    _record(tenant, mode, identifier, {"_id": 1})


def outgoing(tenant: str, identifier: str, channel: str = "") -> Outgoing | None:
    """A message as adapters see it; None when it does not exist or was cancelled."""
    record = Message._get_collection().find_one({"_id": identifier, "tenant": tenant})
    if record is None or record["status"] == "cancelled":
        return None
    return as_outgoing(payloads.of_record(record), channel)


def as_outgoing(payload: payloads.Payload, channel: str) -> Outgoing:
    return Outgoing(
        tenant=payload.tenant,
        id=payload.id,
        mode=payload.mode,
        content=payload.content,
        overrides=payload.overrides.get(channel, {}),
        metadata=payload.metadata,
        attributes=payload.attributes,
        priority=payload.priority,
        collapse_key=payload.collapse_key,
        created_at=payload.created,
        expires_at=payload.expires,
        exclude_connection=payload.exclude_connection,
    )


def is_settled(record: Mapping[str, Any], totals: Totals) -> bool:
    """Whether everything that the message asked for has its outcome.

    A receiver in several of its groups is one delivery, so groups count with the largest alone.
    """
    if record["status"] != "routed" and (record["status"] != "accepted" or record["routes"]):
        return False
    least = max([record.get("expected", 0), *record.get("routed", {}).values()])
    return totals.open == 0 and totals.total >= least


def _record(tenant: str, mode: str | None, identifier: str, fields: Any = None) -> dict[str, Any]:
    query = {"_id": identifier, "tenant": tenant} | ({"mode": mode} if mode else {})
    record = Message._get_collection().find_one(query, fields)
    if record is None:
        raise NotFound("message_not_found", f"There is no message {identifier!r}.")
    return dict(record)


def _row(record: Mapping[str, Any], totals: Totals) -> MessageRow:
    kept = ("tenant", "mode", "created_at", "expires_at", "channels", "content", "overrides", "attributes", "metadata")
    to = record["to"]
    return MessageRow(
        id=record["_id"],
        status="settled" if is_settled(record, totals) else record["status"],
        send_at=record.get("send_at"),
        to=to | {"addresses": [_shown(item) for item in to.get("addresses", [])]},
        ttl=record["ttl"],
        priority=record["priority"],
        collapse_key=record.get("collapse_key"),
        exclude_connection=record.get("exclude_connection"),
        totals=totals,
        **{name: record[name] for name in kept},
    )


def _shown(plain: Mapping[str, str]) -> dict[str, str]:
    address = plain["address"]
    # An erased one is its mark.
    masked = channels.channel(plain["channel"]).mask_address(address) if address else plain["hash"]
    return {"channel": plain["channel"], "address": masked}
