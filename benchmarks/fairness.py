"""fairness: the slowest of one tenant's single messages while another tenant makes load. Only when asked for by name.

Figure: p99 from the call that sends a message to its frame on an open WebSocket, while the other broadcasts on the
same channel, and while it sends single messages as fast as 16 clients can. Reference: the same while it does nothing.
One dispatcher, one web process and one API server serve both.
"""

import asyncio
import http.client
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, suppress
from functools import partial
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect

from benchmarks import http_load, realtime, seeding
from benchmarks.accept import CLIENTS, request
from benchmarks.latency import milliseconds, of_rounds, post
from benchmarks.system import ENVIRONMENT, TENANT, Api, Bench, Dispatcher
from benchmarks.table import Row, row
from messaging import selectors, services
from sprayer_project.errors import Conflict
from subscriptions.services import ensure_index, put_receiver
from tenants.models import User
from tenants.services import create_api_key, create_tenant
from tests.live import LiveProcess

TARGET = 3
_LOUD, _RECEIVER, _GROUP, _WARM = "loud", "quiet", "everybody", 20
_CONTENT = {"title": "Hello", "body": "Spray on"}

Load = Callable[[], AbstractAsyncContextManager[Callable[[], bool]]]
"""Makes load as long as the context lasts; what it gives tells whether there is some now."""


def run(bench: Bench) -> list[Row]:
    ensure_index(TENANT)
    put_receiver(TENANT, _RECEIVER)
    loud_key = _loud(bench)
    api, dispatcher = bench.start(Api(bench.live.folder)), bench.start(Dispatcher(bench.live.folder, "websocket"))
    (web,) = bench.live.start("web", env=ENVIRONMENT)
    loads: dict[str, Load] = {"broadcast": _broadcast, "singles": partial(_singles, api, loud_key)}
    address = f"ws://{urlsplit(web.url or '').netloc}{realtime.paths([_RECEIVER])[0]}"
    with closing(http.client.HTTPConnection(*realtime.place(api), timeout=30)) as requests:
        send = partial(post, requests, bench.key, _RECEIVER)
        idle, busy, kept = asyncio.run(_in_turns(address, send, loads, bench.sizes.rounds, bench.sizes.singles))
    for process in (dispatcher, web, api):
        process.stop()
    return [
        row(
            f"fairness ({name})",
            "ms",
            of_rounds(busy[name], 99),
            of_rounds(idle, 99),
            TARGET,
            f"p99 of {bench.sizes.singles} messages a round, one at a time; {kept[name]:.0%} of them met the other "
            "tenant's load.",
            at_most=True,
        )
        for name in loads
    ]


def _loud(bench: Bench) -> str:
    """The other tenant, with a group; its API key."""
    create_tenant(_LOUD, "Loud", "loud@example.com")
    owner = User.objects.get(email="loud@example.com")
    seeding.group(_LOUD, _GROUP, bench.sizes.subscribers, "websocket", None, recorded=False)
    put_receiver(_LOUD, _RECEIVER)
    scopes = ["messages:send"]
    return create_api_key(_LOUD, mode="live", scopes=scopes, expires_at=None, name="bench", by=owner)[1]


async def _in_turns(
    address: str, send: Callable[[], None], loads: dict[str, Load], rounds: int, number: int
) -> tuple[list[list[float]], dict[str, list[list[float]]], dict[str, float]]:
    """Milliseconds of each round, idle and under each load, and the share of messages that met the load."""
    idle, met = list[list[float]](), dict.fromkeys(loads, 0)
    busy: dict[str, list[list[float]]] = {name: [] for name in loads}
    async with connect(address, proxy=None) as client:
        await _times(client, send, _WARM)
        for _ in range(rounds):
            idle.append((await _times(client, send, number))[0])
            for name, load in loads.items():
                async with load() as under_way:
                    times, count = await _times(client, send, number, under_way)
                busy[name].append(times)
                met[name] += count
    return idle, busy, {name: count / (rounds * number) for name, count in met.items()}


async def _times(
    client: ClientConnection, send: Callable[[], None], number: int, under_way: Callable[[], bool] = lambda: False
) -> tuple[list[float], int]:
    times, met = [], 0
    for _ in range(number):
        met += await asyncio.to_thread(under_way)
        times.append(await milliseconds(client, send))
    return times, met


@asynccontextmanager
async def _broadcast() -> AsyncIterator[Callable[[], bool]]:
    body = {"to": {"groups": [_GROUP]}, "channels": ["websocket"], "content": _CONTENT}
    message = await asyncio.to_thread(services.accept, _LOUD, "live", body)
    try:
        yield lambda: selectors.record(_LOUD, "live", message.id)["status"] != "routed"
    finally:
        with suppress(Conflict):  # it is done
            await asyncio.to_thread(services.cancel, _LOUD, "live", message.id)


@asynccontextmanager
async def _singles(api: LiveProcess, key: str) -> AsyncIterator[Callable[[], bool]]:
    body = {"to": {"receivers": [_RECEIVER]}, "channels": ["websocket"], "content": _CONTENT}
    host, port = realtime.place(api)
    prepared = request("/api/v1/messages", host, key, json.dumps(body).encode())
    load = asyncio.create_task(_for_ever(host, port, prepared))
    try:
        yield lambda: not load.done()
    finally:
        load.cancel()
        await asyncio.wait([load])


async def _for_ever(host: str, port: int, prepared: bytes) -> None:
    while True:
        await http_load.run(host, port, prepared, CLIENTS, 1)
