"""The two routing steps: a message becomes jobs on N channel queues; an Expand becomes Deliver jobs for M receivers."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import structlog
from django.conf import settings
from pymongo import ReturnDocument

from messaging import jobs
from messaging.documents import Message
from messaging.jobs import Deliver, Expand, Target
from messaging.payloads import Payload
from sprayer_project import amqp, mongo, worker
from sprayer_project.errors import STORE_ERRORS
from subscriptions import selectors as subscribers

log = structlog.get_logger(__name__)

BULK_DEPTH = 20_000
"""Jobs on a bulk lane above which expanding pauses."""
_PAGES = 4
"""Pages that one step of a chain resolves: a step waits for stores about as long as a page's deliveries take."""
_END_PAUSE = 5


def first_step(record: Mapping[str, Any], surplus: Set[str] = frozenset()) -> list[amqp.Publication]:
    """A message's jobs: one Deliver a chunk of named targets, one Expand a group, for every channel.

    surplus: channels on which it takes the surplus lane if it is one-to-one.
    """
    publications = []
    for channel in record["channels"]:
        common = _common(record, channel)
        targets = named_targets(record, channel)
        lane = jobs.lane_of(len(targets), channel in surplus)
        publications += [publication(page, lane) for page in _pages(targets, **common)]
    for name in record["routes"]:
        channel, _, index = name.partition("/")
        common = _common(record, channel)
        publications.append(publication(Expand(group=record["to"]["groups"][int(index)], **common), "bulk"))
    return publications


async def expand(job: Expand, payload: Payload) -> None:
    """Resolve a group's next pages and publish what follows from them. Safe to repeat at any point."""
    queue = amqp.job_queue(job.channel, "bulk")
    if (await worker.in_thread(amqp.depth, queue) or 0) > BULK_DEPTH:
        await amqp.apublish([amqp.retry(queue, jobs.encode(job), 1)])
        return
    if payload.cancelled or payload.expires <= datetime.now(UTC):
        await _end(job)
        return
    most = settings.PAGE_SIZE * _PAGES
    names, cursor = await subscribers.expand_page(job.tenant, job.group, job.channel, job.cursor, most)
    common: dict[str, Any] = {name: getattr(job, name) for name in ("tenant", "message", "mode", "channel")}
    count = job.count + len(names)
    deliver = _pages([Target(name) for name in names], group=job.group, **common)
    following = [publication(page, "bulk") for page in deliver]
    if cursor is not None:
        following.append(publication(Expand(group=job.group, cursor=cursor, count=count, **common), "bulk"))
    await amqp.apublish(following)
    if cursor is None:
        await _end(replace(job, cursor=names[-1] if names else job.cursor, count=count))


async def _end(job: Expand) -> None:
    """Record the end of a chain. Without MongoDB the rest of the chain, which is empty, comes back later.

    Waiting here would hold up the jobs behind it, which need Redis alone, and publish the last page again and again.
    """
    try:
        with mongo.patience(mongo.TIMEOUT_MS / 1000):
            await worker.in_thread(_ended, job, job.count)
    except STORE_ERRORS as error:
        log.warning("the end of a chain waits for a store", message=job.message, error=type(error).__name__)
        await amqp.apublish([amqp.retry(amqp.job_queue(job.channel, "bulk"), jobs.encode(job), _END_PAUSE)])


def publication(job: jobs.Job, lane: str) -> amqp.Publication:
    return amqp.Publication(amqp.JOBS, amqp.job_queue(job.channel, lane), jobs.encode(job))


def targets_of(record: Mapping[str, Any], channel: str) -> list[str]:
    """The named receivers that a message tries on a channel."""
    if record.get("targets"):
        return list(record["targets"].get(channel, []))
    return list(record["to"]["receivers"])


def _pages(targets: Sequence[Target], **common: Any) -> list[Deliver]:
    size = settings.PAGE_SIZE
    return [Deliver(targets=tuple(targets[at : at + size]), **common) for at in range(0, len(targets), size)]


def _common(record: Mapping[str, Any], channel: str) -> dict[str, Any]:
    return {"tenant": record["tenant"], "message": record["_id"], "mode": record["mode"], "channel": channel}


def named_targets(record: Mapping[str, Any], channel: str) -> list[Target]:
    """The receivers and plain addresses that a message tries on a channel."""
    plain = [item["hash"] for item in record["to"]["addresses"] if item["channel"] == channel]
    named = [Target(name) for name in targets_of(record, channel)]
    return named + [Target(f"addr:{address_hash}", address_hash) for address_hash in plain]


def _ended(job: Expand, count: int) -> None:
    """The last page of a chain: what it resolved is known; with the last chain the message is routed."""
    collection = Message._get_collection()
    record = collection.find_one({"_id": job.message, "tenant": job.tenant}, {"to.groups": 1})
    if record is None or job.group not in record["to"]["groups"]:
        return
    route = f"{job.channel}/{record['to']['groups'].index(job.group)}"
    now = datetime.now(UTC)
    changes = {"$set": {f"routed.{route}": count, "progress_at": now}}
    after = collection.find_one_and_update({"_id": job.message}, changes, return_document=ReturnDocument.AFTER)
    if set(after["routes"]) <= set(after["routed"]):
        update = {"$set": {"status": "routed"}}
        collection.update_one({"_id": job.message, "status": {"$in": ["accepted", "routing"]}}, update)
