"""Hosts that hang, beside hosts that answer."""

import asyncio

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


async def _until(end: asyncio.Event) -> None:
    await end.wait()


async def test_a_task_that_is_done_in_time_is_not_handed_over() -> None:
    async def hand_over() -> None:
        raise AssertionError("handed over")

    await Stragglers().settle(asyncio.create_task(_slow(0.01)), lambda: True, hand_over)
    with pytest.raises(KeyError):
        await Stragglers().settle(asyncio.create_task(_slow(0.01, KeyError("a bug"))), lambda: True, hand_over)


async def test_a_slow_task_is_handed_over_and_ends_before_closing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stragglers, "PATIENCE", 0.05)
    waiting, handed_over = Stragglers(), []

    async def hand_over() -> None:
        handed_over.append(True)

    end = asyncio.Event()
    task = asyncio.create_task(_until(end))
    await waiting.settle(task, lambda: True, hand_over)
    assert handed_over == [True]
    assert not task.done()
    asyncio.get_running_loop().call_soon(end.set)
    await waiting.aclose()
    assert task.done()


async def test_a_slow_task_is_handed_over_later_where_most_of_it_is_not_yet_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stragglers, "PATIENCE", 0.02)
    monkeypatch.setattr(stragglers, "AGAIN", 0.02)
    looks, waiting, handed_over = iter([False, False, True]), Stragglers(), []

    async def hand_over() -> None:
        handed_over.append(True)

    end = asyncio.Event()
    task = asyncio.create_task(_until(end))
    await waiting.settle(task, lambda: next(looks), hand_over)
    assert handed_over == [True]
    assert not task.done()
    end.set()
    await waiting.aclose()


async def test_a_slow_task_is_waited_for_where_it_cannot_be_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stragglers, "PATIENCE", 0.05)

    async def hand_over() -> None:
        raise StoreUnavailable("RabbitMQ")

    task = asyncio.create_task(_slow(0.2))
    await Stragglers().settle(task, lambda: True, hand_over)
    assert task.done()


async def test_where_most_is_slow_nothing_is_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stragglers, "PATIENCE", 0.05)

    async def hand_over() -> None:
        raise AssertionError("handed over")

    task = asyncio.create_task(_slow(0.2))
    await Stragglers().settle(task, lambda: False, hand_over)
    assert task.done()


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
async def test_a_host_that_hangs_does_not_hold_up_the_jobs_behind_it(acme: TenantUnderTest, settings: Settings) -> None:
    settings.CLAIM_LEASE = 9
    async with endpoint() as hanging, endpoint() as up, dispatching():
        await configure("acme", timeout=8, retry_delays=[1])
        hanging.gate.clear()
        slow = [(await send("acme", up, 12, f"slow{n}-", hanging=hanging))[0] for n in range(10)]
        behind = await send("acme", up, 12, "behind")
        await until(lambda: len(up.arrivals) == 10 * 9 + 12, 20, "those that do not hang")
        assert hanging.answered == 0
        hanging.gate.set()

        async def all_delivered() -> bool:
            return await statuses("acme", [*slow, *behind]) == {"delivered": 132}

        await until(all_delivered, 15, "all deliveries")
        await asyncio.sleep(settings.CLAIM_LEASE + 1)  # until the jobs that would try again have come back
        assert len(hanging.arrivals) == 30
        for message in slow:
            assert {(row.status, row.attempts) for row in await rows("acme", message)} == {(Status.DELIVERED, 1)}
