"""Which jobs of a batch are to be handled now: those whose time has come, and whose breaker is not open any more.

An outage of a provider puts hundreds of thousands of deliveries aside. Each time that they come back while the breaker
is still open, their jobs go on to the retry queues as they are: nothing is looked up, claimed or recorded for them,
until the record has to say more.
"""

import time
from collections.abc import Sequence
from dataclasses import replace

from messaging import breaker, outcomes
from messaging.admission import BREAKER_OPEN
from messaging.breaker import Circuit
from messaging.incoming import Decoded
from messaging.jobs import Behind, Deliver
from sprayer_project import amqp, metrics
from sprayer_project.worker import Item

_EARLY = 0.1
"""Seconds by which a job may come before its time."""
_REST = 5.0
"""Seconds that those behind the next probe rest at least: each time that they come is work."""

Sorted = tuple[list[Decoded], list[amqp.Publication]]
"""What is to be handled now, and what brings the others back."""


async def due(decoded: Sequence[Decoded], lane: str) -> Sorted:
    """Raises redis errors of a server that is away."""
    now, ready, later = time.time(), list[Decoded](), list[amqp.Publication]()
    behind: list[tuple[Item, Deliver, Behind]] = []
    for item, job in decoded:
        if not isinstance(job, Deliver):
            ready.append((item, job))
        elif job.due - now > _EARLY:
            later.append(outcomes.later(job, lane, job.due - now))
        elif job.behind:
            behind.append((item, job, job.behind))
        else:
            ready.append((item, job))
    if behind:
        through, back = await _through_breakers(behind, lane, now)
        return ready + through, later + back
    return ready, later


async def _through_breakers(jobs: Sequence[tuple[Item, Deliver, Behind]], lane: str, now: float) -> Sorted:
    """Of those that wait for a probe, one target is to be handled; the others wait for what it shows."""
    circuits = [Circuit(job.tenant, job.channel, behind.host) for _, job, behind in jobs]
    permits = await breaker.look(set(circuits))
    through, back, first = list[Decoded](), list[amqp.Publication](), set[Circuit]()
    for (item, job, behind), circuit in zip(jobs, circuits, strict=True):
        permit, rest = permits[circuit], job.targets
        wait = max(permit.wait_behind, _REST) if circuit in first else permit.wait
        if permit.state == "closed" or now + wait * outcomes.LATE > behind.till:
            through.append((item, job))
            continue
        if permit.state == "half_open" and circuit not in first:
            through.append((item, replace(job, targets=job.targets[:1])))
            rest = job.targets[1:]
        first.add(circuit)
        if rest:
            metrics.HELD.labels(channel=job.channel, reason=BREAKER_OPEN).inc(len(rest))
            back.append(outcomes.later(replace(job, targets=rest), lane, wait))
    return through, back
