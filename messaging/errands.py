"""Work of a tenant that takes longer than a request: written down first, then done in bounded steps by sweepers.

A step may be repeated: whoever is killed in one leaves it for the next, and the errand goes on from where the last
finished step left it. Two sweepers do not work on one errand at a time, as long as a step takes less than the lease.
"""

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from pymongo import ReturnDocument

from messaging import dead_letters, imports
from messaging.documents import Errand
from messaging.errand_row import Row, Step
from sprayer_project.errors import STORE_ERRORS, NotFound
from sprayer_project.ids import new_id
from sprayer_project.mongo import DURABLE
from tenants import selectors as tenants

log = structlog.get_logger(__name__)

_LEASE = timedelta(seconds=60)
_BUDGET = 5.0
"""Seconds after which go_on returns, so that a sweeper can end."""
_TRIES = 5
_KEPT = timedelta(days=30)

STEPS: dict[str, Step] = {
    "replay": dead_letters.replay_step,
    "drop": dead_letters.drop_step,
    "import": imports.step,
}


def begin(tenant: str, kind: str, by: str, arguments: Mapping[str, Any], identifier: str = "") -> Row:
    """Write an errand of a kind of STEPS down; a sweeper takes it up within seconds.

    identifier: one of new_errand_id, for what had to be written before it.
    """
    now = datetime.now(UTC)
    document = {
        "_id": identifier or new_errand_id(),
        "tenant": tenant,
        "kind": kind,
        "by": by,
        "arguments": dict(arguments),
        "progress": {},
        "status": "running",
        "created_at": now,
        "updated_at": now,
        "look_at": now,
        "tries": 0,
    }
    _errands().insert_one(document)
    return _row(document)


def new_errand_id() -> str:
    return new_id("ern")


def one(tenant: str, identifier: str, kinds: tuple[str, ...]) -> Row:
    """An errand of one of these kinds. Raises NotFound."""
    document = _errands().find_one({"_id": identifier, "tenant": tenant, "kind": {"$in": list(kinds)}})
    if document is None:
        raise NotFound("not_found", "There is no such errand.")
    return _row(document)


def recent(tenant: str, kinds: tuple[str, ...], limit: int) -> list[Row]:
    """The newest first."""
    found = _errands().find({"tenant": tenant, "kind": {"$in": list(kinds)}}).sort("_id", -1).limit(limit)
    return [_row(document) for document in found]


def stop(tenant: str, identifier: str) -> None:
    """What was done stays done. Nothing happens to one that has ended."""
    _errands().update_one({"_id": identifier, "tenant": tenant, "status": "running"}, {"$set": _ended("stopped")})


def go_on() -> int:
    """Steps of errands that are due, for a few seconds; returns how many were done."""
    steps, until = 0, time.monotonic() + _BUDGET
    while time.monotonic() < until and (document := _taken()):
        _step(_row(document), document["tries"])
        steps += 1
    return steps


def _taken() -> dict[str, Any] | None:
    """The errand that waits longest, now leased to the caller."""
    now = datetime.now(UTC)
    found: dict[str, Any] | None = _errands().find_one_and_update(
        {"status": "running", "look_at": {"$lte": now}},
        {"$set": {"look_at": now + _LEASE}},
        sort=[("look_at", 1)],
        return_document=ReturnDocument.AFTER,
    )
    return found


def _step(row: Row, tries: int) -> None:
    try:
        if not tenants.tenant_exists(row.tenant):
            progress, over = row.progress, "stopped"
        else:
            progress, done = STEPS[row.kind](row)
            over = "done" if done else ""
        changes = {"progress": dict(progress), "tries": 0} | (_ended(over) if over else _waits(0))
    except STORE_ERRORS as error:
        log.warning("an errand waits for a store", tenant=row.tenant, errand=row.id, error=type(error).__name__)
        changes = _waits(2)
    except Exception:
        log.exception("a step of an errand failed", tenant=row.tenant, errand=row.id, kind=row.kind)
        changes = {"tries": tries + 1} | (_ended("failed") if tries + 1 >= _TRIES else _waits(2**tries))
    _errands().update_one({"_id": row.id, "status": "running"}, {"$set": changes})


def _waits(seconds: float) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {"look_at": now + timedelta(seconds=seconds), "updated_at": now}


def _ended(status: str) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {"status": status, "updated_at": now, "look_at": None, "forget_at": now + _KEPT}


def _row(document: Mapping[str, Any]) -> Row:
    names = ("tenant", "kind", "by", "arguments", "progress", "status", "created_at", "updated_at")
    return Row(id=document["_id"], **{name: document[name] for name in names})


def _errands() -> Any:
    return Errand._get_collection().with_options(write_concern=DURABLE)
