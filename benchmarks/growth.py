"""growth: what a member of a group costs, as the group grows tenfold and tenfold again. Only when asked for by name.

Figure: members a second of one dispatcher, from the acceptance of the message to its last webhook at the sink.
Reference: the same for a group of a tenth, with ten messages at once: a rate that does not fall is linear time.
"""

import time
from itertools import pairwise

from benchmarks import seeding
from benchmarks.dispatch_http import counted, start_again
from benchmarks.system import TENANT, Bench, Busy, Dispatcher, percent, wait_for_all
from benchmarks.table import Row, row
from messaging import services

TARGET = 0.9
"""A tenth is what rounds differ by anyhow."""
_LIMIT = 600.0


def run(bench: Bench) -> list[Row]:
    sizes = bench.sizes.groups
    for size in sizes:
        seeding.group(TENANT, _name(size), size, "http", lambda name: f"{bench.sink}?to={name}", recorded=False)
    (sandbox,) = bench.live.start("sandbox")
    dispatcher, busy = bench.start(Dispatcher(bench.live.folder, "http")), Busy(sandbox.pid)
    figures: dict[int, list[float]] = {size: [] for size in sizes[1:]}
    references: dict[int, list[float]] = {size: [] for size in sizes[1:]}
    shares = []
    for _ in range(bench.sizes.rounds):
        for smaller, size in pairwise(sizes):
            busy.share()
            references[size].append(_members_a_second(bench.sink, smaller, size // smaller))
            figures[size].append(_members_a_second(bench.sink, size, 1))
            shares.append(busy.share() or 0)
    dispatcher.stop()
    sandbox.stop()
    note = f"of one core the sink used {percent(max(shares))}."
    return [
        row(
            f"growth ({size:,})",
            "members/s",
            figures[size],
            references[size],
            TARGET,
            f"one message to {size:,} beside {size // smaller} to {smaller:,}; {note}",
        )
        for smaller, size in pairwise(sizes)
    ]


def _members_a_second(sink: str, size: int, messages: int) -> float:
    start_again(sink)
    started = time.monotonic()
    body = {"to": {"groups": [_name(size)]}, "channels": ["http"], "content": {"title": "Hello", "body": "Spray on"}}
    for _ in range(messages):
        services.accept(TENANT, "live", body)
    wait_for_all(lambda: counted(sink), size * messages, _LIMIT, "webhooks")
    return size * messages / (time.monotonic() - started)


def _name(size: int) -> str:
    return f"growth-{size}"
