"""SIGKILL, as a crash would come: what was accepted arrives, whichever process dies while much is under way."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from feedback import selectors as feedback
from feedback.events import Status
from tests.conftest import TenantUnderTest
from tests.live import LiveSystem, wait_for
from tests.resilience import sink
from tests.resilience.load import Load, Submission

MESSAGES, CLIENTS = 1_200, 16
OPEN_AT_THE_KILL = 100
PREFETCH = 100 + 8
"""What one dispatcher has in hand of one channel at most: of the single lane and of the bulk lane."""
QUICK = {"SPRAYER_SWEEP_AGE": "2.5", "SPRAYER_SWEEP_INTERVAL": "0.3", "SPRAYER_CLAIM_LEASE": "12"}
PROCESSES = ("sandbox", "web", "dispatcher", "feeder", "sweeper")


KILLS = (("web",), ("dispatcher",), ("feeder",), ("sweeper",), ("dispatcher", "feeder"))


@pytest.mark.services
def test_every_accepted_message_arrives_and_settles_although_every_process_is_killed_in_turn(
    live_system: LiveSystem, acme: TenantUnderTest, globex: TenantUnderTest, tell: Callable[[str], None]
) -> None:
    for tenant in (acme, globex):
        sink.prepare(tenant.slug, "slow", receivers=10)
    live_system.start(*PROCESSES, env=QUICK)
    left_open = []
    load = Load(_submissions(live_system, acme, globex), CLIENTS, limit=180)
    load.allowed = 0
    with load:
        for victims in KILLS:
            sink.switch(slow=3)
            wait_for(lambda: _goes_on(load) and _open(load) >= OPEN_AT_THE_KILL * 1.2, 60, "open deliveries")
            assert _goes_on(load)
            for name in victims:
                live_system[name].kill()
            left_open.append(_open(load))
            for name in victims:
                live_system[name].launch()
            sink.switch(slow=0.02)
            for name in victims:
                live_system[name].wait_ready()
        load.allowed = MESSAGES
        load.finish()
    wait_for(lambda: _delivered() == MESSAGES, 60, "the last outcome in the record")
    accepted = list(load.accepted.values())
    arrived = [identifier for tenant in (acme, globex) for identifier in sink.arrived(tenant.slug)]
    duplicates = len(arrived) - len(set(arrived))
    tell(f"open at the kills {left_open}, {load.repeats} repeats, {duplicates} duplicates")

    assert min(left_open) >= OPEN_AT_THE_KILL
    assert len(set(accepted)) == MESSAGES
    assert set(arrived) == set(accepted)
    assert duplicates <= PREFETCH * sum("dispatcher" in victims for victims in KILLS)
    for tenant in (acme, globex):
        for row in _listed(live_system, tenant):
            assert row["status"] == "settled", row
            assert row["totals"]["channels"] == {"http": {"delivered": 1}}


def _submissions(live_system: LiveSystem, *tenants: TenantUnderTest) -> list[Submission]:
    """Half of the messages for each of two tenants: the sandbox keeps 1,000 arrivals of one."""
    url = str(live_system["web"].url)
    return [
        Submission(url, tenant.headers(), f"{tenant.slug}-{number}", _body(number))
        for number in range(MESSAGES // len(tenants))
        for tenant in tenants
    ]


def _body(number: int) -> dict[str, Any]:
    return {"to": {"receivers": [f"r{number % 10}"]}, "channels": ["http"], "content": {"title": f"Order {number}"}}


def _goes_on(load: Load) -> bool:
    """Let some more be sent, as far as there is more: a kill interrupts them."""
    load.allowed = len(load.accepted) + 50
    return load.allowed < MESSAGES


def _open(load: Load) -> int:
    return len(load.accepted) - _delivered()


def _delivered() -> int:
    return feedback.rows().count_documents({"state.status": Status.DELIVERED.value})


def _listed(live_system: LiveSystem, tenant: TenantUnderTest) -> Iterator[dict[str, Any]]:
    """Every message of a tenant as the API shows it."""
    cursor = ""
    with httpx.Client(base_url=str(live_system["web"].url), headers=tenant.headers(), timeout=30) as http:
        while True:
            page = http.get(f"/api/v1/messages?limit=200&cursor={cursor}").raise_for_status().json()
            yield from page["data"]
            cursor = page["next_cursor"]
            if not cursor:
                return
