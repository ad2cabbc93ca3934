"""Breakers: their states in Redis, and what reaches a host that is down."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
import pytest_asyncio

from feedback.events import Status
from feedback.selectors import DeliveryRow
from messaging import breaker
from messaging.breaker import FAILURES, Circuit, Permit, Watch, admit, is_working
from messaging.channels import registry
from messaging.channels.base import Outcome, Recipient
from sprayer_project import redis
from sprayer_project.outbound import UNPROVEN
from tests.conftest import TenantUnderTest
from tests.messaging.endpoints import configure, dispatching, endpoint, rows, send, statuses, until

CIRCUIT = Circuit("acme", "http", "down.example")
GOOD = Outcome(delivery="dlv_1", status=Status.DELIVERED)
BAD = Outcome(delivery="dlv_1", status=Status.DEFERRED, reason="endpoint_unavailable")
NEITHER = Outcome(delivery="dlv_1", status=Status.FAILED, reason="blocked_address")


@pytest_asyncio.fixture
async def state() -> AsyncIterator[None]:
    yield
    await redis.aclose()


async def permit(circuit: Circuit = CIRCUIT) -> Permit:
    return (await admit([circuit]))[circuit]


async def report(*outcomes: Outcome, given: Permit | None = None) -> None:
    watch = Watch({"dlv_1": CIRCUIT}, {CIRCUIT: given or await permit()})
    for outcome in outcomes:
        watch.saw(outcome)
    await watch.aclose()


def waiting(delivery: str) -> Recipient:
    return Recipient(delivery=delivery, receiver="r", address="", address_hash="", round=1, attempt=1)


async def held(tenant: str, messages: Sequence[str]) -> list[DeliveryRow]:
    """Those that wait for the breaker, not for another attempt."""
    found = [row for message in messages for row in await rows(tenant, message)]
    return [row for row in found if row.reason == "breaker_open"]


async def probe() -> Permit:
    """The next half-open permit."""
    deadline = time.monotonic() + 30
    while (found := await permit()).state != "half_open":
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    return found


@pytest.mark.parametrize(
    ("outcome", "working"),
    [
        (Outcome(delivery="d", status=Status.SENT), True),
        (Outcome(delivery="d", status=Status.FAILED, reason="gone", detail={"http_status": 410}), True),
        (Outcome(delivery="d", status=Status.DEFERRED, reason="rate_limited", detail={"http_status": 429}), True),
        (
            Outcome(delivery="d", status=Status.DEFERRED, reason="provider_unavailable", detail={"http_status": 503}),
            False,
        ),
        (Outcome(delivery="d", status=Status.DEFERRED, reason="timeout", unknown=True), False),
        (Outcome(delivery="d", status=Status.DEFERRED, reason="connection_failed"), False),
        (Outcome(delivery="d", status=Status.FAILED, reason="blocked_address"), None),
        (Outcome(delivery="d", status=Status.DEFERRED, reason="endpoint_busy"), None),
    ],
)
def test_an_outcome_tells_whether_the_host_works(outcome: Outcome, working: bool | None) -> None:
    assert is_working(outcome) is working


def test_channels_with_addresses_have_breakers_and_only_they() -> None:
    for found in registry().values():
        address = found.clean_address(found.sandbox_address("alice")) if found.needs_address else ""
        recipient = Recipient(delivery="d", receiver="alice", address=address, address_hash="", round=1, attempt=1)
        assert (found.host_of(recipient) is not None) == found.needs_address


@pytest.mark.services
async def test_a_breaker_opens_after_failures_in_a_row(state: None) -> None:
    await report(*[BAD] * (FAILURES - 1))
    assert await permit() == Permit("closed", clean=False)
    await report(BAD)
    opened = await permit()
    assert opened.state == "open"
    assert 0 < opened.wait <= breaker.FIRST_WAIT


@pytest.mark.services
async def test_one_success_in_between_starts_the_count_again(state: None) -> None:
    await report(*[BAD] * (FAILURES - 1), GOOD)
    assert await permit() == Permit("closed")
    await report(*[BAD] * (FAILURES - 1))
    assert (await permit()).state == "closed"


@pytest.mark.services
async def test_refusals_that_are_ours_open_nothing(state: None) -> None:
    await report(*[NEITHER] * (FAILURES + 1))
    assert await permit() == Permit("closed")


@pytest.mark.services
async def test_an_open_breaker_gives_one_probe_and_a_success_closes_it(state: None) -> None:
    await report(*[BAD] * FAILURES)
    given = await probe()
    assert (await permit()).state == "open"
    await report(GOOD, given=given)
    assert await permit() == Permit("closed")


@pytest.mark.services
async def test_a_probe_that_fails_doubles_the_wait(state: None) -> None:
    await report(*[BAD] * FAILURES)
    await report(BAD, given=await probe())
    opened = await permit()
    assert opened.state == "open"
    assert breaker.FIRST_WAIT < opened.wait <= 2 * breaker.FIRST_WAIT


@pytest.mark.services
async def test_a_probe_that_shows_nothing_is_given_back(state: None) -> None:
    await report(*[BAD] * FAILURES)
    await report(NEITHER, given=await probe())
    assert (await permit()).state == "half_open"


@pytest.mark.services
async def test_a_breaker_that_opens_is_known_at_once_to_all_who_watch_here(state: None) -> None:
    circuits = {"dlv_1": CIRCUIT, "dlv_2": CIRCUIT, "dlv_3": Circuit("acme", "http", "up.example")}
    permits = await admit(set(circuits.values()))
    first, second = Watch(circuits, permits), Watch(circuits, permits)
    for _ in range(FAILURES):
        assert not first.given_up(waiting("dlv_2"))
        first.saw(replace(BAD, delivery="dlv_1"))
    for watch in (first, second):
        assert [watch.given_up(waiting(delivery)) for delivery in circuits] == [True, True, False]
        await watch.aclose()
    assert not Watch(circuits, permits).given_up(waiting("dlv_2"))


@pytest.mark.services
async def test_a_breaker_that_another_process_opened_is_known_with_the_next_failure(state: None) -> None:
    before = await permit()
    await report(*[BAD] * FAILURES)
    watch = Watch({"dlv_1": CIRCUIT, "dlv_2": CIRCUIT}, {CIRCUIT: before})
    watch.saw(GOOD)
    assert not watch.given_up(waiting("dlv_2"))
    watch.saw(BAD)
    await watch.aclose()
    assert watch.given_up(waiting("dlv_2"))


@pytest.mark.services
async def test_the_probe_of_a_dead_process_is_given_again(state: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "PROBE_LEASE", 0.2)
    await report(*[BAD] * FAILURES)
    first = await probe()
    second = await probe()
    assert second.probe != first.probe
    await report(GOOD, given=first)
    assert (await permit()).state in ("open", "half_open")


@pytest.mark.services
async def test_late_failures_of_others_do_not_prolong_the_wait(state: None) -> None:
    before = await permit()
    await report(*[BAD] * FAILURES)
    opened = await permit()
    await report(*[BAD] * FAILURES, given=before)
    assert (await permit()).wait <= opened.wait


@pytest.mark.services
async def test_what_opened_long_ago_is_not_listed_for_ever(state: None) -> None:
    client, listed = redis.client("acme"), redis.key("acme", "breakers")
    now = time.time() * 1000
    client.zadd(listed, {"forgotten": now - 3_660_000, "known": now - 3_540_000})
    await report(*[BAD] * FAILURES)
    assert client.zrange(listed, 0, -1) == ["known", redis.key("acme", "breaker", "http", "down.example")]


@pytest.mark.services
async def test_other_hosts_channels_and_tenants_stay_closed(state: None) -> None:
    await report(*[BAD] * FAILURES)
    others = [
        Circuit("acme", "http", "up.example"),
        Circuit("acme", "sms", ""),
        Circuit("globex", "http", "down.example"),
    ]
    permits = await admit([CIRCUIT, *others])
    assert permits.pop(CIRCUIT).state == "open"
    assert set(permits.values()) == {Permit("closed")}


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
async def test_a_page_to_a_host_that_is_down_is_not_tried_to_its_end(acme: TenantUnderTest) -> None:
    async with endpoint() as down, endpoint() as up, dispatching():
        await configure("acme", retry_delays=[1] * 20)
        down.status = 503
        message = await send("acme", up, 400, "page", hanging=down)

        async def all_had_their_turn() -> bool:
            return await statuses("acme", message) == {"delivered": 300, "deferred": 100}

        await until(all_had_their_turn, 20, "300 deliveries, and 100 that wait")
        assert FAILURES <= len(down.arrivals) <= 3 * UNPROVEN
        found = await held("acme", message)
        assert len(found) >= 100 - len(down.arrivals) and {row.attempts for row in found} == {0}

        down.status = 204

        async def all_delivered() -> bool:
            return await statuses("acme", message) == {"delivered": 400}

        await until(all_delivered, 20, "all deliveries after the recovery")
        tries = sum(row.attempts for row in await rows("acme", message[0]))
    assert tries == len(down.arrivals) + 300


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
async def test_a_host_that_is_down_gets_probes_and_others_are_not_delayed(
    acme: TenantUnderTest, globex: TenantUnderTest
) -> None:
    async with endpoint() as down, endpoint() as up, dispatching():
        for tenant in ("acme", "globex"):
            await configure(tenant, retry_delays=[1] * 20)
        down.status = 503
        sent = await send("acme", down, FAILURES, "first")
        await until(lambda: len(down.arrivals) >= FAILURES, 10, "the failures that open the breaker")
        before, since = len(down.arrivals), time.monotonic()
        sent += await send("acme", down, 200)
        for tenant in ("acme", "globex"):
            others = await send(tenant, up, 50, f"{tenant}-")

            async def all_there(tenant: str = tenant, others: list[str] = others) -> bool:
                return await statuses(tenant, others) == {"delivered": 50}

            await until(all_there, 10, "50 deliveries to the host that is up")
            assert {row.attempts for message in others for row in await rows(tenant, message)} == {1}

        async def all_wait() -> bool:
            return await statuses("acme", sent) == {"deferred": 200 + FAILURES}

        await until(all_wait, 10, "200 waiting")
        known = {row.id: row.due_at for row in await held("acme", sent)}
        await until(lambda: time.monotonic() - since > 5, 10, "some time")
        probes, most = len(down.arrivals) - before, math.log2(time.monotonic() - since + 1)
        assert 1 <= probes <= most + 2  # after 1, 2, 4 ... seconds
        again = {row.id: row.due_at for row in await held("acme", sent)}
        assert len(known) >= 200 and sum(known.get(row) != due for row, due in again.items()) <= probes

        down.status = 204

        async def all_delivered() -> bool:
            return await statuses("acme", sent) == {"delivered": 200 + FAILURES}

        await until(all_delivered, 20, "all deliveries after the recovery")
        tries = sum([row.attempts for message in sent for row in await rows("acme", message)])
    assert tries == len(down.arrivals)
