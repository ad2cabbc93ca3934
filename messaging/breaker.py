"""A circuit breaker per tenant, channel and host, its state in the tenant's Redis: every dispatcher knows it.

closed      everything is tried; FAILURES failures of the infrastructure in a row open it
open        nothing is tried, until the wait is over: 1 s, then twice as long after each probe that fails, at most 60 s
half-open   one delivery is tried, the probe: it closes the breaker, or opens it again
A probe holds a lease: when its process dies, another delivery is the next probe.

https://learn.microsoft.com/en-us/azure/architecture/patterns/circuit-breaker
"""

import asyncio
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast
from weakref import WeakSet

import structlog
from redis.exceptions import RedisError

from feedback.events import Status
from messaging import scripts
from messaging.channels.base import Outcome, Recipient
from sprayer_project import metrics, redis
from sprayer_project.errors import STORE_ERRORS

log = structlog.get_logger(__name__)

FAILURES = 5
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds."""
PROBE_LEASE = 60.0
"""Seconds; longer than any call may take."""
PROBE_PATIENCE = 2.0
"""Seconds after which the others look again whether the probe has closed it."""
_FORGET = 3600
INFRASTRUCTURE = frozenset(
    {"provider_unavailable", "endpoint_unavailable", "timeout", "bad_answer", "no_such_host", "tls_failed"}
    | {"connection_failed", "connection_lost"}
)
"""Reasons that say nothing about the message or the address."""


class Circuit(NamedTuple):
    """What a breaker is for; host is empty where a channel has one provider for all."""

    tenant: str
    channel: str
    host: str


@dataclass(frozen=True, slots=True)
class Permit:
    """state is closed (try all), half_open (try one, the probe) or open (try none for `wait` seconds)."""

    state: str
    wait: float = 0.0
    clean: bool = True
    """No failure is counted: a success needs no report."""
    probe: str = ""
    """The probe's token."""

    @property
    def wait_behind(self) -> float:
        """Seconds for those who come back behind the next probe: it has shown something, or it fails and they wait."""
        return self.wait if self.state == "half_open" else min(self.wait + PROBE_PATIENCE, LONGEST_WAIT)


def is_working(outcome: Outcome) -> bool | None:
    """Whether an outcome shows that the host works, or that it does not; None: it shows neither."""
    if outcome.status in (Status.SENT, Status.DELIVERED):
        return True
    if outcome.status is Status.DEFERRED and outcome.reason in INFRASTRUCTURE:
        return False
    # An answer without a provider's word in it is our own: the request never left.
    return True if outcome.detail and outcome.status in (Status.FAILED, Status.DEFERRED) else None


async def admit(circuits: Iterable[Circuit]) -> dict[Circuit, Permit]:
    """What may be tried now, in one round trip a tenant. Raises redis errors of a server that is away."""
    token = os.urandom(8).hex()
    permits = await _permits(circuits, token)
    for circuit, permit in permits.items():
        if permit.probe:
            metrics.BREAKERS.labels(channel=circuit.channel, state=permit.state).inc()
    return permits


async def look(circuits: Iterable[Circuit]) -> dict[Circuit, Permit]:
    """What admit would answer: a half-open one still has its probe to give. Raises what admit raises."""
    return await _permits(circuits, "")


async def _permits(circuits: Iterable[Circuit], token: str) -> dict[Circuit, Permit]:
    """token: the probes'; without one, none is taken."""
    by_tenant: dict[str, list[Circuit]] = defaultdict(list)
    for circuit in circuits:
        by_tenant[circuit.tenant].append(circuit)
    permits: dict[Circuit, Permit] = {}
    for tenant, asked in by_tenant.items():
        times = [str(int(seconds * 1000)) for seconds in (PROBE_LEASE, PROBE_PATIENCE)]
        answers = await _run(tenant, "breaker_admit", asked, [token, *times, str(_FORGET)])
        for circuit, (state, number) in zip(asked, answers or [("closed", 0)] * len(asked), strict=True):
            permits[circuit] = {
                "closed": Permit("closed", clean=number == 0),
                "half_open": Permit("half_open", wait=PROBE_PATIENCE, clean=False, probe=token),
                "open": Permit("open", wait=number / 1000),
            }[state]
    return permits


@dataclass(slots=True)
class _Seen:
    """What is not yet reported of a circuit: whether it worked, and how often it then failed."""

    good: bool = False
    bad: int = 0


