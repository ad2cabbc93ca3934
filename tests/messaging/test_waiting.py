"""What is handled of the jobs that come back: those whose time has come and whose breaker does not hold them."""

import time
from collections.abc import Iterable
from dataclasses import replace

import pytest

from messaging import breaker, jobs, waiting
from messaging.breaker import Circuit, Permit
from messaging.incoming import Decoded
from messaging.jobs import Behind, Deliver, Expand, Target
from tests.messaging.dispatching import item

DOWN = Circuit("acme", "http", "down.example")
NOW = time.time()


def waits(name: str, till: float = 600, host: str = DOWN.host, others: int = 0) -> Deliver:
    """For a breaker since a minute, and known to the record to wait for `till` seconds from now."""
    targets = (Target(name), *(Target(f"{name}{number}") for number in range(others)))
    behind = Behind(host, NOW - 60, NOW + till)
    return Deliver(
        tenant="acme", message="msg_1", mode="live", channel="http", targets=targets, due=NOW - 1, behind=behind
    )


async def sort(
    monkeypatch: pytest.MonkeyPatch, permit: Permit, *wanted: jobs.Job
) -> tuple[list[jobs.Job], list[Deliver], list[str]]:
    """What is handled, what comes back, and through which exchanges, with this permit for DOWN."""

    async def look(circuits: Iterable[Circuit]) -> dict[Circuit, Permit]:
        return {circuit: permit if circuit == DOWN else Permit("closed") for circuit in circuits}

    monkeypatch.setattr(breaker, "look", look)
    decoded: list[Decoded] = [(item(job), job) for job in wanted if isinstance(job, Deliver | Expand)]
    ready, later = await waiting.due(decoded, "single")
    back = [job for one in later for job in jobs.decode(one.body) if isinstance(job, Deliver)]
    return [job for _, job in ready], back, [one.exchange for one in later]


@pytest.mark.parametrize(
    ("wait", "exchanges"),
    [
        (0.5, ["sprayer.retry.1", "sprayer.retry.5"]),
        (7, ["sprayer.retry.5", "sprayer.retry.5"]),
        (11, ["sprayer.retry.5", "sprayer.retry.15"]),
        (55, ["sprayer.retry.60", "sprayer.retry.60"]),
    ],
)
async def test_what_waits_behind_an_open_breaker_goes_on_as_it_is(
    wait: float, exchanges: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One for the next probe, the other behind it, with few stops."""
    jobs_there = [waits("a"), waits("b", others=3)]
    assert await sort(monkeypatch, Permit("open", wait=wait), *jobs_there) == ([], jobs_there, exchanges)


async def test_of_what_waits_for_a_probe_one_goes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    page = waits("a", others=2)
    ready, back, _ = await sort(monkeypatch, Permit("half_open", wait=2), page, waits("b"))
    assert ready == [replace(page, targets=page.targets[:1])]
    assert [job.targets for job in back] == [page.targets[1:], (Target("b"),)]


async def test_what_nothing_holds_is_handled(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh, elsewhere = replace(waits("a"), due=0, behind=None), waits("b", host="up.example", others=3)
    group = Expand(tenant="acme", message="msg_2", mode="live", channel="http", group="news")
    wanted = [fresh, elsewhere, group]
    ready, back, _ = await sort(monkeypatch, Permit("open", wait=7), *wanted)
    assert sorted(map(repr, ready)) == sorted(map(repr, wanted))
    assert not back


@pytest.mark.parametrize("permit", [Permit("open", wait=60), Permit("half_open", wait=2), Permit("closed")])
async def test_what_the_record_must_know_more_of_is_handled(permit: Permit, monkeypatch: pytest.MonkeyPatch) -> None:
    late = waits("a", till=1, others=3)
    assert await sort(monkeypatch, permit, late) == ([late], [], [])


async def test_what_comes_before_its_time_waits_for_the_rest_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    early = replace(waits("a"), due=time.time() + 20)
    ready, back, exchanges = await sort(monkeypatch, Permit("closed"), early)
    assert (ready, back, exchanges) == ([], [early], ["sprayer.retry.15"])
