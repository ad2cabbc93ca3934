import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pika
import pytest
from django.conf import settings

from feedback import feeder, selectors, services
from feedback.events import Status
from sprayer_project import amqp, redis
from sprayer_project.ids import new_id
from tests.feedback.stories import START, event


def test_a_bad_event_is_named_and_the_good_ones_around_it_are_kept() -> None:
    good = event()
    body = json.loads(good.to_json())
    raw = json.dumps([body, body | {"status": "arrived"}, body]).encode()
    events, reason = feeder.decode(raw)
    assert events == [good, good]
    assert reason.startswith("event 1: ValueError")


@pytest.mark.parametrize("body", [b"", b"\xff", b"{}", b"[", b"17", b'"text"'])
def test_a_body_that_is_no_list_of_events_has_a_reason(body: bytes) -> None:
    events, reason = feeder.decode(body)
    assert events == [] and reason.startswith("no events")


@pytest.mark.parametrize("body", [b"[1]", b"[null]", b"[{}]", b'[{"unknown": 1}]', b"[[]]"])
def test_what_is_no_event_has_a_reason(body: bytes) -> None:
    assert feeder.decode(body)[1].startswith("event 0")


@pytest.mark.services
async def test_a_poisoned_event_goes_to_the_dead_letters_and_does_not_stop_the_queue() -> None:
    message = new_id("msg")
    before = [event(f"r{number}", message=message) for number in range(250)]
    async with feeding():
        await services.areport(before)
        for poison in (b"not json", json.dumps([json.loads(before[0].to_json()) | {"round": "x"}]).encode()):
            await amqp.apublish([amqp.Publication(amqp.EVENTS, "", poison)])
        await services.areport([event("last", message=message, status=Status.DELIVERED)])
        await until(lambda: selectors.totals("acme", message).total == 251)
    dead = await asyncio.to_thread(dead_letters, 2)
    assert {found["queue"] for found in dead} == {amqp.RECORD_QUEUE}
    assert sorted(found["reason"].split(":")[0] for found in dead) == ["event 0", "no events"]


@pytest.mark.services
async def test_cancelling_stops_what_is_open_and_leaves_what_is_sent() -> None:
    message = new_id("msg")
    opened = event("alice", message=message, status=Status.DEFERRED)
    services.write([opened, event("bob", message=message, status=Status.SENT)])
    async with feeding():
        assert await asyncio.to_thread(services.cancel_open, "acme", message, START) == 1
        await until(lambda: selectors.totals("acme", message).channels == {"sms": {"cancelled": 1, "sent": 1}})


@asynccontextmanager
async def feeding() -> AsyncIterator[None]:
    """A status feeder in this loop."""
    stop = asyncio.Event()
    running = asyncio.create_task(feeder.run(stop))
    try:
        yield
    finally:
        stop.set()
        await running
        await redis.aclose()


async def until(condition: Callable[[], bool], limit: float = 60) -> None:
    deadline = time.monotonic() + limit
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, "the condition was not met in time"
        await asyncio.sleep(0.05)


def dead_letters(number: int) -> list[dict[str, Any]]:
    broker = pika.BlockingConnection(pika.URLParameters(settings.AMQP_URL))
    try:
        bodies = [broker.channel().basic_get(amqp.DEAD_QUEUE, auto_ack=True)[2] for _ in range(number)]
    finally:
        broker.close()
    return [json.loads(body) for body in bodies]
