"""A page's attempts, whose outcomes come each as it ends: at once, or shared out among so many senders."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import nullcontext
from typing import Any
from weakref import WeakKeyDictionary

from messaging.channels.base import Outcome, Recipient

_AT_ONCE = 20
"""Attempts that begin without a pause between them: beginning is computation, and everybody else gets a turn."""

_beginning: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

Attempt = Callable[[Recipient], Coroutine[Any, Any, Outcome]]


async def as_they_end(recipients: Sequence[Recipient], attempt: Attempt) -> AsyncGenerator[Outcome, None]:
    """Try all recipients at the same time. What is left is cancelled at the end. Raises what an attempt raises.

    Pages begin one behind the other. Where hosts have places for so many they go on like that, and the first is done
    while others are sent; pages that began together would end together, and leave a pause until the next ones begin.
    asyncio.as_completed would do, with several times the work for each recipient.
    """
    ended: asyncio.Queue[asyncio.Task[Outcome]] = asyncio.Queue()
    tasks: list[asyncio.Task[Outcome]] = []
    turn = nullcontext() if len(recipients) <= _AT_ONCE else _turn()
    try:
        async with turn:
            for recipient in recipients:
                if tasks and len(tasks) % _AT_ONCE == 0:
                    await asyncio.sleep(0)
                task = asyncio.create_task(attempt(recipient))
                task.add_done_callback(ended.put_nowait)
                tasks.append(task)
        for _ in tasks:
            yield (await ended.get()).result()
    finally:
        for task in tasks:
            task.cancel()


async def shared_out(
    recipients: Sequence[Recipient],
    attempt: Attempt,
    gate: asyncio.Semaphore,
    places: int,
) -> AsyncGenerator[Outcome, None]:
    """Try each recipient, so many at once. What is left is cancelled at the end. Raises what an attempt raises.

    A task for each recipient, waiting for its place, would cost a good part of what a request does. A sender has one of
    the gate's places, of which there are so many, until everybody is taken: a page has its turn behind those before it.
    """
    left = iter(recipients)
    ended: asyncio.Queue[Outcome | asyncio.Task[None]] = asyncio.Queue()

    async def sender() -> None:
        async with gate:
            for recipient in left:
                ended.put_nowait(await attempt(recipient))

    senders: list[asyncio.Task[None]] = []
    try:
        for _ in range(min(places, len(recipients))):
            task = asyncio.create_task(sender())
            task.add_done_callback(ended.put_nowait)
            senders.append(task)
            if len(senders) % _AT_ONCE == 0:
                await asyncio.sleep(0)
        for _ in range(len(recipients) + len(senders)):
            found = await ended.get()
            if isinstance(found, asyncio.Task):
                found.result()
            else:
                yield found
    finally:
        for task in senders:
            task.cancel()


def _turn() -> asyncio.Lock:
    return _beginning.setdefault(asyncio.get_running_loop(), asyncio.Lock())
