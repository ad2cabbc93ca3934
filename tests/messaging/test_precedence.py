"""Single messages before pages of broadcasts, on one event loop."""

import asyncio
from collections.abc import Sequence

import pytest

from messaging import precedence
from messaging.precedence import Precedence
from sprayer_project.worker import Item


async def test_a_step_of_a_broadcast_waits_for_the_single_messages_in_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precedence, "PATIENCE", 60)
    order, go_on, told = Precedence(), asyncio.Event(), list[str]()

    async def deliver(items: Sequence[Item]) -> None:
        await go_on.wait()
        told.append("single")

    async def page() -> None:
        await order.turns("bulk")()
        told.append("page")

    single = asyncio.ensure_future(order.order("single", deliver)([]))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(page())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not waiting.done()
    go_on.set()
    await asyncio.gather(single, waiting)
    assert told == ["single", "page"]


async def test_a_stream_of_single_messages_does_not_stop_broadcasts() -> None:
    order, never = Precedence(), asyncio.Event()

    async def deliver(items: Sequence[Item]) -> None:
        await never.wait()

    single = asyncio.ensure_future(order.order("single", deliver)([]))
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await order.turns("bulk")()
    assert not single.done()
    single.cancel()


async def test_single_messages_wait_for_nobody_and_a_failed_one_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(precedence, "PATIENCE", 60)
    order = Precedence()

    async def fail(items: Sequence[Item]) -> None:
        await order.turns("single")()
        raise ValueError

    with pytest.raises(ValueError):
        await order.order("single", fail)([])
    async with asyncio.timeout(10):
        await order.turns("bulk")()
