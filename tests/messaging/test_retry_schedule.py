"""When the next attempt is: the channel's schedule or the tenant's, the provider's wish, the message's end."""

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from feedback.events import Status
from feedback.selectors import DeliveryRow
from messaging import admission, breaker, claims, jobs, outcomes, services
from messaging.breaker import Permit
from messaging.channels import channel, registry
from messaging.channels.base import Outcome, Recipient
from messaging.jobs import Behind, Deliver
from messaging.outcomes import Context
from messaging.pacing import Pacing
from messaging.payloads import Payload
from messaging.recorder import Entry
from tests.conftest import TenantUnderTest
from tests.messaging.endpoints import configure, dispatching, endpoint, rows, send, statuses, until

NOW = datetime.now(UTC)


def context(ttl: float = 86_400, **config: Any) -> Context:
    payload = Payload(
        id="msg_1",
        tenant="acme",
        mode="live",
        content={},
        overrides={},
        metadata={},
        attributes={},
        priority="normal",
        collapse_key=None,
        created_at=NOW.isoformat(),
        expires_at=(NOW + timedelta(seconds=ttl)).isoformat(),
    )
    return Context(channel("http"), payload, config, "bulk")


def recipient(attempt: int = 1, name: str = "alice") -> Recipient:
    url = f"https://hooks.example/{name}"
    return Recipient(
        delivery=f"dlv_{name}", receiver=name, address=url, address_hash=f"h-{name}", round=1, attempt=attempt
    )


def after(attempt: int, retry_after: float | None = None, ttl: float = 86_400, **config: Any) -> Entry:
    """What is recorded of an attempt that is to be repeated."""
    outcome = Outcome(
        delivery="dlv_alice", status=Status.DEFERRED, reason="endpoint_unavailable", retry_after=retry_after
    )
    return outcomes.entry(context(ttl, **config), recipient(attempt), outcome, NOW)


def wait(entry: Entry) -> float:
    assert entry.event.due_at is not None
    return (entry.event.due_at - NOW).total_seconds()


@pytest.mark.parametrize("name", registry())
def test_a_channel_has_a_schedule_that_grows(name: str) -> None:
    schedule = channel(name).retry
    assert schedule.delays == tuple(sorted(schedule.delays))
    assert schedule.delays[0] >= 1
    assert 0 < schedule.jitter <= 0.5


def test_the_channels_schedule_counts_with_its_jitter() -> None:
    schedule = channel("http").retry
    for attempt, delay in enumerate(schedule.delays, 1):
        waits = {wait(after(attempt)) for _ in range(20)}
        assert len(waits) > 1
        assert all(delay * (1 - schedule.jitter) <= found <= delay * (1 + schedule.jitter) for found in waits)


def test_a_tenants_own_schedule_is_used_instead() -> None:
    assert 6.3 <= wait(after(1, retry_delays=[7, 900])) <= 7.7
    assert 810 <= wait(after(2, retry_delays=[7, 900])) <= 990
    assert after(3, retry_delays=[7, 900]).event.status is Status.FAILED


def test_a_schedule_that_is_used_up_makes_a_dead_letter() -> None:
    entry = after(len(channel("http").retry.delays) + 1)
    assert (entry.event.status, entry.event.dead, entry.event.reason) == (Status.FAILED, True, "endpoint_unavailable")
    assert entry.follow is None


def test_retry_after_counts_where_it_is_longer() -> None:
    assert wait(after(1, retry_after=1234)) == pytest.approx(1234)
    assert wait(after(1, retry_after=0.5)) >= 4


def test_no_attempt_comes_after_the_messages_end() -> None:
    for entry in (after(1, ttl=3), after(1, retry_after=90, ttl=60)):
        assert (entry.event.status, entry.event.due_at, entry.follow) == (Status.EXPIRED, None, None)
        assert entry.event.reason == "endpoint_unavailable"


