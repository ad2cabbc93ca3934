"""expand: subscribers a second of a group that are resolved to addresses, page by page, as Expand and Deliver jobs do.

Reference: bare pipelines of the same client library that read the same sorted set and the same hashes, page by page.
"""

import time
from collections.abc import Awaitable, Callable
from functools import partial

from benchmarks import realtime, seeding
from benchmarks.system import TENANT, Bench, Busy, percent
from benchmarks.table import Row, row
from sprayer_project import redis
from subscriptions import index, selectors

TARGET = 0.5
_CHANNEL, _GROUP, _PAGE = "http", "subscribers", 500


def run(bench: Bench) -> list[Row]:
    number = bench.sizes.subscribers
    identifier = seeding.group(
        TENANT, _GROUP, number, _CHANNEL, lambda name: f"https://receiver.example/{name}", recorded=False
    ).id
    marker = redis.client(TENANT).get(index.marker_key(TENANT)) or ""
    root = index.base(TENANT) + str(marker).rpartition(":")[2]
    figures, references = list[float](), list[float]()
    shares, bare_shares = list[float](), list[float]()
    for _ in range(bench.sizes.rounds):
        busy = Busy()
        references.append(_a_second(number, partial(_bare, root, f"{root}:g:{identifier}:{_CHANNEL}")))
        bare_shares.append(busy.share() or 0)
        figures.append(_a_second(number, _resolved))
        shares.append(busy.share() or 0)
    note = (
        f"a group of {number:,}, pages of {_PAGE}, one after the other, in the index alone; of one core the reader "
        f"used {percent(max(shares))}, the reader of the reference {percent(max(bare_shares))}."
    )
    return [row("expand", "subscribers/s", figures, references, TARGET, note)]


def _a_second(number: int, read: Callable[[], Awaitable[int]]) -> float:
    async def timed() -> float:
        started = time.monotonic()
        found = await read()
        if found != number:
            raise RuntimeError(f"{found} subscribers of {number}")
        return number / (time.monotonic() - started)

    return realtime.run_alone(timed)


async def _resolved() -> int:
    cursor, found = None, 0
    while True:
        names, cursor = await selectors.expand_page(TENANT, _GROUP, _CHANNEL, cursor, _PAGE)
        places, _ = await selectors.addresses_of(TENANT, _CHANNEL, names, _GROUP)
        found += sum(len(place.addresses) for place in places.values() if place.subscribed)
        if cursor is None:
            return found


async def _bare(root: str, members: str) -> int:
    client, after, found = redis.aclient(TENANT), "-", 0
    while names := await client.zrangebylex(members, after, "+", 0, _PAGE):
        async with client.pipeline(transaction=False) as pipeline:
            for name in names:
                pipeline.hmget(f"{root}:a:{name}", ["", _CHANNEL])
                pipeline.zscore(members, name)
            answers = await pipeline.execute()
        found += sum(values[1] is not None for values in answers[::2])
        after = f"({names[-1]}"
    return found
