"""The dispatcher: jobs of one channel's lane become attempts, attempts become recorded outcomes."""

import asyncio
import json
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

from django.conf import settings

from feedback import selectors as feedback
from feedback.events import DeliveryEvent, Status
from messaging import admission, attempts, claims, incoming, jobs, outcomes, routing, succession, waiting
from messaging.breaker import Circuit, Watch
from messaging.channels.base import Channel, Outcome, Recipient
from messaging.jobs import Deliver, Expand
from messaging.order import Order
from messaging.outcomes import Context
from messaging.payloads import Payload
from messaging.precedence import Precedence
from messaging.recorder import Entry, Recorder, all_recorded, is_final
from messaging.resolving import resolve
from messaging.stragglers import Stragglers
from sprayer_project import amqp, metrics, worker
from sprayer_project.worker import Item
from tenants import selectors as tenants
from tenants.selectors import ChannelSettings

_MOST = 100
"""Jobs that are handled together: several may have come as one."""
_PROCESS = f"{os.getpid()}-{os.urandom(4).hex()}"


@dataclass(frozen=True, slots=True)
class Work:
    """One Deliver job in hand."""

    job: Deliver
    payload: Payload
    token: str


def _parts(decoded: Sequence[incoming.Decoded]) -> list[Sequence[incoming.Decoded]]:
    return [decoded[start : start + _MOST] for start in range(0, len(decoded), _MOST)]


