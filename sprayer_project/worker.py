"""The one consume loop of every daemon: signals, prefetch, batches, acknowledgement, waiting for stores."""

import asyncio
import gc
import json
import os
import resource
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import structlog
import uvloop
from django import db
from django.core.checks import Tags

from sprayer_project import amqp, env, redis
from sprayer_project.errors import STORE_ERRORS

log = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

CHECKS = (Tags.security, Tags.models)
"""The system checks of a daemon. It serves no URL: their checks would import every page."""
_PAUSES = (0.2, 0.5, 1.0, 2.0)


@dataclass(slots=True)
class Item:
    """One message of a queue in a handler's hands."""

    body: bytes
    queue: str
    redelivered: bool
    incoming: amqp.Incoming
    rejected: list[tuple[str, bytes]] = field(default_factory=list)

    def reject(self, reason: str, part: bytes | None = None) -> None:
        """It, or this part of it, can never be handled: that goes to the undecodable dead letters with the reason."""
        self.rejected.append((reason, self.body if part is None else part))


Handler = Callable[[Sequence[Item]], Awaitable[None]]


async def consume(
    consumer: amqp.Consumer,
    handler: Handler,
    *,
    stop: asyncio.Event,
    batch: int = 1,
    linger: float = 0.0,
    concurrency: int = 1,
    most_bytes: int | None = None,
) -> None:
    """Give the consumer's messages to the handler, 1 to `batch` at a time, until stop; then finish what is in hand.

    A batch is given when it is full, has more than most_bytes or is `linger` seconds old. A handler that returns has
    its items acknowledged. One that raises a store's error is called again with the same items when it is time; nothing
    is requeued. Any other error is a bug: the items are tried in halves until the one that fails is alone; it is logged
    and goes back to its queue, which counts how often.
    """
    consumer.start()
    slots = asyncio.Semaphore(concurrency)
    tasks: set[asyncio.Task[None]] = set()
    try:
        while not stop.is_set():
            await slots.acquire()
            items = await _gather(consumer, batch, linger, stop, most_bytes)
            if not items:
                slots.release()
                break
            task = asyncio.create_task(_handle(consumer, handler, items, stop, one_at_a_time=concurrency == 1))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            task.add_done_callback(lambda _: slots.release())
        await consumer.cancel()
        if tasks:
            await asyncio.wait(tasks)
    finally:
        await consumer.aclose()


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run what blocks (SQL, MongoDB) in a thread; a database connection that was closed under it is opened anew."""

    def call() -> T:
        db.close_old_connections()
        return function(*args, **kwargs)

    return await asyncio.to_thread(call)


async def together(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run them at the same time, all to their ends, also when one fails. Raises the first one's error then."""
    results = await asyncio.gather(*coroutines, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return cast(list[T], results)


async def through_outages(action: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
    """Repeat an action until no store's absence stops it. Raises the store's error once stop is set."""
    attempt = 0
    while True:
        try:
            await action()
            return
        except STORE_ERRORS as error:
            log.warning("waiting for a store", error=type(error).__name__, detail=str(error)[:200])
            if stop.is_set():
                raise
            await pause(attempt, stop)
            attempt += 1


async def pause(attempt: int, stop: asyncio.Event) -> None:
    """Wait before the next try of something that a store's absence stopped; attempts count from 0."""
    await _first(stop.wait(), _PAUSES[min(attempt, len(_PAUSES) - 1)])


async def every(seconds: float, action: Callable[[], Awaitable[None]], stop: asyncio.Event, *, rest: float = 0) -> None:
    """Run an action again and again until stop; a store that is away costs one round, a bug is logged.

    The pause is so many seconds, and at least `rest` times what the round took.
    """
    while not stop.is_set():
        began = time.monotonic()
        try:
            await action()
        except STORE_ERRORS as error:
            log.warning("waiting for a store", error=type(error).__name__)
        except Exception:
            log.exception("periodic action failed")
        await _first(stop.wait(), max(seconds, rest * (time.monotonic() - began)))


def run(main: Callable[[asyncio.Event], Coroutine[Any, Any, None]], name: str) -> None:
    """Run a daemon until SIGTERM or SIGINT, which set the event that main gets.

    SPRAYER_HEALTH_FILE names a file whose modification time is renewed every five seconds while the loop turns.
    """
    raise_open_files_limit()
    collect_less(20_000, 20, 50)
    structlog.contextvars.bind_contextvars(daemon=name)
    uvloop.run(_run(main, name))


def raise_open_files_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def collect_less(*thresholds: int) -> None:
    """What was imported stays: the garbage collector need not look at it, nor so often at what comes."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*thresholds)


async def _run(main: Callable[[asyncio.Event], Coroutine[Any, Any, None]], name: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    health = asyncio.create_task(_health(stop))
    log.info("started", pid=os.getpid())
    try:
        await main(stop)
    finally:
        stop.set()
        await health
        await redis.aclose()
        db.connections.close_all()
        log.info("stopped")


async def _health(stop: asyncio.Event) -> None:
    path = env.text("SPRAYER_HEALTH_FILE")
    while path and not stop.is_set():
        Path(path).touch()
        await _first(stop.wait(), 5)


async def _gather(
    consumer: amqp.Consumer, batch: int, linger: float, stop: asyncio.Event, most_bytes: int | None
) -> list[Item]:
    """1 to batch items; none once stop is set."""
    first = await _next(consumer, stop)
    if first is None:
        return []
    found, size = [first], len(first.body)
    deadline = asyncio.get_running_loop().time() + linger
    while len(found) < batch and (most_bytes is None or size <= most_bytes) and not stop.is_set():
        if not consumer.incoming.empty():
            found.append(consumer.incoming.get_nowait())
        elif (left := deadline - asyncio.get_running_loop().time()) <= 0:
            break
        else:
            try:
                found.append(await asyncio.wait_for(consumer.incoming.get(), left))
            except TimeoutError:
                break
        size += len(found[-1].body)
    return [Item(item.body, item.queue, item.redelivered, item) for item in found]


async def _next(consumer: amqp.Consumer, stop: asyncio.Event) -> amqp.Incoming | None:
    if not consumer.incoming.empty():
        return consumer.incoming.get_nowait()
    getting, stopping = asyncio.ensure_future(consumer.incoming.get()), asyncio.ensure_future(stop.wait())
    await asyncio.wait([getting, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if getting.done():
        return getting.result()
    getting.cancel()
    return None


async def _handle(
    consumer: amqp.Consumer, handler: Handler, items: list[Item], stop: asyncio.Event, one_at_a_time: bool
) -> None:
    try:
        handled = await _handled(handler, items, stop)
    except Exception as error:
        if len(items) == 1:
            log.exception("a job failed", queue=items[0].queue)
            await pause(len(_PAUSES), stop)
            consumer.settle(items[0].incoming, "requeue")
            return
        # The bad item must not take the others with it: the batch is halved until the bad one is alone.
        log.warning("a batch failed", items=len(items), error=type(error).__name__)
        middle = len(items) // 2
        for half in (items[:middle], items[middle:]):
            await _handle(consumer, handler, half, stop, one_at_a_time=False)
        return
    if handled and one_at_a_time:
        consumer.settle(items[-1].incoming, "ack", multiple=True)
    elif handled:
        for item in items:
            consumer.settle(item.incoming, "ack")


async def _handled(handler: Handler, items: list[Item], stop: asyncio.Event) -> bool:
    """Whether the items are done; not, when stop came while a store was away. Raises what is a bug."""

    async def handle() -> None:
        for item in items:
            item.rejected.clear()
        await handler(items)
        await amqp.apublish([_dead(item.queue, *rejected) for item in items for rejected in item.rejected])

    try:
        await through_outages(handle, stop)
    except STORE_ERRORS:
        return False
    return True


def _dead(queue: str, reason: str, body: bytes) -> amqp.Publication:
    text = body[:100_000].decode(errors="replace")
    return amqp.Publication(amqp.DEAD, queue, json.dumps({"queue": queue, "reason": reason, "body": text}).encode())


async def _first(awaitable: Coroutine[Any, Any, Any], seconds: float) -> None:
    try:
        await asyncio.wait_for(awaitable, seconds)
    except TimeoutError:
        return
