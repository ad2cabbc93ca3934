"""Dead letters by what they have in common, and what is done to many of them at once."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo import UpdateOne

from feedback import updates
from feedback.selectors import DeliveryRow, find, rows
from feedback.updates import dead_prefix
from sprayer_project.ids import first_id

MOST, PATIENCE = 10_000, 0.15
"""Dead letters, and seconds, for which they are counted when somebody looks, from the newest on."""
_AGES = [timedelta(minutes=2**power) for power in range(18)]
"""How far back each step of counting goes; the last one, half a year, is followed by all the rest."""


@dataclass(frozen=True, slots=True)
class Group:
    """Dead letters of one channel and reason."""

    channel: str
    reason: str
    count: int
    newest: datetime

    def older(self, other: "Group") -> "Group":
        """Together with older ones."""
        return replace(self, count=self.count + other.count, newest=max(self.newest, other.newest))


@dataclass(frozen=True, slots=True)
class Groups:
    groups: Sequence[Group]
    """The largest first."""
    counted: int
    more: bool
    """Whether there may be older ones, which are not counted."""


def groups(tenant: str, mode: str, most: int = MOST, patience: float = PATIENCE) -> Groups:
    """Counted over the newest `most`, or those that can be counted in `patience` seconds; the first minute always."""
    prefix, now, began = dead_prefix(tenant, mode), datetime.now(UTC), time.monotonic()
    found: dict[tuple[str, str], Group] = {}
    left, until = most, f"{prefix}~"
    for since in [*(f"{prefix}{first_id('dlv', now - age)}" for age in _AGES), prefix]:
        asked = time.monotonic()
        for group in _counted({"$gte": since, "$lt": until}, left + 1):
            before = found.get((group.channel, group.reason))
            found[group.channel, group.reason] = group if before is None else before.older(group)
            left -= group.count
        # A step goes twice as far back as all before it.
        more = left < 0 or (since != prefix and time.monotonic() + 2 * (time.monotonic() - asked) > began + patience)
        if more:
            break
        until = since
    listed = sorted(found.values(), key=lambda group: (-group.count, group.channel, group.reason))
    return Groups(listed, most - max(left, 0), more)


def _counted(listed: Mapping[str, str], most: int) -> Iterator[Group]:
    """The newest `most` of a range of state.dead."""
    stages: list[dict[str, Any]] = [
        {"$match": {"state.dead": dict(listed)}},
        {"$sort": {"state.dead": -1}},
        {"$limit": most},
        {
            "$group": {
                "_id": {"channel": "$channel", "reason": "$state.reason"},
                "count": {"$sum": 1},
                "newest": {"$max": "$state.at"},
            }
        },
    ]
    for row in rows().aggregate(stages):
        yield Group(row["_id"]["channel"], row["_id"]["reason"], row["count"], row["newest"])


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
