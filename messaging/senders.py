"""A page's attempts, shared out among senders: each outcome comes as its attempt ends."""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Sequence
from math import inf
from typing import Any

from feedback.events import Status
from messaging.channels.base import Outcome, Recipient
from sprayer_project import outbound
from sprayer_project.gate import Busy, Gate

_AT_ONCE = 20
"""Senders that begin without a pause between them: beginning is computation, and everybody else gets a turn."""

Attempt = Callable[[Recipient], Coroutine[Any, Any, Outcome]]


class Line:
    """Recipients that share a gate."""

    def __init__(self, gate: Gate, recipients: Iterable[Recipient], patience: float = inf):
        """patience: seconds after which those who had no turn are deferred, because the host is busy."""
        self.gate, self.left, self.patience = gate, deque(recipients), patience
        self.until = asyncio.get_running_loop().time() + patience


def by_host(recipients: Sequence[Recipient], url: Callable[[Recipient], str]) -> list[Line]:
    """A line for each host, of those whose requests go there."""
    client, hosts = outbound.client(), defaultdict[Gate, list[Recipient]](list)
    for recipient in recipients:
        hosts[client.gate(url(recipient))].append(recipient)
    return [Line(gate, some, outbound.PATIENCE) for gate, some in hosts.items()]


async def shared_out(
    lines: Sequence[Line], attempt: Attempt, given_up: Callable[[Recipient], bool]
) -> AsyncGenerator[Outcome, None]:
    """Try each recipient, as many at once as the gates let in. Raises what an attempt raises.

    What is left is cancelled at the end. Whoever is given_up when its turn comes is queued, as it was.

    A task for each recipient, waiting for its place, would cost a good part of what a request does. A sender has one of
    a gate's places until everybody of its line is taken: a page has its turn behind those before it.
    """
    page = _Page(attempt, given_up)
    remaining = sum(len(line.left) for line in lines)
    try:
        begun = 0
        for line in lines:
            # One more than the gate lets in waits there, and is told when the host is busy.
            for _ in range(min(line.gate.first + 1, len(line.left))):
                page.begin(line)
                begun += 1
                if begun % _AT_ONCE == 0:
                    await asyncio.sleep(0)
        while remaining:
            while page.ended:
                remaining -= 1
                yield page.ended.popleft()
            if remaining:
                await page.news()
    finally:
        page.cancel()


class _Page:
    """Senders at work."""

    def __init__(self, attempt: Attempt, given_up: Callable[[Recipient], bool]):
        self._attempt, self._given_up = attempt, given_up
        self._running = asyncio.get_running_loop()
        self._senders: set[asyncio.Task[None]] = set()
        self._failed: list[asyncio.Task[None]] = []
        self._news = asyncio.Event()
        self.ended: deque[Outcome] = deque()

    def begin(self, line: Line) -> None:
        task = self._running.create_task(self._send(line))
        self._senders.add(task)
        task.add_done_callback(self._done)

    async def news(self) -> None:
        """Return when something ended. Raises what an attempt raised."""
        await self._news.wait()
        self._news.clear()
        for task in self._failed:
            task.result()

    def cancel(self) -> None:
        for task in self._senders:
            task.cancel()

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._senders.discard(task)
        if task.cancelled() or task.exception():
            self._failed.append(task)
            self._news.set()

    async def _send(self, line: Line) -> None:
        gate, left = line.gate, line.left
        try:
            await gate.enter(line.patience)
        except Busy:
            self.ended.extend(map(_busy, left))
            left.clear()
            self._news.set()
            return
        try:
            while left:
                recipient = left.popleft()
                if self._given_up(recipient):
                    outcome = untried(recipient)
                elif self._running.time() > line.until:
                    outcome = _busy(recipient)
                else:
                    outcome = await self._attempt(recipient)
                self.ended.append(outcome)
                self._news.set()
                if left and gate.free:
                    self.begin(line)
        except BaseException:
            left.clear()
            raise
        finally:
            gate.leave()


def untried(recipient: Recipient) -> Outcome:
    """Of one who is given up: still queued."""
    return Outcome(delivery=recipient.delivery, status=Status.QUEUED)


def _busy(recipient: Recipient) -> Outcome:
    return Outcome(delivery=recipient.delivery, status=Status.DEFERRED, reason="endpoint_busy")