def opened(tenant: str, most: int = 20) -> list[Circuit]:
    """The circuits of a tenant that are not closed, the newest trouble first. Raises redis errors."""
    with redis.hurried(redis.shard_of(tenant)) as client:
        listed = cast(list[str], client.zrevrange(_listed(tenant), 0, most - 1))
        pipeline = client.pipeline(transaction=False)
        for key in listed:
            pipeline.hexists(key, "level")
        keys = [key for key, is_open in zip(listed, pipeline.execute(), strict=True) if is_open]
    prefix = redis.key(tenant, "breaker")
    circuits = []
    for key in keys:
        channel, _, host = key.removeprefix(f"{prefix}:").partition(":")
        circuits.append(Circuit(tenant, channel, host.partition("!")[2] or host))
    return circuits


class Watch:
    """Reports outcomes of admitted deliveries to their breakers as they come, in as few round trips as there can be.

    Of a host that works nothing is reported. When a breaker opens, all that watch here give it up.
    """

    def __init__(self, circuits: Mapping[str, Circuit], permits: Mapping[Circuit, Permit]):
        """circuits are those of the deliveries' ids."""
        self._circuits, self._permits = circuits, permits
        self._dirty = {circuit for circuit, permit in permits.items() if not permit.clean}
        self._probes = {circuit: permit.probe for circuit, permit in permits.items() if permit.probe}
        self._seen: dict[Circuit, _Seen] = {}
        self._open: set[Circuit] = set()
        self._task: asyncio.Task[None] | None = None
        _watching.add(self)

    def give_up(self, circuit: Circuit) -> None:
        self._open.add(circuit)

    def given_up(self, recipient: Recipient) -> bool:
        """Whether the breaker of an admitted delivery has opened since: it is not to be tried any more."""
        return bool(self._open) and self._circuits.get(recipient.delivery) in self._open

    def saw(self, outcome: Outcome) -> None:
        circuit, working = self._circuits.get(outcome.delivery), is_working(outcome)
        if circuit is None or working is None or (working and circuit not in self._dirty):
            return
        self._dirty.add(circuit)
        seen = self._seen.setdefault(circuit, _Seen())
        seen.good, seen.bad = (True, 0) if working else (seen.good, seen.bad + 1)
        if seen.bad == FAILURES:
            _opens(circuit)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._flush())

    async def aclose(self) -> None:
        """Report the rest. A probe that showed nothing is given back."""
        if self._task is not None:
            await self._task
        if self._probes:
            self._seen = {circuit: _Seen() for circuit in self._probes}
            await self._flush()

    async def _flush(self) -> None:
        while self._seen:
            seen, self._seen = self._seen, {}
            by_tenant: dict[str, list[Circuit]] = defaultdict(list)
            for circuit in seen:
                by_tenant[circuit.tenant].append(circuit)
            for tenant, circuits in by_tenant.items():
                await self._report(tenant, circuits, seen)

    async def _report(self, tenant: str, circuits: Sequence[Circuit], seen: Mapping[Circuit, _Seen]) -> None:
        arguments = [str(FAILURES), *(str(int(wait * 1000)) for wait in (FIRST_WAIT, LONGEST_WAIT)), str(_FORGET)]
        for circuit in circuits:
            arguments += ["1" if seen[circuit].good else "0", str(seen[circuit].bad), self._probes.pop(circuit, "")]
        try:
            answers = await _run(tenant, "breaker_report", circuits, arguments, [_listed(tenant)])
        except STORE_ERRORS as error:
            # The outcomes themselves wait for Redis, and the next failures are counted.
            log.warning("breaker not told", tenant=tenant, error=type(error).__name__)
            return
        for circuit, state in zip(circuits, answers, strict=False):
            if state in ("open", "is_open"):
                _opens(circuit)
            if state in ("open", "closed"):
                metrics.BREAKERS.labels(channel=circuit.channel, state=state).inc()
                log.warning("breaker", tenant=tenant, channel=circuit.channel, host=circuit.host, state=state)


_watching: WeakSet[Watch] = WeakSet()
"""Those of this process."""


def _opens(circuit: Circuit) -> None:
    for watch in _watching:
        watch.give_up(circuit)


def _listed(tenant: str) -> str:
    """The keys of circuits that opened, by when they last did."""
    return redis.key(tenant, "breakers")


async def _run(
    tenant: str, name: str, circuits: Sequence[Circuit], arguments: Sequence[str], more: Sequence[str] = ()
) -> list[Any]:
    """A script's answers; none where Redis is there and refuses: then nothing is held back."""
    keys = [redis.key(tenant, "breaker", circuit.channel, circuit.host) for circuit in circuits]
    keys += more
    try:
        return list(await scripts.run(tenant, name, keys, arguments))
    except STORE_ERRORS:
        raise
    except RedisError as error:
        log.warning("breaker not asked", tenant=tenant, error=str(error)[:200])
        return []
