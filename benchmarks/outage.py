"""outage: webhooks a second to a host that answers, while many deliveries wait behind the breaker of one that is down.

Reference: the same before the outage. What the waiting ones cost stands in the note. Only when asked for by name.
"""

import time

from benchmarks import seeding
from benchmarks.hosts import BROKEN, GOOD, Hosts
from benchmarks.system import TENANT, Bench, Busy, Dispatcher, percent, wait_for_all
from benchmarks.table import Row, row
from feedback import selectors as feedback
from messaging import services
from tests.live import wait_for

DOWN, UP = "127.0.0.2", "127.0.0.3"
TARGET = round(1 / 1.2, 3)
"""They may take 1.2 times as long."""
_LASTS = 16
"""Times bench.sizes.seconds: a minute, in which every delivery that waits comes back once at least."""
_PAUSE, _LIMIT = 5.0, 600.0
"""Seconds: one feeder writes the events of so many webhooks meanwhile."""


def run(bench: Bench) -> list[Row]:
    waiting, webhooks = bench.sizes.subscribers, bench.sizes.webhooks // 2
    with Hosts({DOWN: BROKEN, UP: GOOD}) as hosts:
        for host, members in ((DOWN, waiting), (UP, webhooks)):
            place = f"http://{host}:{hosts.port}"
            seeding.group(TENANT, host, members, "http", lambda name, place=place: f"{place}/{name}", recorded=False)
        allowed = {"SPRAYER_WEBHOOK_ALLOW_PRIVATE": ",".join(f"{host}:{hosts.port}" for host in hosts.answers)}
        dispatcher = bench.start(Dispatcher(bench.live.folder, "http", allowed))
        (feeder,) = bench.live.start("feeder")
        references = [_webhooks_a_second(hosts, webhooks) for _ in range(bench.sizes.rounds * 3)]
        message = _send(DOWN)
        wait_for(lambda: _deferred(message) >= waiting, _LIMIT, "everybody's wait", pause=_PAUSE)
        figures, probes, busy, recording = list[float](), 0, Busy(dispatcher.pid), Busy(feeder.pid)
        ends = time.monotonic() + _LASTS * bench.sizes.seconds
        while not figures or time.monotonic() < ends:
            figures.append(_webhooks_a_second(hosts, webhooks))
            time.sleep(_PAUSE)
            probes += len(hosts.arrived([DOWN]))
        note = (
            f"{webhooks:,} webhooks at a time while {waiting:,} wait, for {_LASTS * bench.sizes.seconds:.0f} s: the "
            f"slowest {min(figures):,.0f} a second. The host that is down got {probes} requests. Of one core the "
            f"dispatcher used {percent(busy.share() or 0)}, the feeder {percent(recording.share() or 0)}."
        )
        services.cancel(TENANT, "live", message)
        dispatcher.stop()
        feeder.stop()
    return [row("outage", "webhooks/s", figures, references, TARGET, note)]


def _webhooks_a_second(hosts: Hosts, webhooks: int) -> float:
    hosts.start_again()
    started = time.monotonic()
    _send(UP)
    wait_for_all(lambda: len(hosts.arrived([UP])), webhooks, _LIMIT, "webhooks")
    return webhooks / (time.monotonic() - started)


def _send(group: str) -> str:
    body = {"to": {"groups": [group]}, "channels": ["http"], "content": {"title": "Hello", "body": "Spray on"}}
    return services.accept(TENANT, "live", body).id


def _deferred(message: str) -> int:
    totals = feedback.totals_of(TENANT, [message])[message]
    return totals.channels.get("http", {}).get("deferred", 0)
