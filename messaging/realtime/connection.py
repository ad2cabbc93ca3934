"""One realtime connection's place in an inbox, and how much may be under way to its client."""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from messaging.inbox import Entry, View


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
        return Start(view.epoch, view.acked, view.acked >= view.floor)
    if epoch != view.epoch or offset > view.last:
        return Start(view.epoch, view.acked, False)
    return Start(view.epoch, offset, offset >= view.floor)


class Connection:
    """A follower of one inbox. send takes a frame's text; full is called when the window has just filled up."""

    def __init__(
        self, tenant: str, receiver: str, window: int, send: Callable[[str], Awaitable[None]], full: Callable[[], None]
    ):
        self.tenant, self.receiver = tenant, receiver
        self.position = Position("", 0)
        self._send, self._full, self._window = send, full, window
        self._unacknowledged: deque[tuple[int, int]] = deque()
        self._bytes = 0

    @property
    def ready(self) -> bool:
        """Whether more may be sent: less than a window of bytes is unacknowledged."""
        return self._bytes < self._window

    def place(self, start: Start) -> None:
        """Read from here on."""
        self.position = Position(start.epoch, start.offset)
        self._unacknowledged.clear()
        self._bytes = 0

    def acknowledged(self, offset: int) -> None:
        """The client has everything up to here."""
        while self._unacknowledged and self._unacknowledged[0][0] <= offset:
            self._bytes -= self._unacknowledged.popleft()[1]

    async def offer(self, position: Position, messages: Sequence[tuple[Entry, str]], upto: int) -> bool:
        """Send what comes after the connection's position; False where something was left for later."""
        for entry, frame in messages:
            if position is not self.position:
                return False
            if entry.offset <= position.offset:
                continue
            if not self.ready:
                return False
            position.offset = entry.offset
            size = len(frame)
            self._unacknowledged.append((entry.offset, size))
            self._bytes += size
            await self._send(frame)
            if not self.ready:
                self._full()
        if position is self.position:
            position.offset = max(position.offset, upto)
        return position is self.position
