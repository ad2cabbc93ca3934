"""Looking for deliveries: every question is answered by what one index holds, whatever the number of rows.

A delivery's id begins with its message's, whose beginning is a time: a message, a period and a cursor are all ranges of
ids, which every index ends with. So rows that arrive meanwhile neither repeat nor hide others between two pages.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from feedback.documents import ERASED
from feedback.events import Status
from feedback.selectors import DeliveryDetail, DeliveryRow, detail_of, find, rows
from sprayer_project import paging
from sprayer_project.errors import Invalid
from sprayer_project.ids import first_id
from sprayer_project.paging import Page

_MARK = re.compile(r"erased:[0-9a-f]{16}")
_MESSAGE = re.compile(r"msg_[0-9a-z]{26}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which deliveries: all that is not empty has to fit. Times are those at which the messages were accepted."""

    message: str | None = None
    receiver: str | None = None
    address_hash: str | None = None
    group: str | None = None
    channel: str | None = None
    status: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """indexed is what one index holds, in its order; rest is looked at row by row."""

    indexed: Mapping[str, Any]
    rest: Mapping[str, Any]


def deliveries(
    tenant: str,
    mode: str,
    wanted: Wanted,
    channels: Sequence[str],
    *,
    cursor: str | None = None,
    limit: int = paging.DEFAULT_LIMIT,
    newest_first: bool = True,
) -> Page[DeliveryRow]:
    """By id, that is by the time of the message. channels: every channel that there may be. Raises Invalid."""
    after = paging.decode(cursor, str)
    asked = query(tenant, mode, wanted, channels)
    bound = {"$lt" if newest_first else "$gt": after} if after is not None else {}
    indexed = {**asked.indexed, "_id": _narrowed(asked.indexed["_id"], bound)}
    direction = -1 if newest_first else 1
    return paging.page(list(find(indexed, asked.rest, "_id", direction, limit + 1)), limit, lambda row: row.id)


def query(tenant: str, mode: str, wanted: Wanted, channels: Sequence[str]) -> Query:
    """The most telling of the filters leads. Raises Invalid."""
    status = _status(wanted.status) if wanted.status else None
    filters = {
        "receiver": _receiver(wanted.receiver),
        "address_hash": wanted.address_hash,
        "group": wanted.group,
        "channel": wanted.channel,
        "state.status": status,
    }
    named = {name: value for name, value in filters.items() if value}
    ids = _ids(wanted)
    for name in ("receiver", "address_hash", "group"):
        if name in named:
            rest = {other: value for other, value in named.items() if other != name}
            return Query({"tenant": tenant, name: named[name], "_id": ids}, {"mode": mode, **rest})
    if named:
        # Of what is not named every value there may be: MongoDB merges the few ranges in the order of the ids.
        channel = named.get("channel", channels[0] if len(channels) == 1 else {"$in": list(channels)})
        standing = named.get("state.status", {"$in": [known.value for known in Status]})
        return Query({"tenant": tenant, "mode": mode, "channel": channel, "state.status": standing, "_id": ids}, {})
    if wanted.message:
        return Query({"tenant": tenant, "message": wanted.message, "_id": ids}, {"mode": mode})
    return Query({"tenant": tenant, "mode": mode, "_id": ids}, {})


def newest_of_receiver(tenant: str, receiver: str, limit: int) -> list[DeliveryRow]:
    """Those of the newest messages, live and test."""
    indexed = {"tenant": tenant, "receiver": _receiver(receiver), "_id": _ids(Wanted())}
    return list(find(indexed, {}, "_id", -1, limit))


def of_receiver(tenant: str, mode: str, message: str, receiver: str) -> list[DeliveryDetail]:
    """What a message's deliveries to one receiver went through."""
    asked = query(tenant, mode, Wanted(message=message, receiver=receiver), ())
    stages = [{"$match": dict(asked.indexed)}, {"$match": dict(asked.rest)}, {"$sort": {"_id": 1}}]
    return [detail_of(document) for document in rows().aggregate(stages)]


def _ids(wanted: Wanted) -> dict[str, str]:
    ids = {"$gte": "dlv_", "$lt": "dlv_~"}
    if wanted.since is not None:
        ids["$gte"] = first_id("dlv", wanted.since)
    if wanted.until is not None:
        ids["$lt"] = first_id("dlv", wanted.until)
    if not wanted.message:
        return ids
    if not _MESSAGE.fullmatch(wanted.message):
        raise Invalid("invalid_message", "message is the id of a message: msg_ and 26 characters.", "?message")
    start = f"dlv_{wanted.message[4:]}"
    return _narrowed(ids, {"$gte": start, "$lt": f"{start}~"})


def _narrowed(ids: Mapping[str, str], bound: Mapping[str, str]) -> dict[str, str]:
    """What is in both ranges."""
    lower = max((value for name, value in bound.items() if name in ("$gte", "$gt")), default="")
    upper = min((value for name, value in bound.items() if name == "$lt"), default="~")
    narrowed = dict(ids)
    if lower > ids["$gte"]:
        del narrowed["$gte"]
        narrowed["$gt" if "$gt" in bound else "$gte"] = lower
    return narrowed | {"$lt": min(upper, ids["$lt"])}


def _receiver(name: str | None) -> str | None:
    """As the record has it: an erased one is shown as it is marked."""
    return f"{ERASED}{name}" if name and _MARK.fullmatch(name) else name


def _status(word: str) -> str:
    try:
        return Status(word).value
    except ValueError:
        raise Invalid("invalid_status", f"status is one of {', '.join(Status)}.", "?status") from None
