"""Consuming, on the caller's event loop."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pika.channel import Channel as AmqpChannel

from sprayer_project.amqp.link import Link
from sprayer_project.amqp.topology import declare

_ANSWER = 5.0
"""Seconds that the broker has to answer."""


@dataclass(frozen=True, slots=True)
class Incoming:
    queue: str
    body: bytes
    redelivered: bool
    link: int
    tag: int

    @property
    def place(self) -> tuple[int, int]:
        """Of those that a consumer receives a later one has a greater place."""
        return self.link, self.tag


@dataclass(slots=True)
class Consumer:
    """Deliveries of some queues on the running event loop, across lost connections.

    Settling a delivery of a connection that is gone does nothing: the broker gives it to somebody again.
    """

    queues: Sequence[str]
    prefetch: int
    incoming: asyncio.Queue[Incoming] = field(default_factory=asyncio.Queue)
    received: tuple[int, int] | None = None
    """The place of the newest delivery of this connection."""
    _link: int = 0
    _channel: AmqpChannel | None = None
    _connection: Link | None = None
    _task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._connection = Link(f"consumer of {', '.join(self.queues)}", self._opened, self._lost)
        self._task = asyncio.create_task(self._connection.run())

    async def cancel(self) -> None:
        """No more deliveries; what was delivered can still be settled."""
        while not self.incoming.empty():
            self.settle(self.incoming.get_nowait(), "requeue")
        if self._channel is not None and self._channel.is_open:
            for tag in list(self._channel.consumer_tags):
                self._channel.basic_cancel(tag)

    async def aclose(self) -> None:
        """Close the connection; the broker takes back what was not settled."""
        if self._connection is not None and self._task is not None:
            self._connection.close()
            await asyncio.wait([self._task], timeout=5)
            self._task.cancel()

    def settle(self, item: Incoming, verdict: str, multiple: bool = False) -> None:
        """verdict: ack, or requeue (counts towards the queue's delivery limit)."""
        if item.link != self._link or self._channel is None or not self._channel.is_open:
            return
        if verdict == "ack":
            self._channel.basic_ack(item.tag, multiple)
        else:
            self._channel.basic_nack(item.tag, multiple, requeue=True)

    async def ready(self) -> int | None:
        """Messages that wait in the queues, when all that left them before is `received`; None where nobody knows."""
        if self._channel is None or not self._channel.is_open:
            return None
        counts = [asyncio.get_running_loop().create_future() for _ in self.queues]
        for queue, count in zip(self.queues, counts, strict=True):
            declare(self._channel, queue, partial(_answer, count))
        done, _ = await asyncio.wait(counts, timeout=_ANSWER)
        return sum(count.result() for count in done) if len(done) == len(counts) else None

    def _opened(self, amqp_channel: AmqpChannel) -> None:
        self._link += 1
        self._channel, self.received = amqp_channel, None
        amqp_channel.basic_qos(prefetch_count=self.prefetch)
        for queue in self.queues:
            declare(amqp_channel, queue)
            amqp_channel.basic_consume(queue, self._receiver(queue, self._link))

    def _receiver(self, queue: str, link: int) -> Callable[[Any, Any, Any, bytes], None]:
        def receive(amqp_channel: Any, method: Any, properties: Any, body: bytes) -> None:
            item = Incoming(queue, body, method.redelivered, link, method.delivery_tag)
            self.received = item.place
            self.incoming.put_nowait(item)

        return receive

    def _lost(self) -> None:
        self._channel = self.received = None
        while not self.incoming.empty():
            self.incoming.get_nowait()


def _answer(count: "asyncio.Future[int]", frame: Any) -> None:
    if not count.done():
        count.set_result(frame.method.message_count)
