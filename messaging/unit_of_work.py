"""Accepting messages: insert (which is also the idempotency claim), publish, mark. Nothing is lost in between:

killed before the insert      nothing is known; the caller repeats
killed before the publish     the sweeper publishes what was not marked
killed before the mark        the sweeper publishes again; claims make the second copy harmless
"""

import atexit
import threading
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import structlog
from pymongo.errors import BulkWriteError, DuplicateKeyError, PyMongoError
from redis.exceptions import RedisError

from messaging import collapsing, payloads, routing
from messaging.documents import Message
from sprayer_project import amqp, metrics, redis
from sprayer_project.errors import StoreUnavailable
from sprayer_project.mongo import DURABLE
from tenants import activity

log = structlog.get_logger(__name__)

FIRST_LOOK = timedelta(seconds=2)
"""How long after its routing the sweeper looks whether a message is settled."""
SINGLE_SHARE = 300
"""Messages a second that one tenant may put on the single lane; above, they take the bulk lane."""
_DUPLICATE_KEY = 11000


def accept(records: Sequence[dict[str, Any]]) -> frozenset[str]:
    """Store messages of one tenant and send their jobs on their way.

    Returns the ids of those that are not stored because another message holds their Idempotency-Key. Raises pymongo
    errors and StoreUnavailable: nobody knows then what is stored; the rest is recoverable.
    """
    if not records:
        return frozenset()
    held = _insert(records)
    stored = [record for record in records if record["_id"] not in held]
    for mode, count in Counter(record["mode"] for record in stored).items():
        metrics.ACCEPTED.labels(mode=mode).inc(count)
    for record in stored:
        activity.note_message(record["tenant"], _shown(record))
    crowded = _prepare(stored)
    _route([record for record in stored if record["status"] == "accepted"], crowded)
    return held


def _insert(records: Sequence[dict[str, Any]]) -> frozenset[str]:
    """Raises what accept raises."""
    collection = Message._get_collection().with_options(write_concern=DURABLE)
    try:
        if len(records) == 1:
            collection.insert_one(records[0])  # cheaper than a bulk of one
        else:
            collection.insert_many(records, ordered=False)
    except DuplicateKeyError:
        return frozenset({records[0]["_id"]})
    except BulkWriteError as error:
        if error.details.get("writeConcernErrors"):
            raise StoreUnavailable("MongoDB") from error
        failures = error.details["writeErrors"]
        if any(failure["code"] != _DUPLICATE_KEY for failure in failures):
            raise
        return frozenset(records[failure["index"]]["_id"] for failure in failures)
    return frozenset()


def start(record: Mapping[str, Any]) -> None:
    """Send a scheduled message, whose time has come, on its way."""
    if record.get("collapse_key") is not None:
        try:
            with redis.hurried(redis.shard_of(record["tenant"])) as client:
                collapsing.enter(client, record)
        except RedisError as error:
            log.warning("collapse key not entered", message=record["_id"], error=type(error).__name__)
    route(record)


def route(record: Mapping[str, Any]) -> bool:
    """Publish a stored message's jobs; whether they are confirmed. What is not, the sweeper does again."""
    return _route([record], frozenset())


def _route(records: Sequence[Mapping[str, Any]], crowded: Set[str]) -> bool:
    try:
        amqp.publish([job for record in records for job in routing.first_step(record, record["_id"] in crowded)])
    except amqp.BrokerUnavailable as error:
        log.warning("not routed yet", tenant=records[0]["tenant"], messages=len(records), error=error.detail)
        return False
    for record in records:
        _marker().mark(record["_id"], routed=not record["routes"])
    return True


def _shown(record: Mapping[str, Any]) -> dict[str, Any]:
    """What whoever looks on sees of a message: nothing of what it says, and how many it names instead of whom."""
    to = {kind: len(names) for kind, names in record["to"].items() if names}
    return {"mode": record["mode"], "message": record["_id"], "channels": record["channels"], "to": to}


def _prepare(records: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """Cache the payloads; the ids of those beyond the tenant's share of the single lane. Redis away: both can wait."""
    if not records:
        return frozenset()
    tenant = records[0]["tenant"]
    share = redis.key(tenant, "share", str(int(datetime.now(UTC).timestamp())))
    try:
        with redis.hurried(redis.shard_of(tenant)) as client:
            pipeline: Any = client.pipeline(transaction=False)
            for record in records:
                payloads.stage(pipeline, payloads.of_record(record))
                if record["status"] == "accepted" and record["collapse_key"] is not None:
                    collapsing.enter(pipeline, record)
            count = pipeline.incrby(share, len(records)).expire(share, 5).execute()[-2]
    except RedisError as error:
        log.warning("payloads not cached", tenant=tenant, messages=len(records), error=type(error).__name__)
        return frozenset()
    within = max(0, SINGLE_SHARE + len(records) - int(count))
    return frozenset(record["_id"] for record in records[within:])


class _Marker(threading.Thread):
    """Marks messages as queued, many in one write."""

    def __init__(self, interval: float = 0.05):
        super().__init__(name="queued-marker", daemon=True)
        self._interval = interval
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._marks: dict[str, bool] = {}

    def mark(self, message: str, routed: bool) -> None:
        with self._lock:
            self._marks[message] = routed
        self._wake.set()

    def run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            self.flush()
            threading.Event().wait(self._interval)

    def flush(self) -> None:
        with self._lock:
            marks, self._marks = self._marks, {}
        try:
            for routed, status in ((True, "routed"), (False, "routing")):
                ids = [message for message, mark in marks.items() if mark is routed]
                if ids:
                    _mark(ids, status)
        except PyMongoError as error:
            log.warning("not marked as queued: the sweeper will", messages=len(marks), error=type(error).__name__)


def _mark(ids: list[str], status: str) -> None:
    now = datetime.now(UTC)
    changes = {"queued": True, "status": status, "progress_at": now, "look_at": now + FIRST_LOOK}
    Message._get_collection().update_many({"_id": {"$in": ids}, "status": "accepted"}, {"$set": changes})


@cache
def _marker() -> _Marker:
    marker = _Marker()
    marker.start()
    atexit.register(marker.flush)
    return marker
