"""Reading what became of messages: rows, timelines, totals, and what the sweeper has to look at."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from feedback import counting
from feedback.documents import ERASED, Collection, Delivery, MessageTotals, collection
from feedback.events import OPEN, Status
from feedback.updates import dead_prefix
from sprayer_project import paging
from sprayer_project.errors import Invalid, NotFound
from sprayer_project.paging import Page

LIVE_ROWS = 10_000
"""Up to so many rows stale totals are counted anew when somebody asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRow:
    """A delivery as it stands."""

    id: str
    tenant: str
    mode: str
    message: str
    receiver: str
    channel: str
    group: str | None
    address_hash: str
    address_masked: str
    status: Status
    reason: str
    at: datetime
    """When the status was reached."""
    round: int
    attempt: int
    """Tries in this round so far."""
    attempts: int
    """Tries in all rounds."""
    provider: str
    provider_id: str
    """Of the latest event that has one."""
    due_at: datetime | None
    expires_at: datetime | None
    dead: bool
    times: Mapping[str, datetime]
    """Status, or a fact such as opened, clicked, complained -> when first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineEntry:
    """One event. attempt is 0 where it is not the outcome of a try; detail is the provider's answer."""

    event: str
    at: datetime
    status: Status
    fact: str
    round: int
    attempt: int
    reason: str
    provider: str
    provider_id: str
    due_at: datetime | None
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryDetail:
    row: DeliveryRow
    timeline: tuple[TimelineEntry, ...]
    """Every event, oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """A message's deliveries by channel and status, as they were at as_of."""

    as_of: datetime
    channels: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(sum(statuses.values()) for statuses in self.channels.values())

    @property
    def open(self) -> int:
        """Deliveries that are going to be tried: scheduled, queued, deferred."""
        return sum(statuses.get(status, 0) for statuses in self.channels.values() for status in OPEN)


def deliveries(
    tenant: str,
    mode: str,
    message: str | None,
    *,
    channel: str | None = None,
    status: str | None = None,
    receiver: str | None = None,
    cursor: str | None = None,
    limit: int = paging.DEFAULT_LIMIT,
) -> Page[DeliveryRow]:
    """Deliveries of a message, or with None of a receiver, in the order of their ids, which stays while rows arrive.

    Raises Invalid.
    """
    indexed = {"tenant": tenant} | ({"receiver": receiver} if message is None else {"message": message})
    rest = {"mode": mode} | _named(channel=channel, receiver=receiver)
    if status:
        rest["state.status"] = _status(status)
    return _page(indexed, rest, "_id", 1, cursor, limit)


def delivery(tenant: str, mode: str, id: str) -> DeliveryDetail:
    """Raises NotFound, also for another tenant's delivery and for the other mode's."""
    document = rows().find_one({"_id": id, "tenant": tenant, "mode": mode})
    if document is None:
        raise NotFound("delivery_not_found", f"There is no delivery {id!r}.")
    return detail_of(document)


def states(tenant: str, ids: Sequence[str]) -> dict[str, DeliveryRow]:
    """The rows that exist among these ids."""
    found = rows().find({"_id": {"$in": list(ids)}, "tenant": tenant})
    return {document["_id"]: row_of(document) for document in found}


def open_rows(tenant: str, message: str) -> Iterator[DeliveryRow]:
    """A message's deliveries that are going to be tried."""
    found = rows().find(
        {"message": message, "tenant": tenant, "state.status": {"$in": [status.value for status in OPEN]}}
    )
    return map(row_of, found)


def totals(tenant: str, message: str) -> Totals:
    return totals_of(tenant, [message])[message]


def totals_of(tenant: str, messages: Sequence[str]) -> dict[str, Totals]:
    """The totals of each message: stored ones of a large message, else counted now; empty without deliveries."""
    now = datetime.now(UTC)
    kept: dict[str, Totals] = {}
    for stored in summaries().find({"_id": {"$in": list(messages)}}):
        if stored["tenant"] == tenant and stored.get("as_of"):
            known = Totals(as_of=stored["as_of"], channels=stored["channels"])
            if not stored.get("stale") or known.total >= LIVE_ROWS:
                kept[stored["_id"]] = known
    left = [message for message in messages if message not in kept]
    counted = _counted(tenant, left) if left else {}
    return {message: kept.get(message) or counted.get(message) or Totals(as_of=now) for message in messages}


def count(tenant: str, message: str) -> Totals:
    """Counted from the record, whatever is stored."""
    as_of = datetime.now(UTC)
    return Totals(as_of=as_of, channels=counting.of_message(tenant, message).channels)


def _counted(tenant: str, messages: Sequence[str]) -> dict[str, Totals]:
    """Counted from the record in one aggregation; a message without rows is left out."""
    as_of = datetime.now(UTC)
    channels: dict[str, dict[str, dict[str, int]]] = {}
    key = {"message": "$message", "channel": "$channel", "status": "$state.status"}
    match = {"$match": {"tenant": tenant, "message": {"$in": list(messages)}}}
    for found in rows().aggregate([match, {"$group": {"_id": key, "rows": {"$sum": 1}}}]):
        name, channel, status = (found["_id"][part] for part in ("message", "channel", "status"))
        channels.setdefault(name, {}).setdefault(channel, {})[status] = found["rows"]
    return {message: Totals(as_of=as_of, channels=dict(sorted(by.items()))) for message, by in channels.items()}


