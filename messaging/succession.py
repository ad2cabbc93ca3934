"""In which order the jobs of an ordered channel begin: a receiver's, and a group's, one after the other."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog
from redis.exceptions import RedisError

from messaging import incoming, lanes
from messaging.incoming import Decoded
from messaging.order import Order
from sprayer_project import amqp
from sprayer_project.worker import Item

log = structlog.get_logger(__name__)

_LOOK = 0.01

Action = Callable[[Sequence[Decoded]], Awaitable[None]]


class Lane:
    """One lane; it knows nothing of the others."""

    def __init__(self, order: Order) -> None:
        self.order = order

    async def act(self, items: Sequence[Item], decoded: Sequence[Decoded], action: Action) -> None:
        """Act on the decoded items when the jobs before them are done that share a receiver, or group.

        Calls come in the order of the queue. Raises what the action raises.
        """
        await self.order.act(decoded, lambda one: frozenset(incoming.whom(one[1])), action)


class Single(Lane):
    """The single lane, with what the surplus lane behind it wants to know."""

    def __init__(self, consumer: amqp.Consumer) -> None:
        """consumer: of this lane alone."""
        super().__init__(Order())
        self._consumer = consumer
        self._begun = (0, 0)
        self._newest = ""

    async def act(self, items: Sequence[Item], decoded: Sequence[Decoded], action: Action) -> None:
        self._begun = max(self._begun, items[-1].incoming.place)  # a part of a batch may be acted on again
        self._newest = max([self._newest, *(job.message for _, job in decoded)])
        await super().act(items, decoded, action)

    async def has_begun(self, message: str) -> bool:
        """Whether everything accepted before this message has begun here, or is not this process's."""
        if self._newest >= message:
            return True
        ready = await self._consumer.ready()
        received = self._consumer.received
        return ready == 0 and (received is None or received <= self._begun)


class Surplus(Lane):
    """The surplus lane: what is here begins after what was accepted before it and took the single lane."""

    def __init__(self, channel: str, single: Single, stop: asyncio.Event) -> None:
        super().__init__(single.order)
        self._channel, self._single, self._stop = channel, single, stop
        self._entrance = asyncio.Lock()
        self._in_hand: Counter[str] = Counter()
        self._newest: defaultdict[str, str] = defaultdict(str)

    async def act(self, items: Sequence[Item], decoded: Sequence[Decoded], action: Action) -> None:
        """Raises BrokerUnavailable, too, where it is time to stop before the single lane's jobs have begun."""
        tenants = {job.tenant: job.message for _, job in sorted(decoded, key=lambda one: one[1].message)}
        self._in_hand.update(tenants.keys())
        try:
            async with self._entrance:
                while tenants and not await self._single.has_begun(max(tenants.values())):
                    if self._stop.is_set():
                        raise amqp.BrokerUnavailable("It is time to stop.")
                    await asyncio.sleep(_LOOK)
            await super().act(items, decoded, action)
        finally:
            self._in_hand.subtract(tenants.keys())
        for tenant, message in tenants.items():
            self._newest[tenant] = max(self._newest[tenant], message)
            if not self._in_hand[tenant]:
                del self._in_hand[tenant]
                await self._note(tenant, self._newest.pop(tenant))

    async def _note(self, tenant: str, message: str) -> None:
        """Best effort: the tenant's next message takes this lane, too, then, and is noted."""
        try:
            await lanes.done(tenant, self._channel, message)
        except RedisError as error:
            log.warning("a surplus is not noted as done", tenant=tenant, error=type(error).__name__)


def of(channel: str, single: amqp.Consumer, stop: asyncio.Event) -> Mapping[str, Lane]:
    """An ordered channel's in one process, by name; single: the consumer of its single lane."""
    first = Single(single)
    return {"single": first, "surplus": Surplus(channel, first, stop), "bulk": Lane(Order())}