@pytest.mark.parametrize(
    ("permit", "waits"),
    [
        (Permit("open", wait=4), [4, 6, 6]),
        (Permit("open", wait=60), [60] * 3),
        (Permit("half_open", wait=2), [0, 2, 2]),
    ],
)
async def test_one_comes_back_as_the_probe_and_the_others_when_it_has_shown_something(
    permit: Permit, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    circuit = breaker.Circuit("acme", "http", "hooks.example")

    async def given(circuits: set[breaker.Circuit]) -> dict[breaker.Circuit, Permit]:
        return {circuit: permit}

    monkeypatch.setattr(breaker, "admit", given)
    recipients = [recipient(name=f"r{number}") for number in range(3)]
    known = {one.delivery: circuit for one in recipients}
    job = Deliver(tenant="acme", message="msg_1", mode="live", channel="http", targets=())
    admitted = await admission.admit([context()], [job], {0: recipients}, known)
    due = {entry.event.delivery: entry.held_to for entry in admitted.held}
    found = [due[one.delivery] - time.time() if one.delivery in due else 0 for one in recipients]
    assert found == pytest.approx(waits, abs=1)
    assert [one.delivery for one in admitted.ready.get(0, ())] == ["dlv_r0"] * (permit.state == "half_open")


def test_what_waits_without_an_attempt_comes_back_together_as_the_same_attempt() -> None:
    held = outcomes.held(context(), [recipient(3, f"r{n}") for n in range(4)], "breaker_open", 10)
    assert [entry.follow is not None for entry in held] == [False, False, False, True]
    assert {(entry.event.attempt, entry.next_attempt, entry.event.reason) for entry in held} == {(0, 3, "breaker_open")}
    assert held[-1].follow is not None
    (job,) = jobs.decode(held[-1].follow.body)
    assert isinstance(job, Deliver)
    assert [target.receiver for target in job.targets] == ["r0", "r1", "r2", "r3"]
    assert job.attempt == 3
    assert {round(entry.event.due_at.timestamp(), 3) for entry in held if entry.event.due_at} == {round(job.due, 3)}
    assert {entry.held_to for entry in held} == {job.due}


@pytest.mark.parametrize(
    ("waited", "wait", "ttl", "stands"),
    [
        (0, 10, 86_400, 30),
        (0, 55, 86_400, 110),
        (5, 10, 86_400, 30),
        (60, 10, 86_400, 240),
        (10_000, 10, 86_400, 3_600),
        (10_000, 10, 1_800, 3_600),
    ],
)
def test_the_record_of_what_waits_behind_a_breaker_stands_the_longer_the_longer_it_waits(
    waited: float, wait: float, ttl: float, stands: float
) -> None:
    behind, now = Behind("down.example", time.time() - waited), time.time()
    message = context(ttl=ttl)
    (entry,) = outcomes.held(message, [recipient()], "breaker_open", wait, behind)
    assert entry.follow is not None and entry.event.due_at is not None
    (job,) = jobs.decode(entry.follow.body)
    assert isinstance(job, Deliver)
    assert [job.due - now, entry.held_to - now] == pytest.approx([wait, wait], abs=5)
    known_till = min(now + stands, message.payload.expires.timestamp())
    assert entry.event.due_at.timestamp() == pytest.approx(known_till, abs=5)
    assert job.behind == behind._replace(till=entry.event.due_at.timestamp())


def test_what_would_wait_past_the_messages_end_expires() -> None:
    (entry,) = outcomes.held(context(ttl=5), [recipient()], "breaker_open", 10)
    assert (entry.event.status, entry.follow, entry.next_attempt) == (Status.EXPIRED, None, 0)


def test_a_form_reads_delays_in_seconds() -> None:
    form = Pacing({"retry_delays": "5, 30 600", "rate_limit": "100/second"})
    assert form.is_valid()
    assert form.cleaned_data == {"retry_delays": [5, 30, 600], "rate_limit": "100/second"}
    assert json.loads(json.dumps(form.cleaned_data)) == form.cleaned_data
    assert Pacing({}).is_valid()


@pytest.mark.parametrize("text", ["soon", "0", "-5", "5;30", "90000", "nan", "inf", " ".join(["5"] * 21)])
def test_delays_that_are_none_are_refused(text: str) -> None:
    assert "retry_delays" in Pacing({"retry_delays": text}).errors


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
async def test_over_the_wire_retry_after_beats_the_tenants_schedule(acme: TenantUnderTest) -> None:
    async with endpoint() as sink, dispatching():
        await configure("acme", retry_delays=[1])
        sink.status, sink.headers = 429, {"Retry-After": "3"}
        sent = await send("acme", sink)
        await until(lambda: sink.arrivals, 10, "the first request")
        sink.status, sink.headers = 204, {}

        async def delivered() -> bool:
            return await statuses("acme", sent) == {"delivered": 1}

        await until(delivered, 15, "the delivery")
        (row,) = await rows("acme", sent[0])
    assert len(sink.times) == 2
    assert 2.9 <= sink.times[1] <= 5
    assert row.attempts == 2


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
async def test_over_the_wire_a_tenants_schedule_ends_in_a_dead_letter(acme: TenantUnderTest) -> None:
    async with endpoint() as sink, dispatching():
        await configure("acme", retry_delays=[1, 1])
        sink.status = 503
        sent = await send("acme", sink)
        found: list[DeliveryRow] = []

        async def failed() -> bool:
            found[:] = await rows("acme", sent[0])
            return bool(found) and found[0].status is Status.FAILED

        await until(failed, 15, "the failure")
    assert len(sink.times) == 3
    assert found[0].dead
    assert found[0].reason == "endpoint_unavailable"
    (job,) = jobs.decode(services.next_attempt(found[0], 4).body)
    assert isinstance(job, Deliver)
    assert job.due == 0


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
async def test_over_the_wire_nothing_is_tried_after_the_messages_end(acme: TenantUnderTest) -> None:
    async with endpoint() as sink, dispatching():
        await configure("acme", retry_delays=[1, 30])
        sink.status = 503
        sent = await send("acme", sink, ttl=10)

        async def expired() -> bool:
            return await statuses("acme", sent) == {"expired": 1}

        await until(expired, 15, "the expiry")
        (row,) = await rows("acme", sent[0])
    assert len(sink.times) == row.attempts == 2
    assert row.reason == "endpoint_unavailable"


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
async def test_the_sweeper_brings_back_what_waits_where_its_job_was_lost(acme: TenantUnderTest) -> None:
    async with endpoint() as sink, dispatching():
        await configure("acme", rate_limit="1/minute")
        sent = await send("acme", sink, 2)

        async def one_waits() -> bool:
            return await statuses("acme", sent) == {"delivered": 1, "deferred": 1}

        await until(one_waits, 10, "one delivery that waits")
        (row,) = [row for row in await rows("acme", sent[0]) if row.status is Status.DEFERRED]
        assert (row.reason, row.attempt) == ("paced", 0)
        assert row.due_at is not None
        due = round(row.due_at.timestamp(), 3)
        (job,) = jobs.decode(services.next_attempt(row, row.attempt + 1).body)
        assert isinstance(job, Deliver)
        assert (job.attempt, job.due) == (1, due)
        wanted = claims.Wanted(row.id, row.round, job.attempt, "sweeper", job.due)
        assert (await claims.claim("acme", [wanted]))[0].state == "mine"
