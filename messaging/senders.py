"""A page's attempts at a provider that takes so many at once: senders share them out.

A task for each recipient, waiting for its place at the gate, would cost a good part of what a request does.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from messaging.channels.base import AT_ONCE, Outcome, Recipient


async def shared_out(
    recipients: Sequence[Recipient],
    attempt: Callable[[Recipient], Awaitable[Outcome]],
    gate: asyncio.Semaphore,
    places: int,
) -> AsyncGenerator[Outcome, None]:
    """Try each recipient; their outcomes, each as it comes. What is left is cancelled at the end.

    A sender has one of the gate's places, of which there are so many, until everybody is taken: a page has its turn
    behind those that came before it. Raises what an attempt raises.
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
            if len(senders) % AT_ONCE == 0:
                await asyncio.sleep(0)  # beginning is computation: everybody else gets a turn in between
        for _ in range(len(recipients) + len(senders)):
            found = await ended.get()
            if isinstance(found, asyncio.Task):
                found.result()
            else:
                yield found
    finally:
        for task in senders:
            task.cancel()
