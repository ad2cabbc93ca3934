"""A dispatcher that expands a large group holds a page of it at a time."""

import threading
from collections.abc import Callable

import pytest

from benchmarks import seeding
from messaging import selectors
from messaging.services import accept
from sprayer_project import amqp, redis
from subscriptions.services import ensure_index, put_receiver
from tests.conftest import TenantUnderTest
from tests.live import LiveProcess, LiveSystem, wait_for
from tests.soak import either

pytestmark = pytest.mark.services

MEMBERS = either(20_000, 1_000_000)
LIMIT = either(120, 1800)
MOST = 50 * 1024 * 1024
"""Bytes above what the process has while it is idle."""
GROUP = "everybody"


class Watch(threading.Thread):
    """The most memory that a process has while it is watched."""

    def __init__(self, process: LiveProcess) -> None:
        super().__init__(daemon=True)
        self._process, self._over = process, threading.Event()
        self.most = 0

    def run(self) -> None:
        while not self._over.wait(0.02):
            self.most = max(self.most, self._process.resident)

    def end(self) -> int:
        self._over.set()
        self.join()
        return self.most


def test_a_dispatcher_stays_small_while_it_delivers_to_a_large_group(
    live_system: LiveSystem, acme: TenantUnderTest, tell: Callable[[str], None]
) -> None:
    ensure_index("acme")
    seeding.group("acme", GROUP, MEMBERS, "websocket", None, recorded=False)
    put_receiver("acme", "warm")
    (dispatcher,) = live_system.start("dispatcher")
    say(["warm"])
    wait_for(lambda: inboxes() == 1, what="the first delivery")
    idle, watch = dispatcher.resident, Watch(dispatcher)
    watch.start()
    message = say([], [GROUP])
    wait_for(lambda: selectors.record("acme", "live", message)["status"] == "routed", LIMIT, "the end of routing")
    wait_for(lambda: amqp.depth(amqp.job_queue("websocket", "bulk")) == 0, LIMIT, "the last job")
    wait_for(lambda: inboxes() == MEMBERS + 1, LIMIT, "every inbox")
    grown = watch.end() - idle
    tell(f"{MEMBERS:,} members: {grown / 2**20:.1f} MiB above {idle / 2**20:.0f} MiB")
    assert grown < MOST


def say(receivers: list[str], groups: list[str] | None = None) -> str:
    to = {"receivers": receivers} | ({"groups": groups} if groups else {})
    body = {"to": to, "channels": ["websocket"], "content": {"title": "Hello"}}
    return accept("acme", "live", body).id


def inboxes() -> int:
    """How many inboxes have a message."""
    return sum(1 for _ in redis.client("acme").scan_iter(match="*:inbox:*:meta", count=5000))
