"""One connection with the broker."""

import asyncio
import random
from collections.abc import Callable
from itertools import cycle
from typing import Any

import pika
import structlog
from django.conf import settings
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel as AmqpChannel

log = structlog.get_logger(__name__)

_BACKOFF = (0.1, 0.2, 0.5, 1.0, 2.0)


class Link:
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
