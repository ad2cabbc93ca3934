"""MongoDB away for a while under load: refused at once, queued jobs go on, nothing is lost, the lag drains."""

import re
import time
from collections.abc import Callable

import httpx
import pytest

from deploy.local.stack import Stack
from feedback import selectors as feedback
from feedback.events import Status
from tests.conftest import TenantUnderTest
from tests.live import LiveSystem, wait_for
from tests.resilience import sink
from tests.soak import either

pytestmark = pytest.mark.services

OUTAGE = either(4, 60)
"""Seconds."""
QUEUED = either(40, 400)
PAUSE = 0.2
PROCESSES = ("sandbox", "web", "dispatcher", "feeder", "sweeper")
QUICK = {"SPRAYER_SWEEP_AGE": "2.5", "SPRAYER_SWEEP_INTERVAL": "0.3"}


def test_without_mongodb_posts_are_refused_while_queued_jobs_go_on_and_the_lag_drains_afterwards(
    live_system: LiveSystem, acme: TenantUnderTest, stack: Stack, tell: Callable[[str], None]
) -> None:
    (name,) = sink.prepare(acme.slug, "ok")
    live_system.start(*PROCESSES, env=QUICK)
    http = httpx.Client(base_url=str(live_system["web"].url), headers=acme.headers(), timeout=30)

    def post() -> httpx.Response:
        body = {"to": {"receivers": [name]}, "channels": ["http"], "content": {"title": "Hello"}}
        return http.post("/api/v1/messages", json=body)

    def lag() -> float:
        found = re.search(r"^sprayer_feeder_lag_seconds (\S+)", http.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else -1

    first = post().json()["id"]
    wait_for(lambda: _delivered(acme, first), 20, "the first delivery")
    live_system["dispatcher"].stop()
    queued = [post().json()["id"] for _ in range(QUEUED)]
    stack.mongo.stop()
    down = time.monotonic()
    live_system["dispatcher"].launch()
    refused: list[tuple[httpx.Response, float]] = []
    while time.monotonic() - down < OUTAGE:
        began = time.monotonic()
        refused.append((post(), time.monotonic() - began))
        time.sleep(PAUSE)
    wait_for(lambda: set(sink.arrived(acme.slug)) >= set(queued), 30, "what was queued at the sink")
    seen = wait_for(lambda: (found := lag()) >= OUTAGE / 2 and found, 30, "the lag in /metrics")
    stack.mongo.start()
    up = time.monotonic()
    wait_for(lambda: lag() == 0 and all(_delivered(acme, one) for one in queued), 60, "the end of the lag")
    wait_for(lambda: post().status_code == 202, 10, "acceptance")
    again = post().json()["id"]
    tell(
        f"{len(refused)} refused, lag {seen:.1f} s at most seen, drained {time.monotonic() - up:.1f} s after its return"
    )

    assert refused
    for answer, seconds in refused:
        assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
        assert seconds < 2
    assert len(sink.arrived(acme.slug)) == len(set(sink.arrived(acme.slug)))
    wait_for(lambda: _delivered(acme, again), 30, "the delivery afterwards")
    http.close()


def _delivered(tenant: TenantUnderTest, message: str) -> int:
    return feedback.totals(tenant.slug, message).channels.get("http", {}).get(Status.DELIVERED, 0)
