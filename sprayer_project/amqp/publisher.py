"""Confirmed publishing.

Every process has at most one publishing connection, owned by one thread with an event loop of its own, so that
heartbeats are answered whatever the caller does.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from functools import cache
from typing import Any

import pika
import structlog
import uvloop
from django.conf import settings
from pika.channel import Channel as AmqpChannel
from pika.exceptions import AMQPError

from sprayer_project.amqp.link import Link
from sprayer_project.amqp.topology import Publication, declare, queues_of
from sprayer_project.errors import StoreUnavailable

log = structlog.get_logger(__name__)

_PERSISTENT = pika.BasicProperties(delivery_mode=2, content_type="application/json")
_PAUSES = (0.1, 0.2, 0.4, 0.8)
"""Seconds before a refused message is sent again: a full queue refuses, and one that is just being made."""


class BrokerUnavailable(StoreUnavailable):
    """RabbitMQ is away, blocked by an alarm, refused the message or did not confirm in time."""

    def __init__(self, detail: str):
        super().__init__("RabbitMQ", detail)


def publish(items: Sequence[Publication], timeout: float | None = None) -> None:
    """Publish persistently and mandatorily; return when all are confirmed. Raises BrokerUnavailable.

    Away is known at once; timeout (seconds) bounds the wait for confirms. After a timeout the messages may be out.
    """
    if not items:
        return
    future = _publisher().submit(items)
    try:
        future.result(settings.PUBLISH_TIMEOUT if timeout is None else timeout)
    except FutureTimeout:
        raise BrokerUnavailable("RabbitMQ did not confirm in time.") from None


async def apublish(items: Sequence[Publication], timeout: float | None = None) -> None:
    """publish, for a coroutine."""
    if not items:
        return
    future = asyncio.wrap_future(_publisher().submit(items))
    try:
        await asyncio.wait_for(future, settings.PUBLISH_TIMEOUT if timeout is None else timeout)
    except TimeoutError:
        raise BrokerUnavailable("RabbitMQ did not confirm in time.") from None


def depth(queue: str) -> int | None:
    """Messages ready in a queue; None while the broker is away."""
    try:
        return _publisher().depth(queue).result(settings.PUBLISH_TIMEOUT)
    except (BrokerUnavailable, FutureTimeout):
        return None


def connected() -> bool:
    return _publisher().wait_connected(settings.PUBLISH_TIMEOUT)


def close() -> None:
    """Give back the publishing connection; the next publish makes another."""
    if _publisher.cache_info().currsize:
        _publisher().close()
        _publisher.cache_clear()


@cache
def _publisher() -> "_Publisher":
    publisher = _Publisher()
    publisher.start()
    return publisher


@dataclass(slots=True)
class _Batch:
    future: Future[None]
    pending: int


@dataclass(slots=True)
class _Sent:
    """A message of a batch, and how often RabbitMQ refused it."""

    item: Publication
    batch: _Batch
    refusals: int = 0


class _Publisher(threading.Thread):
    """The process's publishing thread."""

    def __init__(self) -> None:
        super().__init__(name="amqp-publisher", daemon=True)
        self._loop = uvloop.new_event_loop()
        self._link = Link("publisher", self._opened, self._lost)
        self._known = threading.Event()
        self._up = False
        self._channel: AmqpChannel | None = None
        self._queue: deque[tuple[Sequence[Publication], Future[None]]] = deque()
        self._scheduled = False
        self._lock = threading.Lock()
        self._declared: set[str] = set()
        self._unconfirmed: dict[int, _Sent] = {}
        self._oldest = 1
        self._tag = 0

    def run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._link.run())
        finally:
            self._loop.close()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._link.close)
        self.join(5)

    def submit(self, items: Sequence[Publication]) -> "Future[None]":
        future: Future[None] = Future()
        if not self.wait_connected(settings.PUBLISH_TIMEOUT):
            future.set_exception(BrokerUnavailable("RabbitMQ is unavailable."))
            return future
        with self._lock:
            self._queue.append((items, future))
            if self._scheduled:
                return future
            self._scheduled = True
        self._loop.call_soon_threadsafe(self._flush)
        return future

    def wait_connected(self, timeout: float) -> bool:
        """Whether the broker can be used now. Waits only while the first connection is being made."""
        self._known.wait(timeout)
        return self._up

    def depth(self, queue: str) -> "Future[int]":
        future: Future[int] = Future()

        def declared(frame: Any) -> None:
            if not future.done():
                future.set_result(frame.method.message_count)

        def ask() -> None:
            if self._channel is None:
                future.set_exception(BrokerUnavailable("RabbitMQ is unavailable."))
            else:
                declare(self._channel, queue, declared)

        if self.wait_connected(settings.PUBLISH_TIMEOUT):
            self._loop.call_soon_threadsafe(ask)
        else:
            future.set_exception(BrokerUnavailable("RabbitMQ is unavailable."))
        return future

    def _opened(self, amqp_channel: AmqpChannel) -> None:
        self._tag, self._oldest = 0, 1
        self._declared.clear()
        amqp_channel.confirm_delivery(self._confirmed, callback=lambda frame: self._ready(amqp_channel))
        amqp_channel.add_on_return_callback(self._returned)
        connection = amqp_channel.connection
        connection.add_on_connection_blocked_callback(lambda *_: self._blocked(True))
        connection.add_on_connection_unblocked_callback(lambda *_: self._blocked(False))

    def _ready(self, amqp_channel: AmqpChannel) -> None:
        self._channel, self._up = amqp_channel, True
        self._known.set()

    def _blocked(self, blocked: bool) -> None:
        log.warning("RabbitMQ's resource alarm", blocked=blocked)
        self._up = not blocked

    def _lost(self) -> None:
        self._channel, self._up = None, False
        self._known.set()
        unconfirmed = list(self._unconfirmed.values())
        self._unconfirmed.clear()
        with self._lock:
            futures = [future for _, future in self._queue] + [sent.batch.future for sent in unconfirmed]
            self._queue.clear()
        for future in futures:
            _fail(future, "The connection to RabbitMQ was lost.")

    def _flush(self) -> None:
        with self._lock:
            work, self._queue = self._queue, deque()
            self._scheduled = False
        for items, future in work:
            batch = _Batch(future, len(items))
            for item in items:
                self._send(_Sent(item, batch))

    def _send(self, sent: _Sent) -> None:
        amqp_channel, item = self._channel, sent.item
        if amqp_channel is None or not amqp_channel.is_open:
            _fail(sent.batch.future, "RabbitMQ is unavailable.")
            return
        try:
            for queue in queues_of(item):
                if queue not in self._declared:
                    declare(amqp_channel, queue)
                    self._declared.add(queue)
            self._tag += 1
            self._unconfirmed[self._tag] = sent
            amqp_channel.basic_publish(item.exchange, item.routing_key, item.body, _PERSISTENT, mandatory=True)
        except AMQPError as error:
            _fail(sent.batch.future, str(error))

    def _confirmed(self, frame: Any) -> None:
        method, tag = frame.method, frame.method.delivery_tag
        first = self._oldest if method.multiple else tag
        for confirmed in range(first, tag + 1):
            sent = self._unconfirmed.pop(confirmed, None)
            if sent is None:
                continue
            if isinstance(method, pika.spec.Basic.Nack):
                self._refused(sent)
                continue
            batch = sent.batch
            batch.pending -= 1
            if batch.pending == 0 and not batch.future.done():
                batch.future.set_result(None)
        while self._oldest <= self._tag and self._oldest not in self._unconfirmed:
            self._oldest += 1

    def _refused(self, sent: _Sent) -> None:
        """Send it again in a moment, unless nobody waits for it any more."""
        future = sent.batch.future
        if sent.refusals == len(_PAUSES):
            _fail(future, "RabbitMQ refused the message: its queue is full, or not there yet.")
        elif not future.done():
            self._loop.call_later(_PAUSES[sent.refusals], self._send, sent)
            sent.refusals += 1

    def _returned(self, amqp_channel: AmqpChannel, method: Any, properties: Any, body: bytes) -> None:
        """Unroutable: a queue was deleted under us. Fail what is under way, declare everything again."""
        log.error("RabbitMQ returned a message", exchange=method.exchange, routing_key=method.routing_key)
        self._declared.clear()
        for sent in self._unconfirmed.values():
            _fail(sent.batch.future, "RabbitMQ has no queue for the message.")


def _fail(future: Future[Any], detail: str) -> None:
    if not future.done():
        future.set_exception(BrokerUnavailable(detail))
