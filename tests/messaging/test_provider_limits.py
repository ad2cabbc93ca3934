"""Rates towards a provider, with real stores and a real endpoint."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from messaging.channels import registry
from messaging.pacing import Pacing
from messaging.provider_limits import TURNS, Rate, take, turns
from sprayer_project import redis
from tests.conftest import TenantUnderTest
from tests.messaging.endpoints import configure, dispatching, endpoint, send, statuses, until


@pytest_asyncio.fixture
async def bucket() -> AsyncIterator[None]:
    yield
    await redis.aclose()


def test_a_rate_is_read_with_what_a_second_may_take() -> None:
    assert Rate.parse("100/second") == Rate(100, 1)
    assert (Rate.parse("100/second").burst, Rate.parse("100/second").interval) == (100, 0.01)
    assert (Rate.parse("30/minute").burst, Rate.parse("30/minute").interval) == (1, 2.0)
    assert Rate.parse("36000/hour").burst == 10


def test_who_waits_is_given_turns_of_a_second_and_the_rest_comes_with_the_last() -> None:
    found = turns(range(500), Rate(20, 1), 1.0)
    assert [wait for wait, _ in found] == [1.0 + number for number in range(TURNS)]
    assert [len(turn) for _, turn in found] == [20] * (TURNS - 1) + [500 - 20 * (TURNS - 1)]
    assert turns(range(3), Rate(20, 1), 1.0) == [(1.0, range(3))]
    assert turns([], Rate(20, 1), 0) == []


@pytest.mark.parametrize("rate", ["0/second", "ten/second", "10", "10/day", "10/second/x", "-1/second"])
def test_a_rate_that_is_none_is_refused(rate: str) -> None:
    assert "rate_limit" in Pacing({"rate_limit": rate}).errors


def test_no_channel_has_a_field_that_pacing_has() -> None:
    names = set(Pacing.base_fields)
    assert not [name for name, found in registry().items() if names & set(found.Config.base_fields)]


@pytest.mark.services
async def test_a_bucket_gives_a_second_of_tokens_and_turns_behind_those_who_wait(bucket: None) -> None:
    rate, began = Rate(20, 1), time.monotonic()
    first = await take("acme", "http", "bulk", rate, 50, back=False)
    assert first.count == 20
    assert first.wait == pytest.approx(1.05, abs=0.02)
    second = await take("acme", "http", "bulk", rate, 10, back=False)
    assert second.count == 0
    slack = 0.1
    assert 2.6 - slack - (time.monotonic() - began) <= second.wait <= 2.6 + slack


@pytest.mark.services
async def test_who_comes_back_takes_what_has_flowed_in_and_no_more(bucket: None) -> None:
    rate = Rate(50, 1)
    began = time.monotonic()
    await take("acme", "http", "bulk", rate, 500, back=False)
    await asyncio.sleep(0.4)
    taken = await take("acme", "http", "bulk", rate, 500, back=True)
    slack = 0.1
    assert 20 <= taken.count <= 50 * (time.monotonic() - began + slack) + 1


@pytest.mark.services
async def test_tenants_and_channels_have_buckets_of_their_own(bucket: None) -> None:
    rate = Rate(5, 1)
    taken = [
        await take(tenant, name, "single", rate, 5, back=False)
        for tenant, name in [("acme", "http"), ("globex", "http"), ("acme", "sms")]
    ]
    assert [one.count for one in taken] == [5, 5, 5]


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
async def test_thirty_recipients_at_ten_a_second_take_two_seconds(acme: TenantUnderTest) -> None:
    async with endpoint() as sink, dispatching():
        await configure("acme", rate_limit="10/second")
        sent = await send("acme", sink, 30)
        await until(lambda: len(sink.arrivals) == 30, 10, "30 requests")

        async def all_delivered() -> bool:
            return await statuses("acme", sent) == {"delivered": 30}

        await until(all_delivered, 5, "30 delivered")
        times = sink.times
    assert len({path for _, path in sink.arrivals}) == len(times) == 30
    assert 1.8 <= times[-1] <= 3.5
    # A turn may be late, the next one in time: what a window of a second less that much sees is one turn.
    assert max(sum(start <= at < start + 0.8 for at in times) for start in times) <= 12
