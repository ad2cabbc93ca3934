"""What a tenant can do with messages: submit, cancel, retry a delivery."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rest_framework.exceptions import ValidationError

from feedback import services as feedback
from messaging import drafting, payloads, unit_of_work
from messaging.documents import Message
from messaging.retrying import next_attempt, retry_deliveries, retry_delivery
from sprayer_project import mongo
from sprayer_project.errors import (
    STORE_ERRORS,
    Conflict,
    Invalid,
    KeyReused,
    NotFound,
    TooLarge,
)

__all__ = [
    "Accepted",
    "accept",
    "accept_batch",
    "cancel",
    "next_attempt",
    "retry_deliveries",
    "retry_delivery",
]

KEY_LIFE = timedelta(hours=24)
_PATIENCE, _BATCH_PATIENCE = mongo.TIMEOUT_MS / 1000, 4 * mongo.TIMEOUT_MS / 1000
"""Seconds that MongoDB has for a message, and for a batch."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The answer to a submission; replayed: the Idempotency-Key was used before, with this very body."""

    id: str
    status: str
    channels: list[str]
    created_at: datetime
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class _Submission:
    body: Mapping[str, Any]
    key: str | None
    """Its Idempotency-Key."""
    body_hash: str


def accept(tenant: str, mode: str, body: Mapping[str, Any], idempotency_key: str | None = None) -> Accepted:
    """Take responsibility for a message. Raises Invalid, TooLarge, KeyReused, pymongo errors: nothing is stored."""
    results: dict[int, Accepted | Exception] = {}
    with mongo.patience(_PATIENCE):
        _accept(tenant, mode, {0: _submission(body, idempotency_key)}, results)
    if isinstance(results[0], Exception):
        raise results[0]
    return results[0]


def accept_batch(tenant: str, mode: str, bodies: Sequence[Mapping[str, Any]]) -> list[Accepted | Exception]:
    """Each item on its own: what it became or why not, in order. Stored, published and looked up together.

    A store that fails is the result of all that were not yet decided.
    """
    results: dict[int, Accepted | Exception] = {}
    # A key that comes again finds in the next round what became of it before.
    rounds: dict[int, dict[int, _Submission]] = defaultdict(dict)
    times = Counter[str | None]()
    for index, body in enumerate(bodies):
        own = dict(body)
        try:
            submission = _submission(own, own.pop("idempotency_key", None))
        except (Invalid, TooLarge) as error:
            results[index] = error
            continue
        rounds[times[submission.key]][index] = submission
        times[submission.key] += submission.key is not None
    try:
        with mongo.patience(_BATCH_PATIENCE):
            for submissions in rounds.values():
                _accept(tenant, mode, submissions, results)
    except STORE_ERRORS as error:
        return [results.get(index, error) for index in range(len(bodies))]
    return [results[index] for index in range(len(bodies))]


def _submission(body: Mapping[str, Any], key: Any) -> _Submission:
    """Raises Invalid, TooLarge."""
    if key is not None and not isinstance(key, str):
        raise Invalid("invalid_idempotency_key", "Must be a string.", "/idempotency_key")
    raw = drafting.canonical(body)
    if key is not None and not 1 <= len(key) <= 255:
        raise Invalid("invalid_idempotency_key", "An Idempotency-Key has 1 to 255 characters.")
    return _Submission(body, key, hashlib.sha256(raw).hexdigest())


def _accept(
    tenant: str, mode: str, submissions: Mapping[int, _Submission], results: dict[int, Accepted | Exception]
) -> None:
    """Put what becomes of each into results. Raises the stores' errors."""

    def left() -> dict[int, _Submission]:
        return {index: found for index, found in submissions.items() if index not in results}

    results |= _earlier(tenant, mode, submissions)
    records = _records(tenant, mode, left(), results)
    held = unit_of_work.accept([*records.values()])
    results |= {
        index: Accepted(record["_id"], record["status"], record["channels"], record["created_at"])
        for index, record in records.items()
        if record["_id"] not in held
    }
    results |= _earlier(tenant, mode, left())
    expiring = Conflict("key_in_use", "The key of this request is just expiring: repeat it.", retry_after=1)
    results |= dict.fromkeys(left(), expiring)


