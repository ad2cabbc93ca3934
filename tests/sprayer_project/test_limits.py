"""One timer ends what takes too long, and nothing else."""

import asyncio

import pytest

from sprayer_project.limits import Limit, Limits


async def for_ever() -> None:
    await asyncio.Event().wait()


async def test_what_takes_too_long_is_told_and_its_task_goes_on() -> None:
    limits = Limits()
    with pytest.raises(TimeoutError), limits.within(0.01):
        await for_ever()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_what_ends_in_time_hears_nothing_of_its_limit() -> None:
    limits = Limits()
    with limits.within(0.01):
        await asyncio.sleep(0)
    with pytest.raises(TimeoutError), limits.within(0.1):
        await for_ever()


async def test_a_limit_ends_no_other_body() -> None:
    limits, patient = Limits(), asyncio.Event()

    async def wait() -> bool:
        with limits.within(60):
            return await patient.wait()

    other = asyncio.create_task(wait())
    with pytest.raises(TimeoutError), limits.within(0.01):
        await for_ever()
    assert not other.done()
    patient.set()
    assert await other


async def test_an_error_of_the_body_is_its_own() -> None:
    with pytest.raises(LookupError), Limits().within(60):
        raise LookupError


@pytest.mark.parametrize("over", [False, True])
async def test_a_cancelled_task_is_cancelled_whether_its_time_is_over_or_not(over: bool) -> None:
    running: asyncio.Future[Limit] = asyncio.get_running_loop().create_future()

    async def body() -> None:
        limit = Limits().within(60)
        running.set_result(limit)
        with limit:
            await for_ever()

    task = asyncio.create_task(body())
    limit = await running
    if over:
        limit.end()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
