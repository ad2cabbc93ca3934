"""Unordered bulks that several feeders write at once."""

from collections.abc import Sequence
from typing import Any

from pymongo import UpdateMany, UpdateOne
from pymongo.errors import BulkWriteError

from feedback.documents import Collection

_TRIES = 5
_DUPLICATE_KEY = 11000


def insert(collection: Collection, documents: Sequence[dict[str, Any]]) -> list[int]:
    """Returns the indexes of those whose id is there already. Raises pymongo's errors."""
    try:
        if documents:
            collection.insert_many(documents, ordered=False)
    except BulkWriteError as error:
        return _duplicates(error)
    return []


def write(collection: Collection, operations: Sequence[UpdateOne | UpdateMany]) -> list[int]:
    """Upserts; two feeders that insert the same document at once: the loser repeats, now as an update.

    Returns the indexes of the operations that were duplicate keys every time. Raises pymongo's errors.
    """
    left = list(range(len(operations)))
    for _ in range(_TRIES if operations else 0):
        try:
            collection.bulk_write([operations[index] for index in left], ordered=False)
            return []
        except BulkWriteError as error:
            left = [left[index] for index in _duplicates(error)]
    return left


def _duplicates(error: BulkWriteError) -> list[int]:
    """The indexes of duplicate keys. Raises the error where there is anything else."""
    failures = error.details["writeErrors"]
    if error.details.get("writeConcernErrors") or any(found["code"] != _DUPLICATE_KEY for found in failures):
        raise error
    return [found["index"] for found in failures]
