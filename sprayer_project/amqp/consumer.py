"""Consuming, on the caller's event loop."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pika.channel import Channel as AmqpChannel

from sprayer_project.amqp.link import Link
from sprayer_project.amqp.topology import declare


@dataclass(frozen=True, slots=True)
class Incoming:
    queue: str
    body: bytes
    redelivered: bool
    link: int
    tag: int


@dataclass(slots=True)
class Consumer:
    """Deliveries of some queues on the running event loop, across lost connections.

    Settling a delivery of a connection that is gone does nothing: the broker gives it to somebody again.
    """

    queues: Sequence[str]
    prefetch: int
    incoming: asyncio.Queue[Incoming] = field(default_factory=asyncio.Queue)
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

    def _opened(self, amqp_channel: AmqpChannel) -> None:
        self._link += 1
        self._channel = amqp_channel
        amqp_channel.basic_qos(prefetch_count=self.prefetch)
        for queue in self.queues:
            declare(amqp_channel, queue)
            amqp_channel.basic_consume(queue, self._receiver(queue, self._link))

    def _receiver(self, queue: str, link: int) -> Callable[[Any, Any, Any, bytes], None]:
        def receive(amqp_channel: Any, method: Any, properties: Any, body: bytes) -> None:
            self.incoming.put_nowait(Incoming(queue, body, method.redelivered, link, method.delivery_tag))

        return receive

    def _lost(self) -> None:
        self._channel = None
        while not self.incoming.empty():
            self.incoming.get_nowait()
