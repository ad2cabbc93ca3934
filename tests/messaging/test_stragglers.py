"""Hosts that hang, beside hosts that answer."""

import asyncio
from collections import Counter
from collections.abc import Callable
from itertools import chain, repeat
from itertools import count as count_from

import pytest
from pytest_django import Settings

from feedback.events import Status
from messaging import stragglers
from messaging.breaker import Circuit
from messaging.stragglers import Stragglers
from sprayer_project.errors import StoreUnavailable
from tests.conftest import TenantUnderTest
from tests.messaging.endpoints import configure, dispatching, endpoint, rows, send, statuses, until


async def _until(end: asyncio.Event) -> None:
    await end.wait()


SLOW, QUICK = Circuit("acme", "http", "slow.test"), Circuit("acme", "http", "quick.test")


def _left(*counts: int, circuit: Circuit = SLOW) -> Callable[[], Counter[Circuit | None]]:
    """What is left of a batch, look by look; then it stands still."""
    looks = chain(counts, repeat(counts[-1]))
    return lambda: Counter({circuit: next(looks)})


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stragglers, "PATIENCE", 0.05)
    monkeypatch.setattr(stragglers, "LOOK", 0.02)


async def _handed_over(waiting: Stragglers, end: asyncio.Event, left: Callable[[], Counter[Circuit | None]]) -> None:
    """A batch whose calls go on until the end."""
    done = list[bool]()

    async def hand_over() -> None:
        done.append(True)

    task = asyncio.create_task(_until(end))
    await asyncio.wait_for(waiting.settle(task, 1, left, hand_over), 5)
    assert done == [True]
    assert not task.done()


async def _kept(waiting: Stragglers, count: int) -> bool:
    """Whether a batch that stands still, looked at again and again, keeps its slot until its calls end."""
    end, looks, given = asyncio.Event(), count_from(1), list[bool]()

    def left() -> Counter[Circuit | None]:
        if next(looks) > 10:
            end.set()
        return Counter({SLOW: count})

    async def hand_over() -> None:
        given.append(True)

    task = asyncio.create_task(_until(end))
    await asyncio.wait_for(waiting.settle(task, 1, left, hand_over), 5)
    return task.done() and not given


async def test_a_task_that_is_done_in_time_is_not_handed_over() -> None:
    async def at_once(error: Exception | None = None) -> None:
        if error:
            raise error

    given = list[bool]()

    async def hand_over() -> None:
        given.append(True)

    waiting = Stragglers(1, 1)
    await waiting.settle(asyncio.create_task(at_once()), 1, _left(1), hand_over)
    with pytest.raises(KeyError):
        await waiting.settle(asyncio.create_task(at_once(KeyError("a bug"))), 1, _left(1), hand_over)
    assert given == []


async def test_a_slow_task_is_handed_over_and_ends_before_closing() -> None:
    waiting, end = Stragglers(1, 1), asyncio.Event()
    await _handed_over(waiting, end, _left(2))
    assert waiting.some
    asyncio.get_running_loop().call_soon(end.set)
    await waiting.aclose()
    await asyncio.sleep(0)
    assert not waiting.some


async def test_a_slow_task_keeps_its_slot_while_nobody_wants_it() -> None:
    assert await _kept(Stragglers(2, 100), 1)


async def test_batches_that_hold_half_of_the_prefetched_jobs_are_handed_over_though_slots_are_free() -> None:
    waiting, end = Stragglers(8, 2), asyncio.Event()
    await _handed_over(waiting, end, _left(1))
    assert waiting.some
    end.set()
    await waiting.aclose()


async def test_a_slow_task_is_handed_over_when_most_of_it_is_done_and_the_rest_stands_still() -> None:
    waiting, end, left = Stragglers(1, 1), asyncio.Event(), [100, 90, 90, 90, 50, 40, 30, 30, 30]
    looks = iter(left)
    await _handed_over(waiting, end, lambda: Counter({SLOW: next(looks)}))
    assert [*looks] == [30]  # neither at the first 90, for more than half was open, nor while it went on
    end.set()
    await waiting.aclose()


