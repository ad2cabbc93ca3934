"""A tenant's endpoint for feedback webhooks, and the daemon that posts to it, in the test's own loop."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from django.conf import settings
from standardwebhooks import Webhook as Verifier

from feedback import services, webhook_delivery, webhooks
from feedback.events import DeliveryEvent
from feedback.models import Webhook
from feedback.webhooks import Actor
from sprayer_project import worker
from tests.live import PATIENCE


@dataclass(frozen=True, slots=True)
class Got:
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def events(self) -> list[dict[str, Any]]:
        return list(json.loads(self.body)["data"])

    def verify(self, secret: str) -> Any:
        """Raises WebhookVerificationError."""
        return Verifier(secret).verify(self.body, self.headers)


@dataclass
class Endpoint:
    """Answers with the next of `answers`, each a status and headers, and with 204 when they are used up.

    While `gate` is cleared, it answers nobody.
    """

    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    always: int = 204
    got: list[Got] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    async def answer(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.got.append(Got(headers, await request.read()))
        status, more = self.answers.pop(0) if self.answers else (self.always, {})
        await self.gate.wait()
        return web.Response(status=status, headers=more)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [found for request in self.got for found in request.events]


@asynccontextmanager
async def endpoint() -> AsyncIterator[Endpoint]:
    """One that listens, on a port that webhooks may go to."""
    opened, application = Endpoint(), web.Application()
    opened.gate.set()
    application.router.add_post("/", opened.answer)
    runner = web.AppRunner(application, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host = f"127.0.0.1:{runner.addresses[0][1]}"
    opened.url = f"http://{host}/"
    settings.WEBHOOK_ALLOW_PRIVATE.append(host)
    try:
        yield opened
    finally:
        opened.gate.set()
        settings.WEBHOOK_ALLOW_PRIVATE.remove(host)
        await runner.cleanup()


@asynccontextmanager
async def delivering() -> AsyncIterator[None]:
    """The daemon, until the end of the context."""
    stop = asyncio.Event()
    running = asyncio.create_task(webhook_delivery.run(stop))
    try:
        yield
    finally:
        stop.set()
        await running


async def hook(at: str, tenant: str = "acme", mode: str = "live", events: Iterable[str] = ()) -> tuple[Webhook, str]:
    """A webhook of a tenant, and its secret."""
    return await worker.in_thread(webhooks.create, tenant, mode, at, [*events] or ["delivery.*"], Actor())


async def happen(*events: DeliveryEvent) -> None:
    """These events travel as any dispatcher's."""
    await services.areport(events)


async def until(condition: Callable[[], Any], what: str, timeout: float = 20) -> None:
    """Wait for a condition, which blocks on no store or is quick. Fails after PATIENCE times `timeout` seconds."""
    deadline = time.monotonic() + PATIENCE * timeout
    while not await worker.in_thread(condition):
        assert time.monotonic() < deadline, f"{what} did not come within {PATIENCE * timeout:g} s"
        await asyncio.sleep(0.05)
