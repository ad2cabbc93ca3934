"""accept-batch: messages a second through POST /api/v1/messages/batch, with one receiver each.

Reference: the same durable writes in bulk, by as many threads: one insert of a batch's documents with a journalled
majority write, and one publication of its jobs, confirmed.
"""

import asyncio
import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks import http_load, realtime
from benchmarks.accept import BODY, request
from benchmarks.system import TENANT, Api, Bench, Busy, percent
from benchmarks.table import Row, row
from messaging import routing
from messaging.documents import Message
from sprayer_project import amqp
from sprayer_project.ids import new_id
from sprayer_project.mongo import DURABLE
from subscriptions.services import ensure_index, put_receiver
from tests.live import LiveProcess

CLIENTS, BATCH, TARGET = 4, 100, 0.5


def run(bench: Bench) -> list[Row]:
    ensure_index(TENANT)
    put_receiver(TENANT, "alice")
    server = bench.start(Api(bench.live.folder))
    figures, references, shares = list[float](), list[float](), list[float]()
    _accepted_a_second(bench, server, min(1.0, bench.sizes.seconds))
    sample = Message._get_collection().find_one({"tenant": TENANT})
    for _ in range(bench.sizes.rounds):
        references.append(_writes_a_second(sample, bench.sizes.seconds))
        busy = Busy()
        figures.append(_accepted_a_second(bench, server, bench.sizes.seconds))
        shares.append(busy.share() or 0)
    server.stop()
    note = (
        f"batches of {BATCH}, {CLIENTS} clients, granian with {Api.WORKERS} workers; the load generator used "
        f"{percent(max(shares))} of one core at most."
    )
    return [row("accept-batch", "messages/s", figures, references, TARGET, note)]


def _accepted_a_second(bench: Bench, server: LiveProcess, seconds: float) -> float:
    """A batch is answered 200, with a status for each message: they are counted in the record."""
    host, port = realtime.place(server)
    prepared = request("/api/v1/messages/batch", host, bench.key, json.dumps({"messages": [BODY] * BATCH}).encode())
    collection = Message._get_collection()
    before = collection.count_documents({"tenant": TENANT})
    load = asyncio.run(http_load.run(host, port, prepared, CLIENTS, seconds))
    if set(load.answers) != {b"200"} or load.closed:
        raise RuntimeError(f"not everything was accepted: {load}")
    written: int = collection.count_documents({"tenant": TENANT}) - before
    return written / load.seconds


def _writes_a_second(sample: Mapping[str, Any], seconds: float) -> float:
    """What each batch stands for, and nothing else."""
    collection = Message._get_collection().with_options(write_concern=DURABLE)
    started = time.monotonic()

    def client(number: int) -> int:
        written = 0
        while time.monotonic() < started + seconds:
            records = [{**sample, "_id": new_id("msg"), "status": "accepted"} for _ in range(BATCH)]
            collection.insert_many(records)
            amqp.publish([publication for record in records for publication in routing.first_step(record)])
            written += BATCH
        return written

    with ThreadPoolExecutor(CLIENTS) as threads:
        written = sum(threads.map(client, range(CLIENTS)))
    return written / (time.monotonic() - started)
