"""RabbitMQ: the topology, confirmed publishing, consuming. The only module that imports pika.

Every process has at most one publishing connection, owned by one thread with an event loop of its own, so that
heartbeats are answered whatever the caller does; consumers live on the caller's event loop.

    sprayer.jobs (direct)    -> jobs.<channel>.<lane>
    sprayer.events (fanout)  -> feedback.record, feedback.webhooks, feedback.live
    sprayer.found (fanout)   -> feedback.webhooks, feedback.live: events whose delivery became known later
    sprayer.lost (fanout)    -> feedback.live.lost: what left feedback.live unread
    sprayer.retry.<s> (fanout) -> retry.<s>, whose messages return to sprayer.jobs under their own routing key
    sprayer.dead (fanout)    -> jobs.undecodable
"""

import asyncio
import random
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from functools import cache
from itertools import cycle
from typing import Any

import pika
import structlog
from django.conf import settings
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel as AmqpChannel
from pika.exceptions import AMQPError

from sprayer_project.errors import StoreUnavailable

log = structlog.get_logger(__name__)

JOBS, EVENTS, FOUND, LOST, DEAD = "sprayer.jobs", "sprayer.events", "sprayer.found", "sprayer.lost", "sprayer.dead"
RECORD_QUEUE, WEBHOOK_QUEUE, DEAD_QUEUE = "feedback.record", "feedback.webhooks", "jobs.undecodable"
LIVE_QUEUE, LIVE_LOST_QUEUE = "feedback.live", "feedback.live.lost"
LANES = ("single", "bulk")
RETRY_DELAYS = (1, 5, 15, 60)
DELIVERY_LIMIT = 20
EVENTS_LIMIT = 2_000_000
WEBHOOKS_LIMIT = 1024**3
"""Bytes, after which the oldest events leave the webhooks' queue: nobody who publishes waits for tenants' endpoints."""
LIVE_LIMIT, LIVE_AGE = 16 * 1024**2, 60
"""Bytes and seconds, after which events leave the live feed's queue: what is late is not live."""
_PERSISTENT = pika.BasicProperties(delivery_mode=2, content_type="application/json")
_BACKOFF = (0.1, 0.2, 0.5, 1.0, 2.0)


class BrokerUnavailable(StoreUnavailable):
    """RabbitMQ is away, blocked by an alarm, refused the message or did not confirm in time."""

    def __init__(self, detail: str):
        super().__init__("RabbitMQ", detail)


@dataclass(frozen=True, slots=True)
class Publication:
    exchange: str
    routing_key: str
    body: bytes


def job_queue(channel: str, lane: str) -> str:
    return f"jobs.{channel}.{lane}"


def retry(queue: str, body: bytes, delay: float) -> Publication:
    """A job that comes back to its queue after the largest fixed delay (seconds) of RETRY_DELAYS within `delay`."""
    seconds = max((fixed for fixed in RETRY_DELAYS if fixed <= delay), default=RETRY_DELAYS[0])
    return Publication(f"sprayer.retry.{seconds}", queue, body)


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


