"""Jobs that can never be done, among good ones: each ends in the dead letters with its reason, and nothing waits."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from feedback import selectors as feedback
from messaging import jobs, services
from messaging.documents import Message, UndecodableJob
from messaging.jobs import Deliver, Target
from messaging.management.commands.run_sweeper import sweep
from sprayer_project import amqp, redis, worker
from tenants.models import Tenant
from tests.conftest import TenantUnderTest
from tests.live import LiveSystem, wait_for
from tests.resilience import sink
from tests.resilience.load import run

GOOD = 30
QUEUE = amqp.job_queue("http", "single")


def poisoned(**fields: Any) -> bytes:
    """A job that looks right but for some fields."""
    return json.dumps(json.loads(jobs.encode(good())) | fields).encode()


def good(**fields: Any) -> Deliver:
    values = {"tenant": "acme", "message": "msg_none", "mode": "live", "channel": "http", "targets": (Target("r0"),)}
    return Deliver(**(values | fields))


UNDECODABLE = {
    "no text": b"\xff\xfe",
    "no JSON": b"{",
    "no object": b"[1]",
    "nothing": b"",
    "too deep": b"[" * 100_000,
    "another version": poisoned(v=2),
    "another kind": poisoned(kind="explode"),
    "a field too many": poisoned(colour="red"),
    "a tenant that is no text": poisoned(tenant=["acme"]),
    "a message that is no text": poisoned(message=7),
    "a round that is no number": poisoned(round="x"),
    "a time that is no number": poisoned(due="soon"),
    "a time that never comes": poisoned(due=float("inf")),
    "targets that are none": poisoned(targets=[[7]]),
    "a breaker that is none": poisoned(behind="down.example"),
    "a breaker whose host is no text": poisoned(behind=[7, 1.5, 2.5]),
    "a breaker since no time": poisoned(behind=["down.example", "soon", 2.5]),
    "half a character": poisoned(tenant="\ud800"),
    "one of several": b'{"v":1,"kind":"several","jobs":[%b]}' % b",".join([jobs.encode(good()), poisoned(round="x")]),
}


@pytest.mark.parametrize("body", UNDECODABLE.values(), ids=UNDECODABLE.keys())
def test_what_is_no_job_is_refused(body: bytes) -> None:
    with pytest.raises(jobs.BadJob) as refused:
        jobs.decode(body)
    assert refused.value.code == "undecodable"


@pytest.mark.services
def test_poisoned_jobs_end_in_the_dead_letters_and_the_good_ones_arrive(
    live_system: LiveSystem, acme: TenantUnderTest, globex: TenantUnderTest
) -> None:
    bad = dict.fromkeys(UNDECODABLE.values(), "undecodable")
    bad[jobs.encode(_of_a_deleted_tenant())] = "tenant_deleted"
    bad[jobs.encode(_of_a_deleted_message())] = "message_deleted"
    bad[jobs.encode(good(channel="sms"))] = "wrong_queue"
    accepted = []
    for body in bad:
        amqp.publish([_job(body)])
        accepted += [_send("acme") for _ in range(GOOD // len(bad) + 1)]
    several = [good(message="msg_deleted_too"), *(good(message=_send("acme")) for _ in range(2)), good(channel="email")]
    accepted += [job.message for job in several[1:3]]
    amqp.publish(jobs.together(_job(jobs.encode(job)) for job in several))
    bad |= {jobs.encode(several[0]): "message_deleted", jobs.encode(several[-1]): "wrong_queue"}
    live_system.start("sandbox", "dispatcher", "feeder", "sweeper")

    kept = wait_for(lambda: _kept(len(bad)), 20, "the dead letters in the record")
    wait_for(lambda: len(sink.arrived("acme")) >= len(accepted), 20, "the good messages")
    assert sorted(sink.arrived("acme")) == sorted(accepted)
    assert sorted(row["reason"] for row in kept) == sorted(bad.values())
    assert {row["queue"] for row in kept} == {QUEUE}
    assert sorted(row["body"] for row in kept) == sorted(body.decode(errors="replace") for body in bad)
    wait_for(lambda: _delivered(accepted), 20, "the outcomes in the record")
    assert amqp.depth(QUEUE) == amqp.depth(amqp.DEAD_QUEUE) == 0
    assert "a job failed" not in live_system["dispatcher"].log_text()


@pytest.mark.services
def test_a_job_that_fails_again_and_again_ends_in_the_dead_letters_and_takes_no_other_with_it(
    clean_stores: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_PAUSES", (0.01,))
    bodies = [str(number).encode() for number in range(40)]
    amqp.publish([_job(body) for body in bodies])
    done: list[bytes] = []
    tries: list[int] = []

    async def handler(items: Sequence[worker.Item]) -> None:
        if any(item.body == b"17" for item in items):
            tries.append(len(items))
            raise LookupError("a bug")
        done.extend(item.body for item in items)

    run(_consume(handler, lambda: _kept(1)))

    assert set(done) == set(bodies) - {b"17"}
    assert len(done) == len(set(done))
    assert tries.count(1) == amqp.DELIVERY_LIMIT + 1
    (kept,) = _kept(1)
    assert (kept["reason"], kept["body"]) == ("delivery_limit", "17")
    assert amqp.depth(QUEUE) == 0


async def _consume(handler: worker.Handler, until: Callable[[], Any]) -> None:
    """A dispatcher's loop with this handler, and the sweeper that keeps dead letters, until something is there."""
    stop = asyncio.Event()
    consuming = asyncio.create_task(
        worker.consume(amqp.Consumer([QUEUE], 100), handler, batch=50, linger=0.2, concurrency=4, stop=stop)
    )
    sweeping = asyncio.create_task(sweep(stop))
    try:
        await asyncio.to_thread(wait_for, until, 30, "the dead letter")
    finally:
        stop.set()
        await asyncio.gather(consuming, sweeping)
        await redis.aclose()


def _send(tenant: str) -> str:
    if not Message._get_collection().count_documents({"tenant": tenant}):
        sink.prepare(tenant, "orders")
    body = {"to": {"receivers": ["r0"]}, "channels": ["http"], "content": {"title": "Good"}}
    return services.accept(tenant, "live", body).id


def _job(body: bytes) -> amqp.Publication:
    return amqp.Publication(amqp.JOBS, QUEUE, body)


def _of_a_deleted_tenant() -> Deliver:
    """Its own job, which accepting published, is as bad: it is purged by being the same message."""
    sink.prepare("globex", "orders")
    Tenant.objects.filter(slug="globex").update(is_active=False)
    return good(tenant="globex")


def _of_a_deleted_message() -> Deliver:
    return good(message="msg_deleted")


def _kept(number: int) -> list[dict[str, Any]]:
    rows = list(UndecodableJob._get_collection().find())
    return rows if len(rows) >= number else []


def _delivered(messages: list[str]) -> bool:
    found = feedback.totals_of("acme", messages)
    return [found[one].channels for one in messages] == [{"http": {"delivered": 1}}] * len(messages)