def _records(
    tenant: str, mode: str, submissions: Mapping[int, _Submission], refused: dict[int, Accepted | Exception]
) -> dict[int, dict[str, Any]]:
    """The documents to store; why there is none goes to `refused`."""
    values: dict[int, dict[str, Any]] = {}
    for index, submission in submissions.items():
        try:
            values[index] = drafting.validated(submission.body)
        except ValidationError as error:
            refused[index] = error
    if not values:
        return {}
    known = drafting.look_up(tenant, mode, values.values())
    records: dict[int, dict[str, Any]] = {}
    for index, found in values.items():
        try:
            record = drafting.document(tenant, mode, found, known)
        except Invalid as error:
            refused[index] = error
        else:
            records[index] = record | _claimed(tenant, mode, submissions[index], record["created_at"])
    return records


def cancel(tenant: str, mode: str, identifier: str) -> None:
    """Stop what is not yet sent. Raises NotFound, Conflict when nothing is left to stop, and a store's errors.

    After a store's error it may be half done: repeated, it finishes.
    """
    collection = Message._get_collection()
    query = {"_id": identifier, "tenant": tenant, "mode": mode}
    record = collection.find_one(query)
    if record is None:
        raise NotFound("not_found", "There is no such message.")
    stoppable = {"status": {"$in": ["scheduled", "accepted", "routing", "routed", "cancelled"]}}
    if not collection.update_one(query | stoppable, {"$set": {"status": "cancelled"}}).matched_count:
        raise Conflict("not_cancellable", f"The message is {record['status']}: nothing is left to cancel.")
    payloads.store(payloads.of_record(record | {"status": "cancelled"}))
    feedback.cancel_open(tenant, identifier, datetime.now(UTC))


def _earlier(tenant: str, mode: str, submissions: Mapping[int, _Submission]) -> dict[int, Accepted | Exception]:
    """What the keys of these have made in the last 24 hours."""
    claims = {_claim(tenant, mode, found.key): index for index, found in submissions.items() if found.key}
    results: dict[int, Accepted | Exception] = {}
    collection = Message._get_collection()
    for record in collection.find({"idempotency": {"$in": [*claims]}}) if claims else ():
        claim = record["idempotency"]
        if record["key_expires_at"] <= datetime.now(UTC):
            unset = {"idempotency": "", "key_expires_at": ""}
            collection.update_one({"_id": record["_id"], "idempotency": claim}, {"$unset": unset})
        else:
            results[claims[claim]] = _again(record, submissions[claims[claim]])
    return results


def _again(record: Mapping[str, Any], submission: _Submission) -> Accepted | Exception:
    """What a key answers that made this message before."""
    if record["body_hash"] != submission.body_hash:
        return KeyReused(
            "idempotency_key_reused",
            f"This Idempotency-Key made {record['_id']} from another body: use a new key for a new message.",
        )
    status = "scheduled" if record["status"] == "scheduled" else "accepted"
    return Accepted(record["_id"], status, record["channels"], record["created_at"], replayed=True)


def _claimed(tenant: str, mode: str, submission: _Submission, at: datetime) -> dict[str, Any]:
    """The fields by which a message holds its key."""
    if not submission.key:
        return {}
    return {
        "idempotency": _claim(tenant, mode, submission.key),
        "idempotency_key": submission.key,
        "body_hash": submission.body_hash,
        "key_expires_at": at + KEY_LIFE,
    }


def _claim(tenant: str, mode: str, key: str) -> str:
    """What an Idempotency-Key claims, in one unique field: a tenant's slug holds no slash."""
    return f"{tenant}/{mode}/{key}"
