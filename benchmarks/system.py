"""What benchmarks run on: servers and processes of this run's own, and one tenant."""

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pika
from django.conf import settings
from pika.exceptions import ChannelClosedByBroker

from deploy.local.servers import HOST
from messaging import channels
from sprayer_project import amqp, signatures
from tenants.models import User
from tenants.services import create_api_key, create_tenant, set_channel_config
from tests.live import LiveProcess, LiveSystem, WsgiServer, wait_for

TENANT = "bench"
ENVIRONMENT = {"SPRAYER_RATE_LIMIT": "100000000/minute"}
"""A tenant's rate limit is not what is measured: every request is counted against it, and none is refused."""


@dataclass(frozen=True, slots=True)
class Sizes:
    rounds: int = 3
    seconds: float = 4.0
    """How long each round of `accept` lasts."""
    receivers: int = 20_000
    subscribers: int = 100_000
    groups: tuple[int, ...] = (1_000, 10_000, 100_000)
    """Of `growth`."""
    events: int = 4_000
    deliveries: int = 1_000_000
    """Of `totals`."""
    webhooks: int = 10_000
    """Of slow-hosts."""
    pushes: int = 12_000
    inboxes: int = 100_000
    connected: int = 3_000
    broadcasts: int = 20
    """Messages to all who are connected."""
    idle: int = 10_000
    """Connections."""
    singles: int = 200
    """Messages of `latency`."""


@dataclass(frozen=True, slots=True)
class Bench:
    live: LiveSystem
    sizes: Sizes
    key: str
    """A live API key of TENANT, which has the channel http."""

    @property
    def sink(self) -> str:
        """The URL that counts requests at the sandbox."""
        return f"http://{HOST}:{os.environ['SPRAYER_SANDBOX_PORT']}/http/count"

    def start(self, process: LiveProcess) -> LiveProcess:
        """Start a process that ends with the run."""
        self.live.processes.append(process)
        process.launch()
        process.wait_ready()
        return process


def prepare(live: LiveSystem, sizes: Sizes) -> Bench:
    """Make the tenant. The databases are there and empty."""
    tenant, _ = create_tenant(TENANT, "Benchmarks", "bench@example.com")
    owner = User.objects.get(email="bench@example.com")
    set_channel_config(tenant, "http", {"secret": signatures.new_secret()}, enabled=True, by=owner)
    scopes = ["messages:send", "messages:read"]
    _, key = create_api_key(tenant, mode="live", scopes=scopes, expires_at=None, name="bench", by=owner)
    return Bench(live, sizes, key)


class Dispatcher(LiveProcess):
    """One dispatcher of one channel alone."""

    def __init__(self, folder: Path, channel: str, env: Mapping[str, str] | None = None) -> None:
        super().__init__(f"dispatcher-{channel}", ["run_dispatcher", "--channel", channel], folder, env or {}, None)


class Api(WsgiServer):
    """The REST API of a tenant that is not limited."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, ENVIRONMENT)


class Busy:
    """What share of one core a process used since the last look: of another one by pid, of this one without."""

    def __init__(self, pid: int | None = None):
        self._pid = pid
        self._seconds, self._at = self._used(), time.monotonic()

    def share(self) -> float | None:
        """None where the system does not tell."""
        since = self._at
        used = self.seconds()
        return None if used is None else used / max(self._at - since, 1e-6)

    def seconds(self) -> float | None:
        """The CPU time itself; None where the system does not tell."""
        before = self._seconds
        self._seconds, self._at = self._used(), time.monotonic()
        return None if before is None or self._seconds is None else self._seconds - before

    def _used(self) -> float | None:
        if self._pid is None:
            return time.process_time()
        try:
            fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def empty_queues() -> None:
    """What an earlier benchmark left to do is not what the next one measures."""
    queues = [amqp.job_queue(name, lane) for name in channels.registry() for lane in amqp.LANES]
    with pika.BlockingConnection(pika.URLParameters(settings.AMQP_URL)) as broker:
        for queue in [*queues, amqp.RECORD_QUEUE]:
            channel = broker.channel()
            with contextlib.suppress(ChannelClosedByBroker):  # nobody has declared it yet
                channel.queue_purge(queue)


def wait_for_all(arrived: Callable[[], int], expected: int, limit: float, what: str) -> None:
    """Rare looks at first, since each is work for the sink, and many towards the end, whose moment counts."""
    wait_for(lambda: arrived() >= expected * 0.9, limit, f"{expected} {what}")
    wait_for(lambda: arrived() >= expected, limit, f"{expected} {what}", pause=0.005)


def percent(share: float | None) -> str:
    return "an unknown share" if share is None else f"{share:.0%}"
