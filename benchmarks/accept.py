"""accept: durable 202s a second of POST /api/v1/messages with one receiver.

Reference: the same number of threads making the same durable writes without HTTP, validation or idempotency: insert
the message's document with a journalled majority write, publish its job and wait for the confirm.
"""

import asyncio
import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from benchmarks import http_load
from benchmarks.system import ENVIRONMENT, TENANT, Api, Bench, Busy, percent
from benchmarks.table import Row, row
from messaging import routing
from messaging.documents import Message
from sprayer_project import amqp
from sprayer_project.ids import new_id
from sprayer_project.mongo import DURABLE
from subscriptions.services import ensure_index, put_receiver
from tests.live import LiveProcess

CLIENTS = 16
FLOOR = 0.4
_UNIT = "202/s"
BODY = {
    "to": {"receivers": ["alice"]},
    "channels": ["websocket"],
    "content": {"title": "Hello", "body": "Spray on"},
}


def run(bench: Bench) -> list[Row]:
    ensure_index(TENANT)
    put_receiver(TENANT, "alice")
    (daphne,) = bench.live.start("web", env=ENVIRONMENT)
    servers: dict[str, LiveProcess] = {"granian": bench.start(Api(bench.live.folder)), "daphne": daphne}
    figures: dict[str, list[float]] = {name: [] for name in servers}
    references: list[float] = []
    shares: list[float] = []
    for server in servers.values():
        _accepted_a_second(bench, server, min(1.0, bench.sizes.seconds))
    # The newest: other benchmarks of the same run store messages of other shapes.
    sample = Message._get_collection().find_one({"tenant": TENANT}, sort=[("_id", -1)])
    for _ in range(bench.sizes.rounds):
        references.append(_writes_a_second(sample, bench.sizes.seconds))
        for name, server in servers.items():
            busy = Busy()
            figures[name].append(_accepted_a_second(bench, server, bench.sizes.seconds))
            shares.append(busy.share() or 0)
    for server in servers.values():
        server.stop()
    note = f"{CLIENTS} clients; the load generator used {percent(max(shares))} of one core at most."
    workers = f"granian, {Api.WORKERS} workers of {Api.THREADS} threads, {note}"
    return [
        row("accept", _UNIT, figures["granian"], references, FLOOR, workers),
        row("accept (daphne)", _UNIT, figures["daphne"], references, None, f"Daphne, one process, {note}"),
    ]


def _accepted_a_second(bench: Bench, server: LiveProcess, seconds: float) -> float:
    place = urlsplit(server.url or "")
    prepared = request("/api/v1/messages", place.netloc, bench.key, json.dumps(BODY).encode())
    load = asyncio.run(http_load.run(str(place.hostname), int(place.port or 0), prepared, CLIENTS, seconds))
    if not set(load.answers) <= {b"202", b"503"} or load.closed:
        raise RuntimeError(f"not everything was accepted: {load}")
    # A 503 is honest when a server stalls for seconds on a busy machine; it is no acceptance.
    return load.answers.get(b"202", 0) / load.seconds


def request(path: str, host: str, key: str, body: bytes) -> bytes:
    """A POST as it goes over the wire."""
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", f"Authorization: Bearer {key}"]
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def _writes_a_second(sample: Mapping[str, Any], seconds: float) -> float:
    """What each 202 stands for, and nothing else."""
    collection = Message._get_collection().with_options(write_concern=DURABLE)
    started = time.monotonic()

    def client(number: int) -> int:
        written = 0
        while time.monotonic() < started + seconds:
            record = {**sample, "_id": new_id("msg"), "status": "accepted"}
            collection.insert_one(record)
            amqp.publish(routing.first_step(record))
            written += 1
        return written

    with ThreadPoolExecutor(CLIENTS) as threads:
        written = sum(threads.map(client, range(CLIENTS)))
    return written / (time.monotonic() - started)
