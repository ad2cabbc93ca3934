"""Which claimed deliveries may be tried now: those that no newer message replaces and whose breaker is closed, as fast
as the tenant's provider allows.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from messaging import breaker, collapsing, outcomes, provider_limits
from messaging.breaker import Circuit, Permit, Watch
from messaging.channels.base import Recipient
from messaging.collapsing import Question
from messaging.jobs import Behind, Deliver
from messaging.outcomes import Context
from messaging.provider_limits import Rate
from messaging.recorder import Entry
from sprayer_project import metrics

BREAKER_OPEN, PACED = "breaker_open", "paced"

Places = list[tuple[int, Recipient]]
"""Deliveries, each with the index of its job."""
Waiting = dict[tuple[int, str, str, float], list[Recipient]]
"""By the index of their job, why, behind which host's breaker, and for how many seconds."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """ready: by index of the job, whom to try; held: what is recorded of the others; watch wants each outcome."""

    ready: Mapping[int, Sequence[Recipient]]
    held: Sequence[Entry]
    watch: Watch


def circuits_of(contexts: Sequence[Context], places: Iterable[tuple[int, Recipient]]) -> dict[str, Circuit]:
    """The breakers of deliveries, by their ids; each place has the index of its context."""
    return {
        recipient.delivery: circuit
        for index, recipient in places
        if (circuit := _circuit(contexts[index], recipient)) is not None
    }


async def admit(
    contexts: Sequence[Context],
    jobs: Sequence[Deliver],
    claimed: Mapping[int, Sequence[Recipient]],
    known: Mapping[str, Circuit],
) -> Admitted:
    """claimed is by index of contexts and jobs, known by delivery, with more than these.

    One round trip a tenant, one more for its messages with collapse keys, and for each rate limit and lane. Raises
    errors of a store that is away.
    """
    claimed, held = await _newest(contexts, jobs, claimed)
    circuits = {
        recipient.delivery: known[recipient.delivery]
        for recipients in claimed.values()
        for recipient in recipients
        if recipient.delivery in known
    }
    permits = await breaker.admit(set(circuits.values())) if circuits else {}
    waiting: Waiting = defaultdict(list)
    ready: dict[int, list[Recipient]] = defaultdict(list)
    limited: dict[tuple[str, str, bool], Places] = defaultdict(list)
    probes: set[Circuit] = set()
    next_probes: set[Circuit] = set()
    for index, recipients in claimed.items():
        context, back = contexts[index], jobs[index].due > 0
        rate = (context.config or {}).get("rate_limit")
        for recipient in recipients:
            circuit = circuits.get(recipient.delivery)
            permit = permits[circuit] if circuit else Permit("closed")
            if circuit and permit.state == "half_open" and circuit not in probes:
                probes.add(circuit)
                ready[index].append(recipient)
            elif circuit and permit.state != "closed":
                wait = permit.wait_behind if circuit in next_probes else permit.wait
                next_probes.add(circuit)
                waiting[index, BREAKER_OPEN, circuit.host, wait].append(recipient)
            elif rate:
                limited[context.payload.tenant, rate, back].append((index, recipient))
            else:
                ready[index].append(recipient)
    # Those who come back go first.
    for (tenant, rate, back), places in sorted(limited.items(), key=lambda item: not item[0][2]):
        await _paced(contexts[places[0][0]], tenant, Rate.parse(rate), places, back, ready, waiting)
    held += _held(contexts, jobs, waiting)
    return Admitted(ready, held, Watch(circuits, permits))


def given_up(
    context: Context, job: Deliver, recipients: Sequence[Recipient], known: Mapping[str, Circuit]
) -> list[Entry]:
    """What is recorded of those whose breaker opened before their turn: they come back behind its first probe."""
    waiting: Waiting = defaultdict(list)
    for recipient in recipients:
        host = known[recipient.delivery].host
        waiting[0, BREAKER_OPEN, host, Permit("open", breaker.FIRST_WAIT).wait_behind].append(recipient)
    return _held([context], [job], waiting)


def _held(contexts: Sequence[Context], jobs: Sequence[Deliver], waiting: Waiting) -> list[Entry]:
    entries, now = list[Entry](), time.time()
    for (index, reason, host, wait), recipients in waiting.items():
        behind, before = None, jobs[index].behind
        if reason == BREAKER_OPEN:
            behind = Behind(host, before.since if before and before.host == host else now)
        entries += outcomes.held(contexts[index], recipients, reason, wait, behind)
        metrics.HELD.labels(channel=contexts[index].channel.name, reason=reason).inc(len(recipients))
    return entries


async def _newest(
    contexts: Sequence[Context], jobs: Sequence[Deliver], claimed: Mapping[int, Sequence[Recipient]]
) -> tuple[Mapping[int, Sequence[Recipient]], list[Entry]]:
    """Those whom no newer message with the same collapse key replaces, and what is recorded of the others."""
    asked: dict[str, dict[int, Question]] = defaultdict(dict)
    for index, recipients in claimed.items():
        context = contexts[index]
        if recipients and context.payload.collapse_key is not None:
            asked[context.payload.tenant][index] = _question(context, jobs[index].group, recipients)
    gone: dict[int, frozenset[str]] = {}
    for tenant, questions in asked.items():
        answers = await collapsing.replaced(tenant, list(questions.values()))
        gone |= dict(zip(questions, answers, strict=True))
    if not any(gone.values()):
        return claimed, []
    left, entries = dict(claimed), list[Entry]()
    for index, names in gone.items():
        left[index] = [recipient for recipient in claimed[index] if recipient.receiver not in names]
        replaced = (recipient for recipient in claimed[index] if recipient.receiver in names)
        entries += [outcomes.replaced(contexts[index], recipient) for recipient in replaced]
    return left, entries


def _question(context: Context, group: str | None, recipients: Sequence[Recipient]) -> Question:
    payload = context.payload
    return Question(
        mode=payload.mode,
        key=str(payload.collapse_key),
        channel=context.channel.name,
        group=group,
        starts=payload.starts,
        expires=payload.expires,
        receivers=list(dict.fromkeys(recipient.receiver for recipient in recipients)),
    )


def _circuit(context: Context, recipient: Recipient) -> Circuit | None:
    """Its breaker; none for test messages: whoever sends to a sandbox address that fails wants to see that."""
    host = context.channel.host_of(recipient)
    if host is None or context.config is None or context.payload.mode == "test":
        return None
    return Circuit(context.payload.tenant, context.channel.name, host)


async def _paced(
    context: Context,
    tenant: str,
    rate: Rate,
    places: Places,
    back: bool,
    ready: dict[int, list[Recipient]],
    waiting: Waiting,
) -> None:
    """Those who find a token are ready; the others wait for their turn, each turn of a job as one."""
    taken = await provider_limits.take(tenant, context.channel.name, context.lane, rate, len(places), back)
    for index, recipient in places[: taken.count]:
        ready[index].append(recipient)
    for wait, turn in provider_limits.turns(places[taken.count :], rate, taken.wait):
        for index, recipient in turn:
            waiting[index, PACED, "", wait].append(recipient)
