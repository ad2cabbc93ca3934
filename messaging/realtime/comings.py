"""Receivers' comings and goings on their way to feedback, in their order."""

import asyncio
from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import islice

import structlog

from feedback import services as feedback
from feedback.events import ConnectionEvent
from messaging import inbox
from sprayer_project.errors import STORE_ERRORS

log = structlog.get_logger(__name__)

_LINGER, _PAUSE, _BATCH = 0.05, 1.0, 1_000


class Comings:
    """What happened lately. While the broker is away the newest wait, and a process that dies takes them with it."""

    def __init__(self, most: int = 100_000) -> None:
        self._most = most
        self._waiting: deque[ConnectionEvent] = deque(maxlen=most)
        self._task: asyncio.Task[None] | None = None

    def add(self, tenant: str, receivers: Iterable[str], connected: bool) -> None:
        now = datetime.now(UTC)
        self._waiting += [
            ConnectionEvent(tenant=tenant, receiver=receiver, channel=inbox.CHANNEL, connected=connected, at=now)
            for receiver in receivers
        ]
        if self._waiting and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._report())

    async def reported(self, limit: float) -> None:
        """Wait until nothing is waiting, `limit` seconds at most."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=limit)

    async def _report(self) -> None:
        while self._waiting:
            await asyncio.sleep(_LINGER)
            batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
            try:
                await feedback.areport(batch)
            except STORE_ERRORS as error:
                log.warning("connection events wait for a store", events=len(batch), error=type(error).__name__)
                self._waiting.extendleft(islice(reversed(batch), self._most - len(self._waiting)))
                await asyncio.sleep(_PAUSE)
