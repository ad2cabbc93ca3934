"""A page's attempts, shared out among senders: each outcome comes as its attempt ends."""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Sequence
from contextlib import nullcontext
from functools import partial
from math import inf
from typing import Any
from weakref import WeakKeyDictionary

from feedback.events import Status
from messaging.channels.base import Outcome, Recipient
from sprayer_project import outbound
from sprayer_project.gate import Busy, Gate

_AT_ONCE = 20
"""Attempts that begin in one turn of the loop, before a page has further senders."""

_beginning: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

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
    """Try each recipient, at most as many at once as the gates let in. Raises what an attempt raises.

    What is left is cancelled at the end. Whoever is given_up when its turn comes is queued, as it was.

    A task for each recipient, waiting for its place, would cost a good part of what a request does. A sender has one of
    a gate's places until everybody of its line is taken, and a page has as few as keep the process busy: hundreds of
    requests under way cost a quarter more than fifty, where hosts answer at once. Pages begin one behind the other:
    those that began together would end together, and leave a pause until the next begin.
    """
    remaining = sum(len(line.left) for line in lines)
    page = _Page(lines, attempt, given_up)
    if remaining == 1:
        yield await page.only(next(line for line in lines if line.left))
        return
    page.start(nullcontext() if remaining <= _AT_ONCE else _turn())
    try:
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

    def __init__(self, lines: Sequence[Line], attempt: Attempt, given_up: Callable[[Recipient], bool]):
        self._lines, self._attempt, self._given_up = lines, attempt, given_up
        self._running = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: list[asyncio.Task[None]] = []
        self._news = asyncio.Event()
        self._begun = 0
        self.ended: deque[Outcome] = deque()

    async def only(self, line: Line) -> Outcome:
        """The outcome of the one recipient that there is."""
        recipient = line.left.popleft()
        try:
            await line.gate.enter(line.patience)
        except Busy:
            return _busy(recipient)
        try:
            return untried(recipient) if self._given_up(recipient) else await self._attempt(recipient)
        finally:
            line.gate.leave()

    def start(self, turn: asyncio.Lock | nullcontext[None]) -> None:
        self._run(self._share(turn))

    async def news(self) -> None:
        """Return when something ended. Raises what an attempt raised."""
        await self._news.wait()
        self._news.clear()
        for task in self._failed:
            task.result()

    def cancel(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _run(self, work: Coroutine[Any, Any, None], place: Gate | None = None) -> None:
        """place: the gate in which it has one, which is left when it ends, begun or not."""
        task = self._running.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(partial(self._done, place))

    def _done(self, place: Gate | None, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if place:
            place.leave()
        if task.cancelled() or task.exception():
            self._failed.append(task)
            self._news.set()

    def _begin(self, line: Line) -> None:
        """Another sender, which has a place."""
        self._run(self._send(line, line.left.popleft()), line.gate)

    async def _share(self, turn: asyncio.Lock | nullcontext[None]) -> None:
        """Give the lines senders, until all recipients are taken, or wait at a gate.

        Senders that are answered begin attempts of their own. Where these are enough for a turn, hosts answer faster
        than this process asks, and only lines without a sender get one.
        """
        fresh, others = deque(self._lines), deque[Line]()
        async with turn:
            while fresh or others:
                room, self._begun = _AT_ONCE - self._begun, 0
                for _ in range(max(room, 1 if fresh else 0)):
                    if not fresh and not others:
                        break
                    line = (fresh or others).popleft()
                    if line.left and line.gate.take():
                        self._begin(line)
                        others.append(line)
                    elif line.left:
                        self._run(self._wait(line))
                await asyncio.sleep(0)

    async def _wait(self, line: Line) -> None:
        """Give a line the places that come free at its gate."""
        gate, left = line.gate, line.left
        try:
            await gate.enter(line.patience)
        except Busy:
            self.ended.extend(map(_busy, left))
            left.clear()
            self._news.set()
            return
        if not left:
            gate.leave()
            return
        self._begin(line)
        for _ in range(_AT_ONCE - 1):
            if left and gate.take():
                self._begin(line)
        if left:
            self._run(self._wait(line))

    async def _send(self, line: Line, first: Recipient) -> None:
        """Try one recipient of a line after the other."""
        left, recipient = line.left, first
        try:
            while True:
                if self._given_up(recipient):
                    outcome = untried(recipient)
                elif self._running.time() > line.until:
                    outcome = _busy(recipient)
                else:
                    self._begun += 1
                    outcome = await self._attempt(recipient)
                self.ended.append(outcome)
                self._news.set()
                if not left:
                    return
                recipient = left.popleft()
        except BaseException:
            for one in self._lines:
                one.left.clear()
            raise


def _turn() -> asyncio.Lock:
    return _beginning.setdefault(asyncio.get_running_loop(), asyncio.Lock())


def untried(recipient: Recipient) -> Outcome:
    """Of one who is given up: still queued."""
    return Outcome(delivery=recipient.delivery, status=Status.QUEUED)


def _busy(recipient: Recipient) -> Outcome:
    return Outcome(delivery=recipient.delivery, status=Status.DEFERRED, reason="endpoint_busy")
