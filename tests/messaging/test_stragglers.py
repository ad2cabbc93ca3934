"""Hosts that hang, beside hosts that answer."""

import asyncio
import time

import pytest
from pytest_django import Settings

from feedback.events import Status
from messaging import stragglers
from messaging.stragglers import Stragglers
from sprayer_project.errors import StoreUnavailable
from tests.conftest import TenantUnderTest
from tests.messaging.endpoints import configure, dispatching, endpoint, rows, send, statuses, until


async def _slow(seconds: float, error: Exception | None = None) -> None:
    await asyncio.sleep(seconds)
    if error:
        raise error


async def test_a_task_that_is_done_in_time_is_not_handed_over() -> None:
    async def hand_over() -> None:
        raise AssertionError("handed over")

    await Stragglers().settle(asyncio.create_task(_slow(0.01)), hand_over)
    with pytest.raises(KeyError):
        await Stragglers().settle(asyncio.create_task(_slow(0.01, KeyError("a bug"))), hand_over)


async def test_a_slow_task_is_handed_over_and_ends_before_closing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stragglers, "PATIENCE", 0.05)
    waiting, handed_over = Stragglers(), []

    async def hand_over() -> None:
        handed_over.append(True)

    task = asyncio.create_task(_slow(0.3))
    await waiting.settle(task, hand_over)
    assert handed_over == [True]
    assert not task.done()
    await waiting.aclose()
    assert task.done()


async def test_a_slow_task_is_waited_for_where_it_cannot_be_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stragglers, "PATIENCE", 0.05)

    async def hand_over() -> None:
        raise StoreUnavailable("RabbitMQ")

    task = asyncio.create_task(_slow(0.2))
    await Stragglers().settle(task, hand_over)
    assert task.done()


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
async def test_messages_to_a_host_that_hangs_do_not_hold_up_others(acme: TenantUnderTest, settings: Settings) -> None:
    settings.CLAIM_LEASE = 8
    async with endpoint() as hanging, endpoint() as up, dispatching():
        await configure("acme", timeout=5, retry_delays=[1])
        hanging.delay = 3
        slow = await send("acme", hanging, 20, "slow", apart=True)
        await until(lambda: hanging.arrivals, 10, "the first slow request")
        others = await send("acme", up, 20, apart=True)
        accepted = time.monotonic()

        async def slow_delivered() -> bool:
            return await statuses("acme", slow) == {"delivered": 20}

        async def others_delivered() -> bool:
            return await statuses("acme", others) == {"delivered": 20}

        await until(others_delivered, 10, "the others")
        assert max(at for at, _ in up.arrivals) - accepted < 2
        await until(slow_delivered, 15, "the slow ones")
        await asyncio.sleep(settings.CLAIM_LEASE)  # until the jobs that would try again have come back
        assert len(hanging.arrivals) == 20
        for message in slow:
            (row,) = await rows("acme", message)
            assert (row.status, row.attempts) == (Status.DELIVERED, 1)
