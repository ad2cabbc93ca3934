"""Servers that go away and come back: what was accepted arrives, nobody restarts a process, clients are told soon."""

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from django.db import connections

from deploy.local import processes
from deploy.local.servers import HOST, Server
from deploy.local.stack import Stack
from feedback import selectors as feedback
from feedback.events import Status
from messaging import services
from messaging.services import Accepted
from sprayer_project import redis
from sprayer_project.errors import STORE_ERRORS
from subscriptions import memberships
from tenants.services import create_tenant
from tests.conftest import TenantUnderTest
from tests.environment import free_port
from tests.live import LiveSystem, wait_for
from tests.resilience import sink
from tests.resilience.load import Load, Submission

pytestmark = pytest.mark.services

QUICK = {"SPRAYER_SWEEP_AGE": "2.5", "SPRAYER_SWEEP_INTERVAL": "0.3", "SPRAYER_CLAIM_LEASE": "5"}
PROCESSES = ("sandbox", "web", "dispatcher", "feeder", "sweeper")
RECEIVERS = 4
OUTAGE, POSTS = 30.0, 200


@dataclass(frozen=True, slots=True)
class Answer:
    """What came to a POST, and after how many seconds."""

    status: int
    seconds: float
    id: str
    response: httpx.Response


@pytest.fixture
def frozen() -> Iterator[Callable[[Server], Callable[[], None]]]:
    """Stops a server without ending it, as a hanging machine would; answers what thaws it. All thaw at the end."""
    asleep: list[Server] = []

    def freeze(server: Server) -> Callable[[], None]:
        _signal(server, signal.SIGSTOP)
        asleep.append(server)
        return lambda: _signal(server, signal.SIGCONT)

    yield freeze
    for server in asleep:
        _signal(server, signal.SIGCONT)


@pytest.fixture
def away(frozen: Callable[[Server], Callable[[], None]]) -> Callable[[Server, str], Callable[[], None]]:
    """Takes a server away: stopped (connections are refused) or silent (they hang). Answers what brings it back."""

    def take(server: Server, how: str) -> Callable[[], None]:
        if how == "silent":
            return frozen(server)
        server.stop()
        return server.start

    return take


