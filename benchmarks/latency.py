"""latency: from the call that sends a message to its frame on an open WebSocket, one message at a time.

The API runs under granian, the WebSocket at run_web, as in production. Reference: the same way without Sprayer, see
bare_chain: insert the message's document with a journalled majority write, publish with a confirm, consume, publish in
Redis, send the frame.
"""

import asyncio
import http.client
import json
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path
from statistics import quantiles
from typing import Any
from urllib.parse import urlsplit

import pika
from django.conf import settings
from pika.adapters.blocking_connection import BlockingChannel
from websockets.asyncio.client import ClientConnection, connect

from benchmarks import realtime
from benchmarks.bare_chain import QUEUE
from benchmarks.receivers import MESSAGE
from benchmarks.system import ENVIRONMENT, TENANT, Api, Bench, Busy, Dispatcher, percent
from benchmarks.table import Row, row
from deploy.local.servers import HOST
from messaging.documents import Message
from sprayer_project.ids import new_id
from sprayer_project.mongo import DURABLE
from subscriptions.services import ensure_index, put_receiver
from tests.environment import free_port
from tests.live import LiveProcess

TARGET = 3
_RECEIVER, _PAUSE, _LIMIT, _WARM = "latency", 0.02, 30.0, 20
_PERCENTILES = {"p50": (50, TARGET), "p99": (99, None)}


class BareProcess(LiveProcess):
    """The carrier or the deliverer of bare_chain."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        super().__init__(f"bare-{arguments[0]}", [], folder, {}, None)
        self._command = [sys.executable, "-m", "benchmarks.bare_chain", *arguments]


def run(bench: Bench) -> list[Row]:
    ensure_index(TENANT)
    put_receiver(TENANT, _RECEIVER)
    folder, bare_port = bench.live.folder, free_port()
    carrier = bench.start(BareProcess(folder, "carrier"))
    deliverer = bench.start(BareProcess(folder, "deliverer", str(bare_port)))
    api, dispatcher = bench.start(Api(folder)), bench.start(Dispatcher(folder, realtime.CHANNEL))
    (web,) = bench.live.start("web", env=ENVIRONMENT)
    (path,) = realtime.paths([_RECEIVER])
    address = f"ws://{urlsplit(web.url or '').netloc}{path}"
    busy = Busy()
    with (
        closing(http.client.HTTPConnection(*realtime.place(api), timeout=_LIMIT)) as requests,
        pika.BlockingConnection(pika.URLParameters(settings.AMQP_URL.split(",")[0])) as broker,
    ):
        ours = (address, lambda: post(requests, bench.key, _RECEIVER))
        bare = (f"ws://{HOST}:{bare_port}", _bare(broker.channel()))
        figures, references = asyncio.run(_in_turns([ours, bare], bench.sizes.rounds, bench.sizes.singles))
    share = busy.share()
    for process in (dispatcher, web, api, deliverer, carrier):
        process.stop()
    note = f"{bench.sizes.singles} messages a round, one at a time; the client used {percent(share)} of one core."
    return [
        row(f"latency ({name})", "ms", of_rounds(figures, at), of_rounds(references, at), target, note, at_most=True)
        for name, (at, target) in _PERCENTILES.items()
    ]


def of_rounds(rounds: list[list[float]], percentile: int) -> list[float]:
    """The percentile of each round."""
    return [quantiles(times, n=100, method="inclusive")[percentile - 1] for times in rounds]


Way = tuple[str, Callable[[], None]]
"""Where the frames come, and what sends a message."""


async def _in_turns(ways: list[Way], rounds: int, number: int) -> list[list[list[float]]]:
    """Milliseconds, of each way and round."""
    found: list[list[list[float]]] = [[] for _ in ways]
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(address, proxy=None)) for address, _ in ways]
        for messages in [_WARM, *[number] * rounds]:
            for times, client, (_, send) in zip(found, clients, ways, strict=True):
                times.append([await milliseconds(client, send) for _ in range(messages)])
    return [times[1:] for times in found]


async def milliseconds(client: ClientConnection, send: Callable[[], None]) -> float:
    """From the call of send to the next message, then a little rest."""
    started = time.monotonic()
    await asyncio.to_thread(send)
    while MESSAGE not in str(await asyncio.wait_for(client.recv(), _LIMIT)):
        pass
    taken = time.monotonic() - started
    await asyncio.sleep(_PAUSE)
    return taken * 1000


def _body(receiver: str) -> dict[str, Any]:
    content = {"title": "Hello", "body": "Spray on"}
    return {"to": {"receivers": [receiver]}, "channels": [realtime.CHANNEL], "content": content}


def post(requests: http.client.HTTPConnection, key: str, receiver: str) -> None:
    """Send a message by the API."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    requests.request("POST", "/api/v1/messages", json.dumps(_body(receiver)), headers)
    answer = requests.getresponse()
    answer.read()
    if answer.status != 202:
        raise RuntimeError(f"the API answered {answer.status}")


def _bare(channel: BlockingChannel) -> Callable[[], None]:
    collection = Message._get_collection().with_options(write_concern=DURABLE)
    text = realtime.frame(realtime.outgoing())
    persistent = pika.BasicProperties(delivery_mode=2)
    channel.confirm_delivery()

    def send() -> None:
        collection.insert_one(
            {"_id": new_id("msg"), "tenant": TENANT, "mode": "live", "status": "settled", **_body(_RECEIVER)}
        )
        channel.basic_publish("", QUEUE, text.encode(), persistent, mandatory=True)

    return send
