"""A dispatcher and a status feeder in a thread of this process, and jobs put into their hands by a test."""

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from typing import Any

from feedback import feeder
from feedback import selectors as feedback
from feedback.events import Status
from feedback.selectors import DeliveryRow
from messaging import channels, jobs, services
from messaging.channels.base import Channel, RetrySchedule
from messaging.channels.http import Http
from messaging.dispatcher import Dispatcher
from messaging.jobs import Job
from messaging.management.commands.run_dispatcher import dispatch
from messaging.precedence import Precedence
from messaging.recorder import Recorder
from sprayer_project import amqp, redis
from sprayer_project.worker import Item
from tests.live import wait_for
from tests.resilience.load import run

assert channels.registry()  # which names the classes that follow
_tags = count(1)


class QuickHttp(Http):
    """Tries again after a second, twice."""

    retry = RetrySchedule((1, 1), jitter=0)


class OneTryHttp(Http):
    retry = RetrySchedule(())


@contextmanager
def dispatching(channel: Channel | None = None) -> Iterator[None]:
    """While it lasts, what is queued for the channel (http, with quick retries) is delivered and recorded."""
    running: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    with ThreadPoolExecutor(1, "dispatching") as executor:
        done = executor.submit(asyncio.run, _dispatch(channel or QuickHttp(), running))
        loop, stop = running.result(30)
        try:
            yield
        finally:
            loop.call_soon_threadsafe(stop.set)
            done.result(60)


def send(tenant: str = "acme", mode: str = "live", **body: Any) -> str:
    """A message's id. body's `to` is a list of receivers, or what the API takes."""
    to = body.pop("to")
    to = to if isinstance(to, dict) else {"receivers": to}
    wanted = {"to": to, "channels": ["http"], "content": {"title": "Hello"}} | body
    return services.accept(tenant, mode, wanted).id


def ended(message: str, status: Status, number: int = 1) -> list[DeliveryRow]:
    """A message's deliveries once `number` of them have the status; there must be no others."""

    def found() -> list[DeliveryRow]:
        rows = feedback.deliveries("acme", "live", message, limit=200).data
        return list(rows) if [row.status for row in rows] == [status] * number else []

    return wait_for(found, 15, f"{number} {status}")


def handle(*bodies: Job | Item, channel: Channel | None = None) -> None:
    """Give jobs to a new dispatcher once, as they come from the single lane, and wait until it is done with them."""
    items = [body if isinstance(body, Item) else item(body) for body in bodies]
    run(_handle(items, channel or QuickHttp()))


def item(*found: Job, redelivered: bool = False) -> Item:
    """A message of the queue, as it comes with these jobs."""
    queue = amqp.job_queue(found[0].channel, "single")
    (publication,) = jobs.together(amqp.Publication(amqp.JOBS, queue, jobs.encode(job)) for job in found)
    incoming = amqp.Incoming(queue, publication.body, redelivered, 1, next(_tags))
    return Item(incoming.body, queue, redelivered, incoming)


async def _handle(items: Sequence[Item], channel: Channel) -> None:
    recorder, stop = Recorder(asyncio.Event()), asyncio.Event()
    try:
        await Dispatcher(channel, "single", recorder, Precedence(), stop, slots=8, prefetch=1_000).handle(items)
    finally:
        await recorder.aclose()
        await channel.aclose()
        await redis.aclose()


async def _dispatch(channel: Channel, running: "Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]") -> None:
    stop = asyncio.Event()
    running.set_result((asyncio.get_running_loop(), stop))
    try:
        await asyncio.gather(dispatch([channel], 4, stop), feeder.run(stop))
    finally:
        await redis.aclose()
