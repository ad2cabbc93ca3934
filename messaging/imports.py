"""Files of receivers and subscriptions that people upload: kept in chunks, written by sweepers chunk by chunk."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import IO, Any

from messaging.documents import ImportChunk
from messaging.errand_row import Row as Errand
from sprayer_project.errors import Invalid
from sprayer_project.mongo import DURABLE
from subscriptions import importing
from subscriptions.importing import Bad, Row

MOST = 20 * 1024 * 1024
"""Bytes of an upload; larger files are for the command."""
_KEPT = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Upload:
    """What was kept of a file."""

    chunks: int
    rows: int


def keep(tenant: str, errand: str, file: IO[bytes], kind: str) -> Upload:
    """Read a file and keep its rows for an errand of a tenant. Raises Invalid: nothing of it is kept then."""
    chunks = rows = 0
    try:
        for number, batch in enumerate(importing.batches(importing.read(file, kind))):
            _chunks().insert_one(
                {
                    "_id": _id(errand, number),
                    "tenant": tenant,
                    "rows": [asdict(row) for row in batch if isinstance(row, Row)],
                    "bad": [asdict(row) for row in batch if isinstance(row, Bad)],
                    "done": False,
                    "forget_at": datetime.now(UTC) + _KEPT,
                }
            )
            chunks, rows = chunks + 1, rows + len(batch)
        if not rows:
            raise Invalid("empty", "The file has no rows.")
    except Invalid:
        forget(errand)
        raise
    return Upload(chunks, rows)


def forget(errand: str) -> None:
    """Let the rows go that are not written yet."""
    _chunks().delete_many(_of(errand) | {"done": False})


def step(errand: Errand) -> tuple[Mapping[str, Any], bool]:
    """Write one chunk. A chunk that was written before a sweeper died says so itself, and what was bad of it."""
    before = {"chunk": 0, "done": 0, "bad": 0} | dict(errand.progress)
    chunk = _chunks().find_one({"_id": _id(errand.id, before["chunk"])})
    if chunk is None:
        return before, True
    bad = chunk["bad"]
    if not chunk["done"]:
        rows = [Row(**row | {"channels": row["channels"] and tuple(row["channels"])}) for row in chunk["rows"]]
        refused = importing.put(errand.tenant, [*rows, *(Bad(**row) for row in bad)])
        bad = [asdict(row) for row in refused]
        _chunks().update_one({"_id": chunk["_id"]}, {"$set": {"rows": [], "bad": bad, "done": True}})
    number = before["chunk"] + 1
    done = min(errand.arguments["rows"], number * importing.BATCH)
    return {"chunk": number, "done": done, "bad": before["bad"] + len(bad)}, number == errand.arguments["chunks"]


def report(errand: Errand) -> Iterator[bytes]:
    """The refused rows so far, as CSV."""
    yield importing.report([])
    for chunk in _chunks().find(_of(errand.id) | {"done": True}).sort("_id", 1):
        if chunk["bad"]:
            yield importing.report([Bad(**row) for row in chunk["bad"]], head=False)


def _of(errand: str) -> dict[str, Any]:
    return {"_id": {"$gte": _id(errand, 0), "$lt": f"{errand}/~"}}


def _id(errand: str, number: int) -> str:
    return f"{errand}/{number:06}"


def _chunks() -> Any:
    return ImportChunk._get_collection().with_options(write_concern=DURABLE)
