"""Dead letters by what they have in common, and what is done to many of them at once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pymongo import UpdateOne

from feedback import updates
from feedback.selectors import DeliveryRow, find, rows
from feedback.updates import dead_prefix

MOST = 10_000
"""Dead letters that are counted when somebody looks, the newest."""


@dataclass(frozen=True, slots=True)
class Group:
    """Dead letters of one channel and reason."""

    channel: str
    reason: str
    count: int
    newest: datetime


@dataclass(frozen=True, slots=True)
class Groups:
    groups: Sequence[Group]
    """The largest first."""
    more: bool
    """Whether there are older ones that are not counted."""


def groups(tenant: str, mode: str, most: int = MOST) -> Groups:
    """Counted over the newest `most`."""
    stages: list[dict[str, Any]] = [
        {"$match": _listed(tenant, mode)},
        {"$sort": {"state.dead": -1}},
        {"$limit": most + 1},
        {
            "$group": {
                "_id": {"channel": "$channel", "reason": "$state.reason"},
                "count": {"$sum": 1},
                "newest": {"$max": "$state.at"},
            }
        },
    ]
    found = [
        Group(row["_id"]["channel"], row["_id"]["reason"], row["count"], row["newest"])
        for row in rows().aggregate(stages)
    ]
    found.sort(key=lambda group: (-group.count, group.channel, group.reason))
    return Groups(found, sum(group.count for group in found) > most)


def letters(
    tenant: str, mode: str, named: Mapping[str, str], after: str | None, limit: int, newest: str = ""
) -> Iterator[DeliveryRow]:
    """Dead letters from old to new, after one's id; named: channel and reason, or what of them is wanted.

    newest: those up to this id alone.
    """
    prefix = dead_prefix(tenant, mode)
    fields = {"channel": "channel", "reason": "state.reason"}
    indexed = _listed(tenant, mode)
    if after:
        indexed["state.dead"]["$gt"] = f"{prefix}{after}"
    if newest:
        del indexed["state.dead"]["$lt"]
        indexed["state.dead"]["$lte"] = f"{prefix}{newest}"
    rest = {fields[name]: value for name, value in named.items()}
    return find(indexed, rest, "state.dead", 1, limit)


def newest(tenant: str, mode: str) -> str:
    """The id of the newest dead letter, empty where there is none."""
    return next((row.id for row in find(_listed(tenant, mode), {}, "state.dead", -1, 1)), "")


def drop(tenant: str, mode: str, ids: Sequence[str]) -> int:
    """Take these off the list; they stay failed. Returns how many were on it."""
    if not ids:
        return 0
    prefix = dead_prefix(tenant, mode)
    gone = {"$set": {"state.dead": updates.DROPPED}}
    changes = [UpdateOne({"_id": identifier, "state.dead": f"{prefix}{identifier}"}, gone) for identifier in ids]
    return int(rows().bulk_write(changes, ordered=False).modified_count)


def _listed(tenant: str, mode: str) -> dict[str, Any]:
    prefix = dead_prefix(tenant, mode)
    return {"state.dead": {"$gt": prefix, "$lt": f"{prefix}~"}}
