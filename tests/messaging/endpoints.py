"""Webhook endpoints that go down and come back, and a dispatcher of the http channel in the test's own loop."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from django.conf import settings

from feedback import feeder, selectors
from messaging.channels import channel
from messaging.management.commands.run_dispatcher import dispatch
from messaging.services import accept
from sprayer_project import paging, redis, signatures, worker
from subscriptions.inputs import AddressInput, ReceiverInput
from subscriptions.services import put_receivers
from tenants.services import set_channel_config
from tests.live import PATIENCE


def _open() -> asyncio.Event:
    gate = asyncio.Event()
    gate.set()
    return gate


@dataclass
class Endpoint:
    """A host of its own. Answers `status` with `headers` after `delay` seconds, and notes when each request came.

    While `gate` is cleared, it answers nobody.
    """

    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0
    arrivals: list[tuple[float, str]] = field(default_factory=list)
    """(monotonic seconds, path)"""
    url: str = ""
    gate: asyncio.Event = field(default_factory=_open)
    answered: int = 0

    async def answer(self, request: web.Request) -> web.Response:
        self.arrivals.append((time.monotonic(), request.path))
        await asyncio.sleep(self.delay)
        await self.gate.wait()
        self.answered += 1
        return web.Response(status=self.status, headers=self.headers)

    @property
    def times(self) -> list[float]:
        """Of all requests, in seconds since the first."""
        return [at - self.arrivals[0][0] for at, _ in self.arrivals]


@asynccontextmanager
async def endpoint(address: str = "127.0.0.1") -> AsyncIterator[Endpoint]:
    """One that listens, on a port that webhooks may go to."""
    opened, application = Endpoint(), web.Application()
    application.router.add_post("/{name}", opened.answer)
    runner = web.AppRunner(application, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, address, 0).start()
    host = f"{address}:{runner.addresses[0][1]}"
    opened.url = f"http://{host}"
    settings.WEBHOOK_ALLOW_PRIVATE.append(host)
    try:
        yield opened
    finally:
        settings.WEBHOOK_ALLOW_PRIVATE.remove(host)
        await runner.cleanup()


@asynccontextmanager
async def dispatching() -> AsyncIterator[None]:
    """A dispatcher of the http channel and a status feeder, until the end of the context."""
    stop = asyncio.Event()
    tasks = [asyncio.create_task(dispatch([channel("http")], 4, stop)), asyncio.create_task(feeder.run(stop))]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks)
        await redis.aclose()


async def configure(tenant: str, **pacing: Any) -> None:
    await worker.in_thread(set_channel_config, tenant, "http", {"secret": signatures.new_secret()} | pacing)


async def send(
    tenant: str, at: Endpoint, count: int = 1, prefix: str = "r", ttl: int = 600, hanging: Endpoint | None = None
) -> list[str]:
    """A message to `count` receivers whose addresses are at the endpoint; every fourth is at `hanging`. Its id."""
    names = [f"{prefix}{number:02}" for number in range(count)]
    inputs = [ReceiverInput(name, [AddressInput("http", f"{_host(name, at, hanging)}/{name}")]) for name in names]
    for row in await worker.in_thread(put_receivers, tenant, inputs):
        assert not isinstance(row, Exception), row
    body = {"to": {"receivers": names}, "channels": ["http"], "content": {"title": "Hi"}, "ttl": ttl}
    return [(await worker.in_thread(accept, tenant, "live", body)).id]


def _host(name: str, at: Endpoint, hanging: Endpoint | None) -> str:
    return hanging.url if hanging and int(name[-2:]) % 4 == 0 else at.url


async def statuses(tenant: str, messages: Sequence[str]) -> dict[str, int]:
    """How many deliveries of these messages stand at each status."""
    counted: dict[str, int] = {}
    for totals in (await worker.in_thread(selectors.totals_of, tenant, messages)).values():
        for status, number in totals.channels.get("http", {}).items():
            counted[status] = counted.get(status, 0) + number
    return counted


async def rows(tenant: str, message: str) -> list[selectors.DeliveryRow]:
    found = await worker.in_thread(selectors.deliveries, tenant, "live", message, limit=paging.MAX_LIMIT)
    return list(found.data)


async def until(condition: Callable[[], Any], timeout: float, what: str) -> None:
    """Wait for a condition, which may be a coroutine function. Fails after PATIENCE times `timeout` seconds."""
    deadline = time.monotonic() + PATIENCE * timeout
    while True:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return
        assert time.monotonic() < deadline, f"{what} did not come within {PATIENCE * timeout:g} s"
        await asyncio.sleep(0.05)
