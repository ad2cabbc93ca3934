"""Unordered bulks of upserts that several feeders make at once."""

from collections.abc import Sequence

from pymongo import UpdateMany, UpdateOne
from pymongo.errors import BulkWriteError

from feedback.documents import Collection

_TRIES = 5
_DUPLICATE_KEY = 11000


def write(collection: Collection, operations: Sequence[UpdateOne | UpdateMany]) -> list[int]:
    """Unordered; two feeders that insert the same document at once: the loser repeats, now as an update.

    Returns the indexes of the operations that were duplicate keys every time. Raises pymongo's errors.
    """
    left = list(range(len(operations)))
    for _ in range(_TRIES if operations else 0):
        try:
            collection.bulk_write([operations[index] for index in left], ordered=False)
            return []
        except BulkWriteError as error:
            failures = error.details["writeErrors"]
            if error.details.get("writeConcernErrors") or any(found["code"] != _DUPLICATE_KEY for found in failures):
                raise
            left = [left[found["index"]] for found in failures]
    return left