class Dispatcher:
    """Handles the items of one channel and lane."""

    def __init__(
        self,
        channel: Channel,
        lane: str,
        recorder: Recorder,
        precedence: Precedence,
        stop: asyncio.Event,
        *,
        slots: int,
        prefetch: int,
        succession: succession.Lane | None = None,
    ) -> None:
        """slots: batches handled side by side; prefetch: jobs in hand; an ordered channel has a succession."""
        self._channel, self._lane, self._recorder, self._stop = channel, lane, recorder, stop
        self._turn = precedence.turns(lane)
        self._succession = succession
        self._stragglers = Stragglers(slots, prefetch)

    async def handle(self, items: Sequence[Item]) -> None:
        """A worker's handler. Returns when every outcome is recorded; raises a store's error when it is time to stop.

        On an ordered channel a job that a store's absence stops keeps its turn.
        """

        async def handle(part: Sequence[incoming.Decoded]) -> None:
            await worker.through_outages(partial(self._handle, part), self._stop)

        async def in_turn(decoded: Sequence[incoming.Decoded]) -> None:
            for part in _parts(decoded):
                await handle(part)

        decoded, apart = incoming.decode(items, self._channel.name)
        await amqp.apublish(apart)
        if self._succession:
            await self._succession.act(items, decoded, in_turn)
        else:
            await worker.together([handle(part) for part in _parts(decoded)])

    async def _handle(self, decoded: Sequence[incoming.Decoded]) -> None:
        work = []
        due, later = await waiting.due(decoded, self._lane)
        await amqp.apublish(jobs.together(later))
        for item, job, payload in await incoming.with_payloads(due):
            if isinstance(job, Expand):
                await routing.expand(job, payload)
            else:
                work.append(Work(job, payload, f"{_PROCESS}-{item.incoming.link}-{item.incoming.tag}"))
        if work:
            await self._deliver(work)

    async def aclose(self) -> None:
        """Wait for calls that outlived their jobs."""
        await self._stragglers.aclose()

    async def _deliver(self, work: Sequence[Work]) -> None:
        await self._turn()
        resolutions = await resolve(self._channel, [(one.job, one.payload) for one in work])
        await self._turn()
        contexts = await self._contexts(work)
        recorded: set[asyncio.Future[None]] = set()
        wanted: dict[str, list[tuple[int, Recipient]]] = defaultdict(list)
        for index, (one, resolution) in enumerate(zip(work, resolutions, strict=True)):
            for recipient, status, reason in await self._still_open(one, resolution.ended):
                recorded.add(self._recorder.record(outcomes.unsent(contexts[index], recipient, status, reason)))
            done = await self._already_done(one, resolution.recipients)
            wanted[one.job.tenant] += [(index, item) for item in resolution.recipients if item.delivery not in done]
        circuits = admission.circuits_of(contexts, chain.from_iterable(wanted.values()))
        if self._stragglers.some:
            await self._put_off(work, wanted, circuits)
        mine: dict[int, list[Recipient]] = defaultdict(list)
        for tenant, asked in wanted.items():
            for index, recipient in await self._claimed(tenant, work, asked, recorded):
                mine[index].append(recipient)
        await self._turn()
        admitted = await admission.admit(contexts, [one.job for one in work], mine, circuits)
        recorded |= {self._recorder.record(entry) for entry in admitted.held}
        ready = {
            index: {recipient.delivery: recipient for recipient in recipients}
            for index, recipients in admitted.ready.items()
        }
        task = asyncio.create_task(self._finish(work, contexts, ready, recorded, admitted.watch, circuits))

        async def hand_over() -> None:
            again = [
                outcomes.again(work[index].job, [*left.values()], self._lane, settings.CLAIM_LEASE)
                for index, left in ready.items()
                if left
            ]
            await all_recorded(recorded)
            await amqp.apublish(jobs.together(again))

        def left() -> Counter[Circuit | None]:
            return Counter(circuits.get(delivery) for open_ones in ready.values() for delivery in open_ones)

        if self._channel.ordered:
            await task
        else:
            await self._stragglers.settle(task, len(work), left, hand_over)

    async def _put_off(
        self, work: Sequence[Work], wanted: dict[str, list[tuple[int, Recipient]]], circuits: Mapping[str, Circuit]
    ) -> None:
        """Take those out whose hosts are stalled: they wait for their turn in jobs of their own."""
        later = []
        for tenant, asked in wanted.items():
            waits = [self._stragglers.wait(circuits.get(item.delivery)) for _, item in asked]
            stalled: dict[int, list[Recipient]] = defaultdict(list)
            for (index, recipient), wait in zip(asked, waits, strict=True):
                if wait:
                    stalled[index].append(recipient)
            later += [
                outcomes.again(work[index].job, some, self._lane, max(waits), at_least=False)
                for index, some in stalled.items()
            ]
            metrics.HELD.labels(channel=self._channel.name, reason="host_stalled").inc(sum(map(len, stalled.values())))
            wanted[tenant] = [place for place, wait in zip(asked, waits, strict=True) if not wait]
        await amqp.apublish(jobs.together(later))

    async def _finish(
        self,
        work: Sequence[Work],
        contexts: Sequence[Context],
        ready: Mapping[int, dict[str, Recipient]],
        recorded: set[asyncio.Future[None]],
        watch: Watch,
        circuits: Mapping[str, Circuit],
    ) -> None:
        """Try everybody and record it; who has an outcome leaves `ready`, by index of the job and by delivery."""
        order = Order()

        async def send(context: Context, job: Deliver, open_ones: dict[str, Recipient]) -> None:
            tenant, ordered = context.payload.tenant, self._channel.ordered

            def note(recipient: Recipient, outcome: Outcome) -> None:
                watch.saw(outcome)
                self._stragglers.heard(circuits.get(outcome.delivery))
                recorded.add(self._recorder.record(outcomes.entry(context, recipient, outcome)))

            def hold(recipients: list[Recipient]) -> None:
                entries = admission.given_up(context, job, recipients, circuits)
                recorded.update(map(self._recorder.record, entries))

            async def attempt() -> None:
                await attempts.attempt(context, open_ones, watch.given_up, note, hold, self._turn)

            async with order.of({(tenant, one.receiver) for one in open_ones.values()} if ordered else ()):
                await worker.through_outages(attempt, self._stop)

        sends = (send(contexts[index], work[index].job, ready[index]) for index in sorted(ready))
        results = await asyncio.gather(*sends, return_exceptions=True)
        await watch.aclose()
        await all_recorded(recorded)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _contexts(self, work: Sequence[Work]) -> list[Context]:
        """One a job; a tenant without credentials on the channel, or with the channel off, has no config."""
        known: dict[tuple[str, str], tuple[Mapping[str, Any] | None, ChannelSettings | None]] = {}
        for one in work:
            key = (one.payload.tenant, one.payload.mode)
            if key not in known:
                known[key] = await self._config(*key)
        return [
            Context(self._channel, one.payload, config, self._lane, stored)
            for one in work
            for config, stored in [known[one.payload.tenant, one.payload.mode]]
        ]

    async def _config(self, tenant: str, mode: str) -> tuple[Mapping[str, Any] | None, ChannelSettings | None]:
        if mode == "test":
            return self._channel.sandbox_config(tenant), None
        found = await tenants.achannel_config(tenant, self._channel.name)
        if found is None:
            return (None if self._channel.Config.base_fields else {}), None
        return (found.values if found.enabled else None), found

    async def _claimed(
        self,
        tenant: str,
        work: Sequence[Work],
        asked: Sequence[tuple[int, Recipient]],
        recorded: set[asyncio.Future[None]],
    ) -> list[tuple[int, Recipient]]:
        """Those that may be sent now, of (index into work, recipient)."""
        wanted = [
            claims.Wanted(item.delivery, item.round, item.attempt, work[index].token, work[index].job.due)
            for index, item in asked
        ]
        mine, again = [], []
        for (index, recipient), claim in zip(asked, await claims.claim(tenant, wanted), strict=True):
            if claim.state == "mine":
                mine.append((index, recipient))
            elif claim.state == "busy":
                again.append(outcomes.again(work[index].job, [recipient], self._lane, claim.wait))
            elif claim.state == "event":
                event = DeliveryEvent.from_json(json.loads(claim.event))
                recorded.add(self._recorder.record(Entry(event=event)))
        await amqp.apublish(jobs.together(again))
        return mine

    async def _still_open(
        self, one: Work, ended: Sequence[tuple[Recipient, Status, str]]
    ) -> Sequence[tuple[Recipient, Status, str]]:
        """Who ends here. A job that comes back may name deliveries that were done since it was put aside."""
        if not one.job.due or not ended:
            return ended
        done = await claims.done(one.job.tenant, [(recipient.delivery, recipient.round) for recipient, *_ in ended])
        return [item for item in ended if item[0].delivery not in done]

    async def _already_done(self, one: Work, recipients: Sequence[Recipient]) -> frozenset[str]:
        """Deliveries that the record knows as done in this round, asked only where Redis may have lost the marks."""
        if not one.payload.suspect or not recipients:
            return frozenset()
        ids = [recipient.delivery for recipient in recipients]
        rows = await worker.in_thread(feedback.states, one.job.tenant, ids)
        return frozenset(
            identifier
            for identifier, row in rows.items()
            if row.round > one.job.round
            or (is_final(row.status) and row.round == one.job.round)
            or row.status in (Status.DELIVERED, Status.READ)
        )