def due(now: datetime, limit: int) -> list[DeliveryRow]:
    """Queued and deferred deliveries of all tenants whose next attempt is due, not expired, the oldest first."""
    rest = {
        "state.status": {"$in": [Status.QUEUED.value, Status.DEFERRED.value]},
        "state.due_at": {"$lte": now},
        "expires_at": {"$not": {"$lte": now}},
    }
    return list(find({"state.wake_at": {"$lte": now}}, rest, "state.wake_at", limit=limit))


def open_expired(now: datetime, limit: int) -> list[DeliveryRow]:
    """Deliveries of all tenants past their expiry: scheduled, queued, deferred, and sent to an inbox."""
    return list(find({"state.wake_at": {"$lte": now}}, {"expires_at": {"$lte": now}}, "state.wake_at", limit=limit))


def dead(
    tenant: str,
    mode: str,
    *,
    channel: str | None = None,
    message: str | None = None,
    reason: str | None = None,
    cursor: str | None = None,
    limit: int = paging.DEFAULT_LIMIT,
) -> Page[DeliveryRow]:
    """The tenant's dead letters, newest message first."""
    prefix = dead_prefix(tenant, mode)
    indexed = {"state.dead": {"$gt": prefix, "$lt": f"{prefix}~"}}
    rest = _named(channel=channel, message=message) | ({"state.reason": reason} if reason is not None else {})
    return _page(indexed, rest, "state.dead", -1, cursor, limit, prefix)


def find(
    indexed: Mapping[str, Any], rest: Mapping[str, Any], by: str = "_id", direction: int = 1, limit: int | None = None
) -> Iterator[DeliveryRow]:
    """Rows by what one index holds, then by the rest.

    Two stages: MongoDB joins them, and a server whose planner takes an index only when it holds every field of the
    query finds it too.
    """
    stages: list[dict[str, Any]] = [{"$match": dict(indexed)}, {"$match": dict(rest)}, {"$sort": {by: direction}}]
    if limit is not None:
        stages.append({"$limit": limit})
    return map(row_of, rows().aggregate(stages))


def rows() -> Collection:
    return collection(Delivery)


def summaries() -> Collection:
    return collection(MessageTotals)


def detail_of(document: Mapping[str, Any]) -> DeliveryDetail:
    timeline = [_entry(slot, value) for slot, value in document["events"].items()]
    timeline.sort(key=lambda entry: (entry.at, entry.round, entry.attempt, entry.event))
    return DeliveryDetail(row=row_of(document), timeline=tuple(timeline))


def row_of(document: Mapping[str, Any]) -> DeliveryRow:
    state = document["state"]
    entries = [_entry(slot, value) for slot, value in document["events"].items()]
    tries = {(entry.round, entry.attempt) for entry in entries if entry.attempt}
    named = max((entry for entry in entries if entry.provider_id), key=lambda entry: entry.at, default=None)
    carried = max((entry for entry in entries if entry.provider), key=lambda entry: entry.at, default=None)
    times: dict[str, datetime] = {}
    for entry in sorted(entries, key=lambda entry: entry.at):
        times.setdefault(entry.fact or entry.status.value, entry.at)
    return DeliveryRow(
        id=document["_id"],
        tenant=document["tenant"],
        mode=document["mode"],
        message=document["message"],
        receiver=document.get("receiver", "").removeprefix(ERASED),
        channel=document["channel"],
        group=document.get("group"),
        address_hash=document.get("address_hash", "").removeprefix(ERASED),
        address_masked=document.get("address_masked", "").removeprefix(ERASED),
        status=Status(state["status"]),
        reason=state["reason"],
        at=state["at"],
        round=state["round"],
        attempt=max((attempt for round, attempt in tries if round == state["round"]), default=0),
        attempts=len(tries),
        provider=carried.provider if carried else "",
        provider_id=named.provider_id if named else "",
        due_at=state["due_at"],
        expires_at=document.get("expires_at"),
        dead=state.get("dead", "").startswith(dead_prefix(document["tenant"], document["mode"])),
        times=times,
    )


def _entry(slot: str, value: Mapping[str, Any]) -> TimelineEntry:
    round, _, attempt = slot.partition("_")[0].removeprefix("r").partition("a")
    return TimelineEntry(
        event=value["event"],
        at=value["at"],
        status=Status(value["status"]),
        fact=value.get("fact", ""),
        round=int(round),
        attempt=int(attempt),
        reason=value.get("reason", ""),
        provider=value.get("provider", ""),
        provider_id=value.get("provider_id", ""),
        due_at=value.get("due_at"),
        detail=json.loads(value.get("detail", "{}")),
    )


def _page(
    indexed: Mapping[str, Any],
    rest: Mapping[str, Any],
    by: str,
    direction: int,
    cursor: str | None,
    limit: int,
    prefix: str = "",
) -> Page[DeliveryRow]:
    """Rows ordered by _id, or by a field that is prefix + _id."""
    after = paging.decode(cursor, str)
    query = dict(indexed)
    if after is not None:
        query[by] = query.get(by, {}) | {"$gt" if direction > 0 else "$lt": prefix + after}
    return paging.page(list(find(query, rest, by, direction, limit + 1)), limit, lambda row: row.id)


def _named(**values: str | None) -> dict[str, str]:
    return {name: value for name, value in values.items() if value is not None}


def _status(word: str) -> str:
    try:
        return Status(word).value
    except ValueError:
        raise Invalid("invalid_status", f"status is one of {', '.join(Status)}.", "?status") from None
