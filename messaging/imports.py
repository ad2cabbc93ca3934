"""Files of receivers and subscriptions that people upload: kept in chunks, written by sweepers chunk by chunk."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import IO, Any

import orjson

from messaging.documents import ImportChunk
from messaging.errand_row import Row as Errand
from sprayer_project.errors import Invalid
from sprayer_project.mongo import DURABLE
from subscriptions import importing
from subscriptions import services as subscriptions
from subscriptions.importing import Bad, Row

MOST = 20 * 1024 * 1024
"""Bytes of an upload; larger files are for the command."""
_CHUNK = 1024 * 1024
"""Bytes of the JSON of a chunk's rows, and so of a row: MongoDB takes 16 MiB."""
_KEPT = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Upload:
    """What was kept of a file."""

    chunks: int
    rows: int


def keep(tenant: str, errand: str, file: IO[bytes], kind: str) -> Upload:
    """Read a file and keep its rows for an errand of a tenant. Raises Invalid. Nothing of it is kept if this fails."""
    chunks = rows = 0
    try:
        for number, batch in enumerate(_packed(importing.read(file, kind))):
            forget_at = datetime.now(UTC) + _KEPT
            chunk = {"_id": _id(errand, number), "tenant": tenant, "size": len(batch), "forget_at": forget_at}
            _chunks().insert_one(chunk | _content(batch, [], done=False))
            chunks, rows = chunks + 1, rows + len(batch)
        if not rows:
            raise Invalid("empty", "The file has no rows.")
    except Exception:
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
    bad = _rows(chunk["bad"])
    if not chunk["done"]:
        bad = importing.put(errand.tenant, _rows(chunk["rows"]))
        if not _replace(chunk, [], bad, done=True):
            _take_back(chunk)
            return before, False
    number, done = before["chunk"] + 1, before["done"] + chunk["size"]
    return {"chunk": number, "done": done, "bad": before["bad"] + len(bad)}, number == errand.arguments["chunks"]


def report(errand: Errand) -> Iterator[bytes]:
    """The refused rows so far, as CSV."""
    yield importing.report([])
    for chunk in _chunks().find(_of(errand.id) | {"done": True}).sort("_id", 1):
        yield importing.report(_rows(chunk["bad"]), head=False)


def erase(tenant: str, receiver: str, mark: str) -> None:
    """Take a receiver out of the tenant's files: no row of it is written any more, refused ones have the mark instead.

    What a sweeper is writing meanwhile it takes back: erase the receiver itself afterwards.
    """
    while chunk := _chunks().find_one({"tenant": tenant, "receivers": receiver}):
        rows = [row for row in _rows(chunk["rows"]) if row.receiver != receiver]
        bad = [replace(row, receiver=mark) if row.receiver == receiver else row for row in _rows(chunk["bad"])]
        _replace(chunk, rows, bad, chunk["done"])


def _take_back(chunk: Mapping[str, Any]) -> None:
    """Somebody was erased from a chunk while it was written: nothing of that may stay."""
    left = _chunks().find_one({"_id": chunk["_id"], "done": False})
    for name in set(chunk["receivers"]) - set(left["receivers"]) if left else ():
        subscriptions.erase_receiver(chunk["tenant"], name)


def _replace(chunk: Mapping[str, Any], rows: Sequence[Row | Bad], bad: Sequence[Bad], done: bool) -> bool:
    """Change a chunk unless somebody else was faster."""
    same = {name: chunk[name] for name in ("_id", "done", "receivers")}
    return bool(_chunks().update_one(same, {"$set": _content(rows, bad, done)}).matched_count)


def _packed(rows: Iterable[Row | Bad]) -> Iterator[list[Row | Bad]]:
    """In as few chunks as importing.BATCH and _CHUNK allow."""
    chosen, size = list[Row | Bad](), 0
    for row in map(_kept, rows):
        more = len(orjson.dumps(row))
        if chosen and (len(chosen) == importing.BATCH or size + more > _CHUNK):
            yield chosen
            chosen, size = [], 0
        chosen.append(row)
        size += more
    if chosen:
        yield chosen


def _kept(row: Row | Bad) -> Row | Bad:
    """A row, refused where it has no JSON or too much."""
    try:
        if len(orjson.dumps(row)) <= _CHUNK:
            return row
        said = f"The row is longer than {_CHUNK} bytes."
    except TypeError:
        said = "The row has text that is not Unicode, a number of more than 64 bits, or too many lists within lists."
    return Bad(row.line, row.receiver, said)


def _content(rows: Sequence[Row | Bad], bad: Sequence[Bad], done: bool) -> dict[str, Any]:
    """What a chunk has: rows to write, and what was refused of those that are written."""
    receivers = sorted({row.receiver for row in (*rows, *bad)})
    texts = {"rows": orjson.dumps(rows).decode(), "bad": orjson.dumps(bad).decode()}
    return texts | {"receivers": receivers, "done": done}


def _rows(text: str) -> list[Any]:
    """The Row or Bad of each in a text of _content."""
    return [
        Bad(**row) if "problem" in row else Row(**row | {"channels": row["channels"] and tuple(row["channels"])})
        for row in orjson.loads(text)
    ]


def _of(errand: str) -> dict[str, Any]:
    return {"_id": {"$gte": _id(errand, 0), "$lt": f"{errand}/~"}}


def _id(errand: str, number: int) -> str:
    return f"{errand}/{number:06}"


def _chunks() -> Any:
    return ImportChunk._get_collection().with_options(write_concern=DURABLE)
