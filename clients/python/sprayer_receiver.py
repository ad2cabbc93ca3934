"""A receiver's inbox for servers and tests: over WebSocket, every message once and in order.

    async with Receiver("https://push.example.com", ask_for_token) as inbox:
        async for message in inbox:
            print(message.content)

It connects again by itself and goes on where it was. A message is acknowledged, and so counts as delivered, when the
next one is asked for or the context ends without an error.
"""

import asyncio
import json
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

BACKOFF, BACKOFF_MOST, STABLE, RESTART, CROWDED, LINGER = 0.5, 30.0, 10.0, 1.0, 30.0, 0.1
"""Seconds: bounds of the first and of later waits, what makes failures forgotten, waits with a reason, unsaid acks."""
BAD_TOKEN, BAD_ORIGIN, REPLACED, RESTARTING, TOO_MANY = 4001, 4003, 4009, 4012, 4029
"""Close codes."""


class Stopped(Exception):
    """The server has ended this connection for a reason that connecting again does not change."""


@dataclass(frozen=True, slots=True)
class Message:
    epoch: str
    offset: str
    id: str
    content: dict[str, Any]
    sent_at: str  # RFC 3339, UTC
    group: str | None = None
    collapse_key: str | None = None
    version: int | None = None
    test: bool = False


class Receiver:
    """One client of a receiver.

    url: the Sprayer server's. token: one, or what asks your application for another when the first has expired; what it
    raises, other than OSError, reaches whoever waits for the next message, who may go on waiting.
    position: where to go on, the `position` of an earlier client. acknowledge=False: call ack(). on_gap is called where
    messages may be missing before the next one. options go to websockets' connect (ssl, proxy ...).
    """

    def __init__(
        self,
        url: str,
        token: str | Callable[[], Awaitable[str]],
        *,
        position: tuple[str, str] = ("", ""),
        acknowledge: bool = True,
        on_gap: Callable[[], None] = lambda: None,
        **options: Any,
    ) -> None:
        self._url = f"ws{url.rstrip('/').removeprefix('http')}/api/v1/realtime"
        self._token, self._automatic, self._on_gap, self._options = token, acknowledge, on_gap, options
        self._epoch, self._offset = position
        self._acked = self._said = self._offset
        self._said_at = self._opened_at = 0.0
        self._tries = self._refusals = 0
        self._socket: ClientConnection | None = None
        self._placed = False
        self._ids: deque[str] = deque(maxlen=1000)

    @property
    def position(self) -> tuple[str, str]:
        """Epoch and offset: everything up to there is acknowledged. Keep it, and another client goes on from there."""
        return self._epoch, self._acked

    async def ack(self, message: Message) -> None:
        """Everything up to this message has arrived."""
        if message.epoch == self._epoch and _order(message.offset) > _order(self._acked):
            self._acked = message.offset
            await self._flush(LINGER)

    async def read(self, message: Message) -> None:
        """This message has been read. Raises ConnectionError or ConnectionClosed where that cannot be said now."""
        if self._socket is None or message.epoch != self._epoch:
            raise ConnectionError("no connection to this message's inbox")
        await self._socket.send(_frame("read", offset=message.offset))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._automatic:
            self._acked = self._offset
        await self._flush()
        await self._leave()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        """The next message, however long it takes. Raises Stopped."""
        while True:
            try:
                frame = await self._next_frame()
            except (OSError, InvalidHandshake, ConnectionClosed) as failure:
                await self._recover(failure)
                continue
            if frame["type"] == "welcome":
                self._welcomed(frame)
            elif frame["type"] == "message" and self._placed and (message := self._judge(frame)):
                return message

    async def _next_frame(self) -> dict[str, Any]:
        """What is to be acknowledged meanwhile waits for LINGER seconds at most."""
        socket = self._socket or await self._connect()
        if self._automatic:
            self._acked = self._offset
        await self._flush(LINGER)
        while self._placed and self._acked != self._said:
            try:
                return dict(json.loads(await asyncio.wait_for(socket.recv(), LINGER)))
            except TimeoutError:
                await self._flush()
        return dict(json.loads(await socket.recv()))

    async def _connect(self) -> ClientConnection:
        token = self._token if isinstance(self._token, str) else await self._token()
        headers = {"Authorization": f"Bearer {token}"}
        self._socket = await connect(self._url, additional_headers=headers, **self._options)
        self._opened_at = time.monotonic()
        if self._epoch:
            await self._socket.send(_frame("resume", epoch=self._epoch, offset=self._offset))
        return self._socket

    def _welcomed(self, frame: dict[str, Any]) -> None:
        epoch, offset = frame["epoch"], frame["offset"]
        if not self._placed and frame["recovered"] and epoch == self._epoch and offset != self._offset:
            return  # the server has heard our resume late: its next welcome counts
        self._placed = True
        if epoch == self._epoch:
            self._offset = max(self._offset, offset, key=_order)
            self._said = ""  # acks of an earlier connection may have been lost with it
        else:
            self._epoch, self._offset, self._acked, self._said = epoch, offset, offset, offset
        if not frame["recovered"]:
            self._on_gap()

    def _judge(self, frame: dict[str, Any]) -> Message | None:
        """None for what was handed out before; that a new epoch brings it again shows by its id only."""
        if _order(frame["offset"]) <= _order(self._offset):
            return None
        self._offset = frame["offset"]
        message = Message(self._epoch, **{name: value for name, value in frame.items() if name in Message.__slots__})
        known = message.id in self._ids
        self._ids.append(message.id)
        return None if known else message

    async def _recover(self, failure: Exception) -> None:
        """Wait before the next connection as long as the reason of the last one's end asks for. Raises Stopped."""
        code = failure.rcvd.code if isinstance(failure, ConnectionClosed) and failure.rcvd else None
        if self._socket and time.monotonic() - self._opened_at >= STABLE:
            self._tries = self._refusals = 0
        await self._leave()
        if code in (BAD_ORIGIN, REPLACED) or (code == BAD_TOKEN and isinstance(self._token, str)):
            raise Stopped(f"closed with {code}") from failure
        self._refusals += code == BAD_TOKEN
        if code == RESTARTING:
            await asyncio.sleep(random.uniform(0, RESTART))
        elif code == TOO_MANY:
            await asyncio.sleep(random.uniform(CROWDED, 2 * CROWDED))
        elif code != BAD_TOKEN or self._refusals > 1:
            await asyncio.sleep(random.uniform(0, min(BACKOFF_MOST, BACKOFF * 2**self._tries)))
            self._tries = min(self._tries + 1, 16)

    async def _flush(self, pause: float = 0.0) -> None:
        """Acknowledge, unless that happened less than `pause` seconds ago."""
        due = time.monotonic() - self._said_at >= pause
        if self._socket is not None and self._placed and self._acked != self._said and due:
            with suppress(ConnectionClosed):  # the next connection says it again
                await self._socket.send(_frame("ack", offset=self._acked))
                self._said, self._said_at = self._acked, time.monotonic()

    async def _leave(self) -> None:
        socket, self._socket, self._placed = self._socket, None, False
        if socket:
            await socket.close()


def _order(offset: str) -> tuple[int, str]:  # offsets of one epoch grow: decimal, of any length
    return len(offset), offset


def _frame(kind: str, **values: str) -> str:
    return json.dumps({"type": kind, **values})