def test_messages_are_accepted_within_a_second_each_while_rabbitmq_is_down_for_half_a_minute(
    live_system: LiveSystem, acme: TenantUnderTest, stack: Stack, tell: Callable[[str], None]
) -> None:
    names = sink.prepare(acme.slug, "ok", RECEIVERS)
    live_system.start(*PROCESSES, env=QUICK)
    pids = {process.name: process.pid for process in live_system.processes}
    stack.rabbitmq.stop()
    down = time.monotonic()
    answers = _paced(live_system, acme, names, POSTS // 2, OUTAGE / 2)
    live_system.start("web", env=QUICK)
    left = down + OUTAGE - time.monotonic()
    answers += _paced(live_system, acme, names, POSTS // 2, left, web="web2")
    assert _get(live_system, "/readyz").json()["servers"]["rabbitmq"] == "unavailable"
    stack.rabbitmq.start()
    up, lasted = time.monotonic(), time.monotonic() - down
    accepted = [answer for answer in answers if answer.status == 202]
    ids = {answer.id for answer in accepted}
    wait_for(lambda: set(sink.arrived(acme.slug)) >= ids, 30, "the last message at the sink")
    took, slowest = time.monotonic() - up, max(answer.seconds for answer in answers)
    tell(f"down {lasted:.1f} s, slowest answer {slowest:.3f} s, all there {took:.1f} s after its return")

    # A busy machine stalls MongoDB for a second now and then, which is answered 503: that is another test's subject.
    assert {answer.status for answer in answers} <= {202, 503}
    assert len([answer for answer in accepted if answer.seconds < 1]) >= 0.98 * POSTS
    assert len(ids) == len(accepted)
    assert pids == {process.name: process.pid for process in live_system.processes if process.name != "web2"}
    assert all(process.running for process in live_system.processes)


@pytest.mark.parametrize("how", ["stopped", "silent"])
def test_without_mongodb_posts_are_refused_soon_while_queued_jobs_go_on_and_then_all_is_well_again(
    how: str,
    live_system: LiveSystem,
    acme: TenantUnderTest,
    stack: Stack,
    away: Callable[[Server, str], Callable[[], None]],
) -> None:
    names = sink.prepare(acme.slug, "ok", RECEIVERS)
    memberships.put_group(acme.slug, "everybody")
    for name in names:
        memberships.subscribe(acme.slug, "everybody", name, None)
    live_system.start(*PROCESSES, env=QUICK)
    first = _post(live_system, acme, names)
    wait_for(lambda: first.id in sink.arrived(acme.slug), 20, "the first message at the sink")
    live_system["dispatcher"].stop()
    queued = [_post(live_system, acme, names) for _ in range(20)]
    queued.append(_post(live_system, acme, to={"groups": ["everybody"]}))
    assert [answer.status for answer in queued] == [202] * 21

    bring_back = away(stack.mongo, how)
    refused = _at_once(live_system, acme, names, 4)
    not_ready = _get(live_system, "/readyz")
    live_system["dispatcher"].launch()
    expected = {answer.id for answer in queued}
    wait_for(lambda: set(sink.arrived(acme.slug)) >= expected, 30, "what was queued at the sink")
    again = _post(live_system, acme, names)
    bring_back()
    wait_for(lambda: _post(live_system, acme, names).status == 202, 10, "acceptance")
    wait_for(lambda: _get(live_system, "/readyz").status_code == 200, 10, "readiness")
    wait_for(lambda: all(_delivered(acme, answer.id) for answer in queued), 30, "the feedback that waited")

    for answer in [*refused, again]:
        assert (answer.status, answer.response.headers["Content-Type"]) == (503, "application/problem+json")
        assert answer.response.json()["code"] == "store_unavailable"
        assert int(answer.response.headers["Retry-After"]) >= 1
        assert answer.seconds < 2
    assert not_ready.status_code == 503
    assert not_ready.json()["servers"]["mongodb"] == "unavailable"
    assert _delivered(acme, queued[-1].id) == RECEIVERS
    assert sink.arrived(acme.slug).count(queued[-1].id) == RECEIVERS


def test_a_batch_that_repeats_keys_waits_for_mongodb_but_once(
    acme: TenantUnderTest, stack: Stack, frozen: Callable[[Server], Callable[[], None]]
) -> None:
    names = sink.prepare(acme.slug, "ok", 1)
    once = _body(names) | {"idempotency_key": "once"}
    bodies = [once, _body(names, 1), *[once] * 8]
    thaw = frozen(stack.mongo)
    begun = time.monotonic()
    results = services.accept_batch(acme.slug, "live", bodies)
    seconds = time.monotonic() - begun
    thaw()
    assert [isinstance(result, STORE_ERRORS) for result in results] == [True] * len(bodies)
    assert seconds < 7
    accepted = services.accept_batch(acme.slug, "live", bodies)
    assert len({result.id for result in accepted if isinstance(result, Accepted)}) == 2
    assert [isinstance(result, Accepted) and result.replayed for result in accepted] == [False, False, *[True] * 8]


@pytest.mark.parametrize("how", ["stopped", "silent"])
def test_without_a_redis_shard_messages_are_accepted_and_wait_until_it_is_back(
    how: str,
    live_system: LiveSystem,
    acme: TenantUnderTest,
    stack: Stack,
    away: Callable[[Server, str], Callable[[], None]],
) -> None:
    shard = redis.shard_of(acme.slug)
    other = _tenant_on(1 - shard)
    names, others = sink.prepare(acme.slug, "ok", RECEIVERS), sink.prepare(other.slug, "ok", RECEIVERS)
    live_system.start(*PROCESSES, env=QUICK)
    warm = [_post(live_system, acme, names), _post(live_system, other, others)]
    wait_for(lambda: {answer.id for answer in warm} <= _at_the_sink(acme, other), 20, "the first messages")

    bring_back = away(stack.redis[shard], how)
    waiting = [*_at_once(live_system, acme, names, 4), *_at_once(live_system, other, others, 4)]
    waiting += [_post(live_system, acme, names) for _ in range(8)]
    ready = _get(live_system, "/readyz")
    expected = {answer.id for answer in waiting}
    held_back = not expected <= _at_the_sink(acme, other)
    bring_back()
    wait_for(lambda: expected <= _at_the_sink(acme, other), 40, "what waited for Redis")

    assert [answer.status for answer in waiting] == [202] * 16
    assert max(answer.seconds for answer in waiting) < 2
    assert held_back
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert ready.json()["servers"][f"redis-{shard}"] == "unavailable"
    assert ready.json()["servers"][f"redis-{1 - shard}"] == "ok"


def test_every_accepted_message_arrives_although_the_servers_are_killed_under_load(
    live_system: LiveSystem, acme: TenantUnderTest, stack: Stack, tell: Callable[[str], None]
) -> None:
    names = sink.prepare(acme.slug, "slow", RECEIVERS)
    live_system.start(*PROCESSES, env=QUICK)
    sink.switch(slow=0.05)
    url = str(live_system["web"].url)
    submissions = [Submission(url, acme.headers(), f"key-{number}", _body(names, number)) for number in range(600)]
    victims: list[Server] = [stack.mongo, *stack.redis, stack.rabbitmq]
    with Load(submissions, 4, limit=90) as load:
        for number, server in enumerate(victims, 1):
            wait_for(lambda before=number: len(load.accepted) > 40 * before, 60, "load")  # type: ignore[misc]
            assert load.sending
            server.kill()
            server.start()
        load.finish()
    accepted = set(load.accepted.values())
    wait_for(lambda: accepted <= _at_the_sink(acme), 60, "the last message at the sink")
    arrived = sink.arrived(acme.slug)
    tell(f"{load.repeats} repeats, {len(arrived) - len(set(arrived))} duplicates")

    assert len(accepted) == len(submissions)
    assert set(arrived) == accepted
    wait_for(lambda: all(_delivered(acme, identifier) for identifier in accepted), 60, "the feedback")


def test_a_dead_node_in_the_brokers_url_delays_nobody(
    live_system: LiveSystem, acme: TenantUnderTest, stack: Stack
) -> None:
    names = sink.prepare(acme.slug, "ok", RECEIVERS)
    living = stack.environment()["SPRAYER_AMQP_URL"]
    nodes = {"SPRAYER_AMQP_URL": f"amqp://sprayer:sprayer@{HOST}:{free_port()}/%2F,{living}"}
    live_system.start("sandbox", "web", "dispatcher", env=QUICK | nodes)
    answers = _at_once(live_system, acme, names, 8)
    # Nobody sweeps: the messages are routed by the web process itself.
    wait_for(lambda: {answer.id for answer in answers} <= _at_the_sink(acme), 20, "the messages at the sink")
    assert [answer.status for answer in answers] == [202] * 8
    assert max(answer.seconds for answer in answers) < 1


def _signal(server: Server, number: signal.Signals) -> None:
    if process := server.process():
        processes.send(process, number)


def _body(names: list[str], number: int = 0) -> dict[str, Any]:
    return {
        "to": {"receivers": [names[number % len(names)]]},
        "channels": ["http"],
        "content": {"title": f"Message {number}"},
    }


def _post(
    system: LiveSystem,
    tenant: TenantUnderTest,
    names: list[str] | None = None,
    web: str = "web",
    to: dict[str, Any] | None = None,
) -> Answer:
    body = _body(names or [""]) | ({"to": to} if to else {})
    began = time.monotonic()
    response = httpx.post(f"{system[web].url}/api/v1/messages", json=body, headers=tenant.headers(), timeout=30)
    taken = time.monotonic() - began
    return Answer(response.status_code, taken, str(response.json().get("id", "")), response)


def _at_once(system: LiveSystem, tenant: TenantUnderTest, names: list[str], count: int) -> list[Answer]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: _post(system, tenant, names), range(count)))


def _paced(
    system: LiveSystem, tenant: TenantUnderTest, names: list[str], count: int, seconds: float, web: str = "web"
) -> list[Answer]:
    """Posts at even distances over a time."""
    began, answers = time.monotonic(), []
    for number in range(count):
        answers.append(_post(system, tenant, names, web))
        time.sleep(max(0.0, began + (number + 1) * seconds / count - time.monotonic()))
    return answers


def _get(system: LiveSystem, path: str) -> httpx.Response:
    return httpx.get(f"{system['web'].url}{path}", timeout=30)


def _at_the_sink(*tenants: TenantUnderTest) -> set[str]:
    return {identifier for tenant in tenants for identifier in sink.arrived(tenant.slug)}


def _delivered(tenant: TenantUnderTest, message: str) -> int:
    return feedback.totals(tenant.slug, message).channels.get("http", {}).get(Status.DELIVERED, 0)


def _tenant_on(shard: int) -> TenantUnderTest:
    slug = next(slug for number in range(100) if redis.shard_of(slug := f"tenant-{number}") == shard)
    tenant, key = create_tenant(slug, slug, f"{slug}@example.com")
    connections.close_all()
    return TenantUnderTest(slug, tenant.memberships.get().user, None, key, key)
