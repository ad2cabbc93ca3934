"""What Prometheus reads. With PROMETHEUS_MULTIPROC_DIR a web process answers for all that share that folder.

Labels never hold a tenant, a receiver or an address: their number would have no bound.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

ACCEPTED = Counter("sprayer_accepted_messages", "Messages answered with 202.", ["mode"])
DISPATCH_SECONDS = Histogram(
    "sprayer_dispatch_seconds",
    "From the acceptance of a message to the outcome of an attempt, seconds.",
    ["channel"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600),
)
OUTCOMES = Counter("sprayer_outcomes", "Outcomes of attempts.", ["channel", "status"])
BREAKERS = Counter("sprayer_breaker_changes", "Breakers that became open, half_open or closed.", ["channel", "state"])
HELD = Counter("sprayer_held_deliveries", "Deliveries that wait without an attempt.", ["channel", "reason"])
CREDENTIALS_REFUSED = Counter(
    "sprayer_credentials_refused", "Times that a provider began to refuse a tenant's credentials.", ["channel"]
)
WEBHOOK_EVENTS = Counter(
    "sprayer_webhook_events",
    "Events of feedback webhooks: delivered, failed (an attempt that is repeated), dropped (never delivered).",
    ["outcome"],
)
WEBHOOK_LAG = Gauge(
    "sprayer_webhook_lag_seconds",
    "Age of the newest event when it was put into a batch for a feedback webhook, seconds.",
    multiprocess_mode="livemax",
)
CONNECTIONS = Gauge("sprayer_connections", "Open realtime connections.", ["transport"], multiprocess_mode="livesum")

Depth = Callable[[str], int | None]


@dataclass(frozen=True, slots=True)
class Reading:
    """A gauge that is read when somebody asks, whichever process answers."""

    name: str
    help: str
    value: float


def exposition(queues: Iterable[str], depth: Depth, readings: Iterable[Reading]) -> bytes:
    """Everything, as Prometheus text. depth answers a queue's length now, None while the broker is away."""
    now = CollectorRegistry()
    now.register(_Depths(_lengths(queues, depth)))
    now.register(_Readings(list(readings)))
    return generate_latest(_processes()) + generate_latest(now)


class _Depths(Collector):
    def __init__(self, lengths: Mapping[str, int]):
        self.lengths = lengths

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily("sprayer_queue_depth", "Messages ready in a queue.", labels=["queue"])
        for queue, length in self.lengths.items():
            family.add_metric([queue], length)
        yield family


class _Readings(Collector):
    def __init__(self, readings: Iterable[Reading]):
        self.readings = readings

    def collect(self) -> Iterator[Metric]:
        for reading in self.readings:
            yield GaugeMetricFamily(reading.name, reading.help, value=reading.value)


def _lengths(queues: Iterable[str], depth: Depth) -> dict[str, int]:
    """As many as the broker answers: the first silence ends it, so that a scrape waits once, not once a queue."""
    lengths: dict[str, int] = {}
    for queue in queues:
        length = depth(queue)
        if length is None:
            break
        lengths[queue] = length
    return lengths


def _processes() -> CollectorRegistry:
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry
