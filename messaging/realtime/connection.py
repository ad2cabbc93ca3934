"""One connection's place in an inbox, and how much may be under way to its client. Each transport has its own kind."""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from django.conf import settings

from messaging.inbox import Entry, View
from messaging.realtime.message_frames import Frame
from messaging.realtime.refusals import Refused
from sprayer_project.flow import Flow
from sprayer_project.ids import new_id


@dataclass(slots=True)
class Position:
    """Where a connection reads: a new one replaces it whenever the connection is put elsewhere."""

    epoch: str
    offset: int


@dataclass(frozen=True, slots=True)
class Start:
    """The verdict on where a connection begins; recovered: it misses nothing."""

    epoch: str
    offset: int
    recovered: bool


def start_of(view: View, epoch: str | None = None, offset: int | None = None) -> Start:
    """Where to begin in an inbox, with or without a resume request."""
    if offset is None:
        return Start(view.epoch, max(view.acked, view.floor), view.acked >= view.floor)
    if epoch != view.epoch or offset > view.last:
        return Start(view.epoch, max(view.acked, view.floor), False)
    return Start(view.epoch, max(offset, view.floor), offset >= view.floor)


class Connection(ABC):
    """A follower of one inbox. window: bytes that may be unacknowledged.

    It gets no more while a window is unacknowledged or its client does not take what waits for its socket, and is too
    slow when that lasts REALTIME_SLOW seconds.
    """

    transport = ""

    def __init__(self, tenant: str, receiver: str, window: float = inf, flow: Flow | None = None):
        self.id = new_id("con")
        self.tenant, self.receiver = tenant, receiver
        self.position = Position("", 0)
        self.admitted = False
        self.flow = flow or Flow()
        self.flow.changed = self._check_ready
        self.wake: Callable[[], None] | None = None
        """Asks for what was left while it was not ready."""
        self._window = window
        self._unacknowledged: deque[tuple[int, int]] = deque()
        self._bytes = 0
        self._slow: asyncio.TimerHandle | None = None

    @property
    def ready(self) -> bool:
        """Whether more may be sent."""
        return self._bytes < self._window and not self.flow.paused

    def deliver_now(self, offset: int, frame: Frame) -> bool:
        """Send a message frame to the client without waiting for anything; False where this cannot be."""
        return False

    async def deliver(self, offset: int, frame: Frame) -> None:
        """Send a message frame that deliver_now did not take."""
        raise NotImplementedError(f"{type(self).__name__} takes every frame at once")

    @abstractmethod
    async def moved(self, start: Start) -> None:
        """There may be a hole: the inbox has another epoch, or lost entries before they were read. Tell the client."""

    @abstractmethod
    async def expel(self, reason: Refused) -> None:
        """Tell the client and close."""

    @abstractmethod
    def too_slow(self) -> None:
        """It was not ready for too long."""

    def place(self, start: Start) -> None:
        """Read from here on."""
        self.position = Position(start.epoch, start.offset)
        self._unacknowledged.clear()
        self._bytes = 0
        self._check_ready()

    def acknowledged(self, offset: int) -> None:
        """The client has everything up to here."""
        while self._unacknowledged and self._unacknowledged[0][0] <= offset:
            self._bytes -= self._unacknowledged.popleft()[1]
        self._check_ready()

    def over(self) -> None:
        """It has ended."""
        self.flow.changed = _nothing
        self.wake = None
        self._stop_clock()

    def give(self, epoch: str, offset: int, excluded: str, frame: Frame) -> bool:
        """Send a message that has just come if it is the next and may be sent at once; False: read the inbox."""
        position = self.position
        if position.offset < offset - 1 or position.epoch != epoch or not self.ready:
            return False
        if position.offset == offset - 1:
            if excluded != self.id:
                if not self.deliver_now(offset, frame):
                    return False
                self._unacknowledged.append((offset, frame.size))
                self._bytes += frame.size
                if self._bytes >= self._window:
                    self._check_ready()
            position.offset = offset
        return True

    async def follow(self, view: View, messages: Sequence[tuple[Entry, Frame]]) -> bool:
        """Send what was read and comes after the position; False where something was left for later."""
        position = self.position
        if position.epoch != view.epoch or position.offset < view.floor:
            await self.moved(start_of(view, position.epoch, position.offset))
            return False
        for entry, frame in messages:
            if position is not self.position:
                return False
            if entry.offset <= position.offset:
                continue
            if not self.ready:
                return False
            position.offset = entry.offset
            if entry.excluded == self.id:
                continue
            self._unacknowledged.append((entry.offset, frame.size))
            self._bytes += frame.size
            if not self.deliver_now(entry.offset, frame):
                await self.deliver(entry.offset, frame)
            self._check_ready()
        if position is self.position:
            position.offset = max(position.offset, view.upto)
        return position is self.position

    def _check_ready(self) -> None:
        if not self.ready:
            if self._slow is None:
                self._slow = asyncio.get_running_loop().call_later(settings.REALTIME_SLOW, self.too_slow)
        elif self._slow is not None:
            self._stop_clock()
            if self.wake is not None:
                self.wake()

    def _stop_clock(self) -> None:
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None


def _nothing() -> None:
    pass
