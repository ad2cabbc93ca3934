"""So many at once, in their order, and nobody waits for ever."""

import asyncio
from contextlib import suppress

import pytest

from sprayer_project.gate import Busy, Gate


async def inside(gate: Gate, order: list[int], number: int, until: asyncio.Event) -> None:
    await gate.enter(10)
    order.append(number)
    await until.wait()
    gate.leave()


async def test_only_so_many_are_inside_and_the_others_follow_in_their_order() -> None:
    gate, order, until = Gate(2), list[int](), asyncio.Event()
    tasks = [asyncio.create_task(inside(gate, order, number, until)) for number in range(6)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert order == [0, 1]
    until.set()
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3, 4, 5]


async def test_a_gate_opens_with_each_call_that_went_well_until_all_its_places_are_there() -> None:
    gate = Gate(3, 1)

    async def free() -> int:
        """How many may enter now."""
        entered = 0
        with suppress(Busy):
            while True:
                await gate.enter(0)
                entered += 1
        for _ in range(entered):
            gate.leave()
        return entered

    assert await free() == 1
    for well, places in ((False, 1), (True, 2), (False, 2), (True, 3), (True, 3)):
        await gate.enter(0)
        if well:
            gate.went_well()
        gate.leave()
        assert await free() == places


async def test_whoever_waits_too_long_is_told_and_takes_no_place() -> None:
    gate = Gate(1)
    await gate.enter(10)
    patient = asyncio.create_task(gate.enter(10))
    with pytest.raises(Busy):
        await gate.enter(0.01)
    gate.leave()
    await patient
    gate.leave()
    await gate.enter(0)


async def test_a_place_that_its_waiter_no_longer_wants_goes_to_the_next() -> None:
    gate = Gate(1)
    await gate.enter(10)
    first, second = (asyncio.create_task(gate.enter(10)) for _ in range(2))
    await asyncio.sleep(0)
    gate.leave()
    first.cancel()
    await asyncio.wait_for(second, 5)
    assert first.cancelled()
    gate.leave()
    await gate.enter(0)


async def test_a_waiter_that_gives_up_leaves_the_places_as_they_are() -> None:
    gate = Gate(1)
    await gate.enter(10)
    waiter = asyncio.create_task(gate.enter(10))
    await asyncio.sleep(0)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    gate.leave()
    await gate.enter(0)
    with pytest.raises(Busy):
        await gate.enter(0.01)
