"""dispatch-http: webhooks a second of one dispatcher process, for one message to a group.

Reference: a bare asyncio loop with aiohttp that sends the same signed requests to the same sink.
"""

import asyncio
import json
import time
import urllib.request
from datetime import UTC, datetime
from itertools import count

import aiohttp

from benchmarks import seeding
from benchmarks.system import TENANT, Bench, Busy, Dispatcher, percent, wait_for_all
from benchmarks.table import Row, row
from messaging import services
from sprayer_project import outbound, signatures

TARGET = 0.6
_LIMIT = 120.0


def run(bench: Bench) -> list[Row]:
    receivers = bench.sizes.receivers
    seeding.group(TENANT, "everybody", receivers, "http", lambda name: f"{bench.sink}?to={name}")
    (sandbox,) = bench.live.start("sandbox")
    dispatcher = bench.start(Dispatcher(bench.live.folder, "http"))
    sink = Busy(sandbox.pid)
    figures, references, shares, sink_shares = [], [], [], []
    for _ in range(bench.sizes.rounds):
        references.append(asyncio.run(_sent_a_second(bench.sink, receivers)))
        sink.share()
        busy = Busy(dispatcher.pid)
        figures.append(_dispatched_a_second(bench.sink, receivers))
        shares.append(busy.share() or 0)
        sink_shares.append(sink.share() or 0)
    dispatcher.stop()
    sandbox.stop()
    note = (
        f"a group of {receivers:,} receivers, from its acceptance to the last request at the sink; of one core the "
        f"dispatcher used {percent(max(shares))}, the sink {percent(max(sink_shares))}."
    )
    return [row("dispatch-http", "webhooks/s", figures, references, TARGET, note)]


def _dispatched_a_second(sink: str, receivers: int) -> float:
    start_again(sink)
    started = time.monotonic()
    body = {"to": {"groups": ["everybody"]}, "channels": ["http"], "content": {"title": "Hello", "body": "Spray on"}}
    services.accept(TENANT, "live", body)
    wait_for_all(lambda: counted(sink), receivers, _LIMIT, "webhooks")
    return receivers / (time.monotonic() - started)


async def _sent_a_second(sink: str, receivers: int) -> float:
    """As many requests at once as the dispatcher has to one host."""
    secret, numbers = signatures.new_secret(), count()
    connector = aiohttp.TCPConnector(limit=0)
    start_again(sink)
    started = time.monotonic()

    async def client(session: aiohttp.ClientSession) -> None:
        while (number := next(numbers)) < receivers:
            body = _body(number)
            headers = {"Content-Type": "application/json", **signatures.sign([secret], f"dlv_{number:042}", body)}
            async with session.post(f"{sink}?to=everybody-{number:06}", data=body, headers=headers) as response:
                await response.read()
                response.raise_for_status()

    async with aiohttp.ClientSession(connector=connector) as session:
        await asyncio.gather(*(client(session) for _ in range(outbound.PER_HOST)))
    return receivers / (time.monotonic() - started)


def _body(number: int) -> bytes:
    """What a webhook of the figure holds, at the same length."""
    content = {"id": f"msg_{'0' * 26}", "content": {"title": "Hello", "body": "Spray on"}}
    names = {"delivery": f"dlv_{number:042}", "receiver": f"everybody-{number:06}", "group": "everybody"}
    data = {**content, "attributes": {}, "metadata": {}, **names}
    body = {"type": "message", "timestamp": datetime.now(UTC).isoformat(), "data": data}
    return json.dumps(body, separators=(",", ":")).encode()


def counted(sink: str) -> int:
    with urllib.request.urlopen(sink, timeout=10) as response:
        return int(json.load(response)["count"])


def start_again(sink: str) -> None:
    urllib.request.urlopen(urllib.request.Request(sink, method="DELETE"), timeout=10).close()
