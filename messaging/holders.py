"""Which processes hold connections of which receivers: for wake-ups and for presence.

A process renews a lease on every receiver that it holds, seldom, and says every few seconds that it lives. Wake-ups go
to all that hold a lease; present is whom a living process holds, so that a process that was killed takes its receivers
with it in ALIVE seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from messaging import inbox, scripts
from sprayer_project import redis

LEASE = 60.0
"""Seconds for which a process holds a receiver without renewing it."""
ALIVE = 8.0
"""Seconds for which a process lives that says nothing."""
BEAT = 2.5
"""Seconds between two signs of life."""
_PROCESSES = "sprayer:processes"
"""Sorted set of the processes by the time, in ms, until which they live."""


@dataclass(frozen=True, slots=True)
class Hold:
    """What a process learns of an inbox when it holds its receiver; epoch is empty where the inbox is lost."""

    epoch: str
    last: int
    first: bool
    """Nobody held the receiver before."""


async def hold(tenant: str, receivers: Sequence[str], process: str) -> list[Hold]:
    """Register or renew a process as holder of connections of these receivers."""
    await _note(tenant, process)
    now = inbox.now()
    arguments = [process, now, now + int(LEASE * 1000), inbox.keep_until(now), *receivers]
    found = await scripts.run(tenant, "inbox_hold", _keys(tenant, receivers, process), arguments)
    return [Hold(epoch, int(last), bool(first)) for epoch, last, first in found]


async def release(tenant: str, receivers: Sequence[str], process: str) -> list[bool]:
    """The process holds no connection of these receivers any more; for each, whether now nobody does."""
    arguments = [process, inbox.now(), *receivers]
    found = await scripts.run(tenant, "inbox_release", _keys(tenant, receivers, process), arguments)
    return [bool(last) for last in found]


async def live(shard: int, process: str) -> None:
    """The process lives."""
    client: Any = redis.ashard(shard)
    await client.zadd(_PROCESSES, {process: inbox.now() + int(ALIVE * 1000)})


async def die(shard: int, process: str) -> bool:
    """The process has ended, and nobody is connected to it any more; whether that was not known yet."""
    client: Any = redis.ashard(shard)
    return bool(await client.zrem(_PROCESSES, process))


async def dead(shard: int) -> list[str]:
    """Processes that have said nothing for too long."""
    client: Any = redis.ashard(shard)
    found: list[str] = await client.zrangebyscore(_PROCESSES, "-inf", inbox.now())
    return found


async def held(shard: int, process: str) -> dict[str, list[str]]:
    """tenant -> the receivers that a process still holds by its leases."""
    client: Any = redis.ashard(shard)
    tenants = await client.smembers(_tenants_key(process))
    return {tenant: sorted(await client.smembers(_held_key(tenant, process))) for tenant in tenants}


def present(tenant: str, receiver: str) -> bool:
    """Whether a receiver is connected to any living process. Raises redis errors."""
    client: Any = redis.client(tenant)
    with client.pipeline(transaction=False) as pipeline:
        for process in _living(tenant):
            pipeline.sismember(_held_key(tenant, process), receiver)
        return any(pipeline.execute())


def holders_of(tenant: str, receiver: str) -> list[str]:
    """The processes to which wake-ups for a receiver go. Raises redis errors."""
    client: Any = redis.client(tenant)
    found: list[str] = client.zrangebyscore(f"{inbox.stream_key(tenant, receiver)}:holders", f"({inbox.now()}", "+inf")
    return found


def all_present(tenant: str) -> set[str]:
    """Every receiver of the tenant that is connected to a living process. Raises redis errors."""
    client: Any = redis.client(tenant)
    with client.pipeline(transaction=False) as pipeline:
        for process in _living(tenant):
            pipeline.smembers(_held_key(tenant, process))
        return set().union(*pipeline.execute())


def present_among(tenant: str, receivers: Sequence[str]) -> list[str]:
    """Those of the receivers that are connected to a living process. Raises redis errors."""
    client: Any = redis.client(tenant)
    with client.pipeline(transaction=False) as pipeline:
        for process in _living(tenant):
            pipeline.smismember(_held_key(tenant, process), receivers)
        found = pipeline.execute()
    return [name for name, *by in zip(receivers, *found, strict=True) if any(by)]


def count(tenant: str) -> int:
    """How many receivers living processes hold; one that two of them hold counts twice. Raises redis errors."""
    client: Any = redis.client(tenant)
    with client.pipeline(transaction=False) as pipeline:
        for process in _living(tenant):
            pipeline.scard(_held_key(tenant, process))
        return sum(pipeline.execute())


async def _note(tenant: str, process: str) -> None:
    """The process holds receivers of the tenant: noted before it holds any, for whoever finds it dead."""
    client: Any = redis.aclient(tenant)
    async with client.pipeline(transaction=False) as pipeline:
        pipeline.sadd(_tenants_key(process), tenant)
        pipeline.expire(_tenants_key(process), int(2 * LEASE))
        await pipeline.execute()


def _living(tenant: str) -> list[str]:
    client: Any = redis.client(tenant)
    found: list[str] = client.zrangebyscore(_PROCESSES, f"({inbox.now()}", "+inf")
    return found


def _held_key(tenant: str, process: str) -> str:
    return redis.key(tenant, "held", process)


def _tenants_key(process: str) -> str:
    return f"sprayer:held:{process}"


def _keys(tenant: str, receivers: Sequence[str], process: str) -> list[str]:
    return [_held_key(tenant, process), *(inbox.stream_key(tenant, receiver) for receiver in receivers)]