def _declare(amqp_channel: AmqpChannel, queue: str, callback: Callable[[Any], None] | None = None) -> None:
    """Declare a queue and what it hangs on. Needs no answer: a broker handles a channel's methods in order."""
    arguments: dict[str, Any] = {"x-queue-type": "quorum"}
    if queue == DEAD_QUEUE:
        exchange, kind = DEAD, "fanout"
    elif queue == RECORD_QUEUE:
        exchange, kind = EVENTS, "fanout"
        arguments |= {"x-max-length": EVENTS_LIMIT, "x-overflow": "reject-publish"} | _dead_lettering(DEAD)
    elif queue == WEBHOOK_QUEUE:
        exchange, kind = EVENTS, "fanout"
        arguments |= {"x-max-length-bytes": WEBHOOKS_LIMIT, "x-overflow": "drop-head"}
        arguments |= {"x-delivery-limit": DELIVERY_LIMIT}
    elif queue == LIVE_QUEUE:
        exchange, kind = EVENTS, "fanout"
        arguments |= {"x-max-length-bytes": LIVE_LIMIT, "x-overflow": "drop-head", "x-message-ttl": LIVE_AGE * 1000}
        arguments |= {"x-dead-letter-exchange": LOST, "x-delivery-limit": DELIVERY_LIMIT}
    elif queue == LIVE_LOST_QUEUE:
        exchange, kind = LOST, "fanout"
        arguments |= {"x-max-length": 1, "x-overflow": "drop-head", "x-delivery-limit": DELIVERY_LIMIT}
    elif queue.startswith("retry."):
        exchange, kind = f"sprayer.{queue}", "fanout"
        arguments |= {"x-message-ttl": int(queue.removeprefix("retry.")) * 1000, "x-overflow": "reject-publish"}
        arguments |= {"x-dead-letter-exchange": JOBS, "x-dead-letter-strategy": "at-least-once"}
    else:
        exchange, kind = JOBS, "direct"
        arguments |= {"x-overflow": "reject-publish"} | _dead_lettering(DEAD)
    amqp_channel.exchange_declare(DEAD, "fanout", durable=True)
    amqp_channel.queue_declare(DEAD_QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
    amqp_channel.queue_bind(DEAD_QUEUE, DEAD)
    amqp_channel.exchange_declare(exchange, kind, durable=True)
    amqp_channel.queue_declare(queue, durable=True, arguments=arguments, callback=callback)
    amqp_channel.queue_bind(queue, exchange, routing_key=queue)
    if queue in (WEBHOOK_QUEUE, LIVE_QUEUE):
        amqp_channel.exchange_declare(FOUND, "fanout", durable=True)
        amqp_channel.queue_bind(queue, FOUND)


def _dead_lettering(exchange: str) -> dict[str, Any]:
    return {
        "x-dead-letter-exchange": exchange,
        "x-dead-letter-strategy": "at-least-once",
        "x-delivery-limit": DELIVERY_LIMIT,
    }


def _queues_of(item: Publication) -> tuple[str, ...]:
    """The queues that must exist for a publication to be safe."""
    if item.exchange == EVENTS:
        return (RECORD_QUEUE,)
    if item.exchange == FOUND:
        return (WEBHOOK_QUEUE,)
    if item.exchange == DEAD:
        return (DEAD_QUEUE,)
    if item.exchange.startswith("sprayer.retry."):
        return item.exchange.removeprefix("sprayer."), item.routing_key
    return (item.routing_key,)


class _Link:
    """One connection with one channel on the running event loop, opened again whenever it is lost.

    SPRAYER_AMQP_URL may name several nodes, separated by commas: they are tried in turn, and the broker is away when
    each has refused.
    """

    def __init__(self, name: str, on_open: Callable[[AmqpChannel], None], on_lost: Callable[[], None]):
        self._name, self._on_open, self._on_lost = name, on_open, on_lost
        self._connection: AsyncioConnection | None = None
        self._closing = False

    async def run(self) -> None:
        nodes = [url.strip() for url in settings.AMQP_URL.split(",")]
        refusals = 0
        for node in cycle(nodes):
            lost = asyncio.get_running_loop().create_future()
            was_open = self._connect(node, lost)
            reason = await lost
            refusals = 0 if was_open() else refusals + 1
            rounds, others_left = divmod(refusals, len(nodes))
            if self._closing or not others_left:
                self._on_lost()
            if self._closing:
                return
            log.warning("RabbitMQ is away", link=self._name, reason=str(reason) or type(reason).__name__)
            if not others_left:
                await asyncio.sleep(random.uniform(0.5, 1) * _BACKOFF[min(rounds, len(_BACKOFF) - 1)])

    def close(self) -> None:
        self._closing = True
        if self._connection and self._connection.is_open:
            self._connection.close()

    def _connect(self, url: str, lost: asyncio.Future[Any]) -> Callable[[], bool]:
        opened = False

        def done(connection: Any, reason: Any) -> None:
            if not lost.done():
                lost.set_result(reason)

        def channel_closed(amqp_channel: AmqpChannel, reason: Any) -> None:
            if connection.is_open:
                log.error("RabbitMQ closed the channel", link=self._name, reason=str(reason))
                connection.close()

        def channel_open(amqp_channel: AmqpChannel) -> None:
            nonlocal opened
            opened = True
            amqp_channel.add_on_close_callback(channel_closed)
            self._on_open(amqp_channel)

        parameters = pika.URLParameters(url)
        parameters.heartbeat = 20
        parameters.blocked_connection_timeout = 60
        parameters.socket_timeout = parameters.stack_timeout = 5
        parameters.connection_attempts = 1
        parameters.client_properties = {"connection_name": f"sprayer {self._name}"}
        connection = AsyncioConnection(
            parameters,
            on_open_callback=lambda opened_connection: opened_connection.channel(on_open_callback=channel_open),
            on_open_error_callback=done,
            on_close_callback=done,
        )
        self._connection = connection
        return lambda: opened


@dataclass(slots=True)
class _Batch:
    future: Future[None]
    pending: int


class _Publisher(threading.Thread):
    """The process's publishing thread."""

    def __init__(self) -> None:
        super().__init__(name="amqp-publisher", daemon=True)
        self._loop = asyncio.new_event_loop()
        self._link = _Link("publisher", self._opened, self._lost)
        self._known = threading.Event()
        self._up = False
        self._channel: AmqpChannel | None = None
        self._queue: deque[tuple[Sequence[Publication], Future[None]]] = deque()
        self._scheduled = False
        self._lock = threading.Lock()
        self._declared: set[str] = set()
        self._unconfirmed: dict[int, _Batch] = {}
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
                _declare(self._channel, queue, declared)

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
        batches = list(self._unconfirmed.values())
        self._unconfirmed.clear()
        with self._lock:
            futures = [future for _, future in self._queue] + [batch.future for batch in batches]
            self._queue.clear()
        for future in futures:
            _fail(future, "The connection to RabbitMQ was lost.")

    def _flush(self) -> None:
        with self._lock:
            work, self._queue = self._queue, deque()
            self._scheduled = False
        for items, future in work:
            if self._channel is None or not self._channel.is_open:
                _fail(future, "RabbitMQ is unavailable.")
                continue
            batch = _Batch(future, len(items))
            try:
                for item in items:
                    self._send(self._channel, item, batch)
            except AMQPError as error:
                _fail(future, str(error))

    def _send(self, amqp_channel: AmqpChannel, item: Publication, batch: _Batch) -> None:
        for queue in _queues_of(item):
            if queue not in self._declared:
                _declare(amqp_channel, queue)
                self._declared.add(queue)
        self._tag += 1
        self._unconfirmed[self._tag] = batch
        amqp_channel.basic_publish(item.exchange, item.routing_key, item.body, _PERSISTENT, mandatory=True)

    def _confirmed(self, frame: Any) -> None:
        method, tag = frame.method, frame.method.delivery_tag
        first = self._oldest if method.multiple else tag
        for confirmed in range(first, tag + 1):
            batch = self._unconfirmed.pop(confirmed, None)
            if batch is None:
                continue
            if isinstance(method, pika.spec.Basic.Nack):
                _fail(batch.future, "RabbitMQ refused the message: its queue is full.")
            batch.pending -= 1
            if batch.pending == 0 and not batch.future.done():
                batch.future.set_result(None)
        while self._oldest <= self._tag and self._oldest not in self._unconfirmed:
            self._oldest += 1

    def _returned(self, amqp_channel: AmqpChannel, method: Any, properties: Any, body: bytes) -> None:
        """Unroutable: a queue was deleted under us. Fail what is under way, declare everything again."""
        log.error("RabbitMQ returned a message", exchange=method.exchange, routing_key=method.routing_key)
        self._declared.clear()
        for batch in self._unconfirmed.values():
            _fail(batch.future, "RabbitMQ has no queue for the message.")


def _fail(future: Future[Any], detail: str) -> None:
    if not future.done():
        future.set_exception(BrokerUnavailable(detail))


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
    _connection: _Link | None = None
    _task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._connection = _Link(f"consumer of {', '.join(self.queues)}", self._opened, self._lost)
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
            _declare(amqp_channel, queue)
            amqp_channel.basic_consume(queue, self._receiver(queue, self._link))

    def _receiver(self, queue: str, link: int) -> Callable[[Any, Any, Any, bytes], None]:
        def receive(amqp_channel: Any, method: Any, properties: Any, body: bytes) -> None:
            self.incoming.put_nowait(Incoming(queue, body, method.redelivered, link, method.delivery_tag))

        return receive

    def _lost(self) -> None:
        self._channel = None
        while not self.incoming.empty():
            self.incoming.get_nowait()
