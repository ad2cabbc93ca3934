"""Accepting messages: insert (which is also the idempotency claim), publish, note. Nothing is lost in between:

killed before the insert      nothing is known; the caller repeats
killed before the publish     the sweeper publishes what was not noted
killed before the note        the sweeper publishes again; claims make the second copy harmless
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import structlog
from pymongo.errors import BulkWriteError, DuplicateKeyError
from redis.exceptions import RedisError

from messaging import collapsing, lanes, payloads, published, routing
from messaging.documents import Message
from sprayer_project import amqp, metrics, redis
from sprayer_project.errors import StoreUnavailable
from sprayer_project.mongo import DURABLE
from tenants import activity

log = structlog.get_logger(__name__)

FIRST_LOOK = timedelta(seconds=2)
"""How long after its acceptance, or its routing, the sweeper looks whether a message is settled."""
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
    starting = [record for record in stored if record["status"] == "accepted"]
    if _publish(starting, _prepare(stored, starting)):
        published.note((record["tenant"], record["_id"]) for record in starting)
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
    if route(record):
        published.note([(record["tenant"], record["_id"])])


def route(record: Mapping[str, Any]) -> bool:
    """Publish a stored message's jobs; whether they are confirmed. What is not, the sweeper does again."""
    return _publish([record], lanes.Surplus())


def _publish(records: Sequence[Mapping[str, Any]], surplus: lanes.Surplus) -> bool:
    try:
        amqp.publish([job for record in records for job in routing.first_step(record, surplus.of(record))])
    except amqp.BrokerUnavailable as error:
        log.warning("not routed yet", tenant=records[0]["tenant"], messages=len(records), error=error.detail)
        return False
    return True


def _shown(record: Mapping[str, Any]) -> dict[str, Any]:
    """What whoever looks on sees of a message: nothing of what it says, and how many it names instead of whom."""
    to = {kind: len(names) for kind, names in record["to"].items() if names}
    return {"mode": record["mode"], "message": record["_id"], "channels": record["channels"], "to": to}


def _prepare(stored: Sequence[Mapping[str, Any]], starting: Sequence[Mapping[str, Any]]) -> lanes.Surplus:
    """Cache the payloads, and choose the lanes of those that start now. Redis away: both can wait."""
    if not stored:
        return lanes.Surplus()
    tenant = stored[0]["tenant"]
    try:
        with redis.hurried(redis.shard_of(tenant)) as client:
            pipeline: Any = client.pipeline(transaction=False)
            for record in stored:
                payloads.stage(pipeline, payloads.of_record(record))
            for record in starting:
                if record["collapse_key"] is not None:
                    collapsing.enter(pipeline, record)
            lanes.stage(pipeline, tenant, starting)
            return lanes.surplus(pipeline.execute()[-1], starting)
    except RedisError as error:
        log.warning("payloads not cached", tenant=tenant, messages=len(stored), error=type(error).__name__)
        return lanes.Surplus()