async def test_a_slow_task_is_waited_for_where_it_cannot_be_handed_over() -> None:
    end = asyncio.Event()
    task = asyncio.create_task(_until(end))

    async def hand_over() -> None:
        asyncio.get_running_loop().call_soon(end.set)
        raise StoreUnavailable("RabbitMQ")

    await asyncio.wait_for(Stragglers(1, 1).settle(task, 1, _left(1), hand_over), 5)
    assert task.done()


async def test_where_most_is_slow_nothing_is_handed_over() -> None:
    end, looks = asyncio.Event(), chain([100], repeat(60))
    task, given = asyncio.create_task(_until(end)), list[bool]()

    def left() -> Counter[Circuit | None]:
        seen.append(next(looks))
        if len(seen) > 10:
            end.set()
        return Counter({SLOW: seen[-1]})

    async def hand_over() -> None:
        given.append(True)

    seen = list[int]()
    await asyncio.wait_for(Stragglers(1, 1).settle(task, 1, left, hand_over), 5)
    assert task.done()
    assert given == []


async def test_no_more_calls_are_handed_over_than_a_process_may_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stragglers, "MOST", 7)
    waiting, end = Stragglers(1, 1), asyncio.Event()
    await _handed_over(waiting, end, _left(5))
    assert await _kept(waiting, 5)
    end.set()
    await waiting.aclose()


async def test_what_goes_to_a_host_that_left_several_calls_without_a_word_is_put_off_until_they_end() -> None:
    waiting, end = Stragglers(1, 1), asyncio.Event()
    await _handed_over(waiting, end, _left(4))
    assert waiting.wait(SLOW) == 0
    await _handed_over(waiting, end, _left(1))
    assert 5 <= waiting.wait(SLOW) < 6
    assert [waiting.wait(SLOW) for _ in range(10_000)][-1] == 60
    assert (waiting.wait(QUICK), waiting.wait(None)) == (0, 0)
    end.set()
    await waiting.aclose()
    await asyncio.sleep(0)
    assert waiting.wait(SLOW) == 0


async def test_a_host_that_answers_slowly_is_not_stalled(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting, end = Stragglers(1, 1), asyncio.Event()
    await _handed_over(waiting, end, _left(20, 8, circuit=QUICK))
    assert waiting.wait(QUICK) == 0  # some of the batch was answered
    await _handed_over(waiting, end, _left(8))
    assert waiting.wait(SLOW) > 0
    waiting.heard(SLOW)
    assert waiting.wait(SLOW) == 0
    monkeypatch.setattr(stragglers, "SILENCE", 0)
    assert waiting.wait(SLOW) < 6  # counted anew
    end.set()
    await waiting.aclose()


async def test_one_provider_for_all_is_never_stalled() -> None:
    waiting, end, apns = Stragglers(1, 1), asyncio.Event(), Circuit("acme", "ios", "")
    await _handed_over(waiting, end, _left(10, circuit=apns))
    assert waiting.wait(apns) == 0
    end.set()
    await waiting.aclose()


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


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
async def test_single_messages_to_a_host_that_hangs_do_not_take_every_slot(
    acme: TenantUnderTest, settings: Settings
) -> None:
    settings.CLAIM_LEASE = 60
    async with endpoint() as hanging, endpoint() as up, dispatching():
        await configure("acme", timeout=30)
        hanging.gate.clear()
        for number in range(40):
            await send("acme", hanging, 1, f"slow{number}-")
        behind = [(await send("acme", up, 1, f"behind{number}-"))[0] for number in range(10)]
        await until(lambda: len(up.arrivals) == 10, 10, "those behind")

        async def all_delivered() -> bool:
            return await statuses("acme", behind) == {"delivered": 10}

        await until(all_delivered, 10, "their record")
        assert 5 <= len(hanging.arrivals) < 40  # the others wait for a word from it
        hanging.gate.set()
