"""Claims of deliveries that wait without having been tried."""

import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from messaging.claims import Wanted, claim, next_mark, settle
from sprayer_project import redis

DUE = round(time.time(), 3)

pytestmark = pytest.mark.services


@pytest_asyncio.fixture
async def waiting() -> AsyncIterator[None]:
    """Attempt 2 of dlv_1 waits until DUE."""
    await settle("acme", {("dlv_1", 1): (next_mark(2, DUE), 60)})
    yield
    await redis.aclose()


async def state(attempt: int, due: float) -> str:
    (found,) = await claim("acme", [Wanted("dlv_1", 1, attempt, f"token-{attempt}-{due}", due)])
    return found.state


async def test_the_job_that_waited_gets_the_same_attempt(waiting: None) -> None:
    assert await state(2, DUE) == "mine"


async def test_a_copy_from_before_the_wait_is_stale(waiting: None) -> None:
    assert await state(2, DUE - 1) == "stale"
    assert await state(2, 0) == "stale"


async def test_an_earlier_attempt_is_stale_and_a_later_one_is_not(waiting: None) -> None:
    assert await state(1, DUE + 60) == "stale"
    assert await state(3, 0) == "mine"


async def test_without_a_wait_the_number_of_the_attempt_decides() -> None:
    await settle("acme", {("dlv_1", 1): (next_mark(2), 60)})
    assert await state(1, DUE) == "stale"
    assert await state(2, 0) == "mine"
    await redis.aclose()


async def test_what_several_jobs_claim_together_each_claims_for_itself(waiting: None) -> None:
    await claim("acme", [Wanted("dlv_3", 1, 1, "other")])
    together = [("dlv_1", 2, "a", DUE), ("dlv_2", 1, "b", 0), ("dlv_3", 1, "b", 0), ("dlv_4", 1, "c", 0)]
    found = await claim("acme", [Wanted(delivery, 1, *terms) for delivery, *terms in together])
    assert [one.state for one in found] == ["mine", "mine", "busy", "mine"]
    again = await claim("acme", [Wanted(f"dlv_{number}", 1, 2, "b") for number in (1, 2, 3, 4)])
    assert [one.state for one in again] == ["busy", "mine", "busy", "busy"]
