"""Jobs as they travel on the queues."""

from dataclasses import replace

import pytest

from messaging import incoming, jobs
from messaging.jobs import Behind, Deliver, Expand, Target
from sprayer_project import amqp
from sprayer_project.amqp import Publication
from tests.messaging.dispatching import handle, item, send
from tests.resilience import sink

ONE = Deliver(
    tenant="acme",
    message="msg_1",
    mode="live",
    channel="http",
    targets=(Target("alice"), Target("addr:x", "x")),
    group="news",
    round=2,
    attempt=3,
    due=1.5,
)
PAGE = Expand(tenant="acme", message="msg_2", mode="test", channel="http", group="news", cursor="bob", count=7)


def publication(job: jobs.Job, queue: str = "jobs.http.single") -> Publication:
    return Publication("sprayer.retry.5", queue, jobs.encode(job))


@pytest.mark.parametrize("job", [ONE, PAGE, replace(ONE, behind=Behind("down.example:443", 1.5, 31.5))])
def test_a_job_is_read_as_it_was_written(job: jobs.Job) -> None:
    assert jobs.decode(jobs.encode(job)) == [job]
    assert jobs.together([publication(job)]) == [publication(job)]


def test_jobs_for_one_queue_travel_as_one() -> None:
    other = publication(PAGE, "jobs.http.bulk")
    first, second = jobs.together([publication(ONE), other, publication(PAGE)])
    assert (first.exchange, first.routing_key) == ("sprayer.retry.5", "jobs.http.single")
    assert jobs.decode(first.body) == [ONE, PAGE]
    assert second == other


def test_what_travels_as_one_is_bounded_in_number_and_size() -> None:
    many = [replace(ONE, attempt=number) for number in range(120)]
    long = [replace(ONE, attempt=number, targets=tuple(Target("r" * 20) for _ in range(500))) for number in range(5)]
    for wanted, most in ((many, 50), (long, 2)):
        found = [jobs.decode(one.body) for one in jobs.together(map(publication, wanted))]
        assert [job for part in found for job in part] == wanted
        assert max(map(len, found)) == most
    assert jobs.together([]) == []


def test_several_that_come_again_go_on_apart() -> None:
    fresh = item(ONE, PAGE)
    assert incoming.decode([fresh], "http") == ([(fresh, ONE), (fresh, PAGE)], [])
    again = item(ONE, PAGE, redelivered=True)
    expected = [Publication(amqp.JOBS, again.queue, jobs.encode(job)) for job in (ONE, PAGE)]
    assert incoming.decode([again], "http") == ([], expected)
    alone = item(ONE, redelivered=True)
    assert incoming.decode([alone], "http") == ([(alone, ONE)], [])


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("acme", "sandbox")
def test_more_jobs_than_a_dispatcher_handles_at_once_are_all_done() -> None:
    sink.prepare("acme", "orders")
    messages = [send(to=["r0"]) for _ in range(110)]
    first = replace(ONE, targets=(Target("r0"),), group=None, round=1, attempt=1, due=0)
    wanted = [replace(first, message=one) for one in messages]
    handle(item(*wanted[:50]), item(*wanted[50:100]), item(*wanted[100:]))
    assert sorted(sink.arrived("acme")) == sorted(messages)
