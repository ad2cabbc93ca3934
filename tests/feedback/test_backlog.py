"""How far the record is behind is known while MongoDB is away, and what a feeder takes at once is bounded."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from deploy.local.stack import Stack
from feedback import backlog, selectors, services
from sprayer_project import amqp, redis, worker
from sprayer_project.ids import new_id
from tests.feedback.stories import event
from tests.feedback.test_feeder import feeding, until

pytestmark = pytest.mark.services


async def test_the_oldest_unwritten_event_is_told_while_mongodb_is_away(stack: Stack) -> None:
    message = new_id("msg")
    await asyncio.to_thread(stack.mongo.stop)
    async with feeding():
        old = event("first", message=message, at=datetime.now(UTC) - timedelta(seconds=90))
        await services.areport([old])
        await services.areport([event("second", message=message, at=datetime.now(UTC))])
        await until(lambda: (backlog.read().lag or 0) >= 90)
        assert backlog.read().feeders == 1
        await asyncio.to_thread(stack.mongo.start)
        await until(lambda: selectors.totals("acme", message).total == 2)
        await until(lambda: backlog.read().lag == 0)


async def test_without_a_feeder_the_lag_is_the_time_since_the_last_one() -> None:
    assert backlog.read() == backlog.Backlog(waiting=0, lag=0.0, feeders=0)
    await services.areport([event()])
    assert backlog.read().lag is None
    longago = (datetime.now(UTC) - timedelta(minutes=5)).timestamp()
    await redis.ashard(0).hset("sprayer:feeders", "fdr_old", f"{longago} -")  # type: ignore[misc]
    found = await asyncio.to_thread(backlog.read)
    assert found.waiting == 1 and found.feeders == 0
    assert found.lag is not None and 299 < found.lag < 400
    await redis.aclose()


async def test_a_feeder_that_was_silent_for_a_day_is_forgotten() -> None:
    gone = (datetime.now(UTC) - timedelta(days=2)).timestamp()
    await redis.ashard(0).hset("sprayer:feeders", "fdr_old", f"{gone} {gone}")  # type: ignore[misc]
    await backlog.tell("fdr_new", None)
    assert list(await redis.ashard(0).hgetall("sprayer:feeders")) == ["fdr_new"]  # type: ignore[misc]
    await redis.aclose()


async def test_a_batch_ends_with_the_message_that_makes_it_too_large() -> None:
    body, stop, sizes = b"x" * 1000, asyncio.Event(), list[int]()

    async def handle(items: Sequence[worker.Item]) -> None:
        sizes.append(len(items))
        if sum(sizes) == 20:
            stop.set()

    await amqp.apublish([amqp.Publication(amqp.EVENTS, "", body) for _ in range(20)])
    consuming = worker.consume(
        amqp.Consumer([amqp.RECORD_QUEUE], 20),
        handle,
        batch=20,
        most_bytes=3500,
        linger=1,
        stop=stop,
    )
    await asyncio.wait_for(consuming, 20)
    assert sizes == [4] * 5
