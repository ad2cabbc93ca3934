"""Which processes hold connections of which receivers: for wake-ups and for presence.

A process renews a lease on every receiver that it holds, seldom, and says every few seconds that it lives. Wake-ups go
to all that hold a lease; present is whom a living process holds, so that a process that was killed takes its receivers
with it in ALIVE seconds.
"""

from collections.abc import Sequence
from typing import Any

from messaging import inbox
from sprayer_project import redis

LEASE = 60.0
"""Seconds for which a process holds a receiver without renewing it."""
ALIVE = 8.0
"""Seconds for which a process lives that says nothing."""
BEAT = 2.5
"""Seconds between two signs of life."""
_PROCESSES = "sprayer:processes"
"""Sorted set of the processes by the time, in ms, until which they live."""


async def hold(tenant: str, receivers: Sequence[str], process: str) -> list[tuple[str, int]]:
    """Register or renew a process as holder of connections; answers (epoch, last offset), ("", 0) for a lost inbox."""
    now = inbox.now()
    keys = [_held_key(tenant, process), *(inbox.stream_key(tenant, receiver) for receiver in receivers)]
    arguments = [process, now, now + int(LEASE * 1000), inbox.keep_until(now), *receivers]
    return [(epoch, int(last)) for epoch, last in await inbox.run_script(tenant, "inbox_hold", keys, arguments)]


async def release(tenant: str, receivers: Sequence[str], process: str) -> None:
    """The process holds no connection of these receivers any more."""
    async with redis.aclient(tenant).pipeline(transaction=False) as pipeline:
        pipeline.srem(_held_key(tenant, process), *receivers)
        for receiver in receivers:
            pipeline.zrem(f"{inbox.stream_key(tenant, receiver)}:holders", process)
        await pipeline.execute()


async def live(shard: int, process: str) -> None:
    """The process lives."""
    now = inbox.now()
    client: Any = redis.ashard(shard)
    async with client.pipeline(transaction=False) as pipeline:
        pipeline.zadd(_PROCESSES, {process: now + int(ALIVE * 1000)})
        pipeline.zremrangebyscore(_PROCESSES, "-inf", now - int(LEASE * 1000))
        await pipeline.execute()


async def die(shard: int, process: str) -> None:
    """The process ends, and nobody is connected to it any more."""
    client: Any = redis.ashard(shard)
    await client.zrem(_PROCESSES, process)


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


def _living(tenant: str) -> list[str]:
    client: Any = redis.client(tenant)
    found: list[str] = client.zrangebyscore(_PROCESSES, f"({inbox.now()}", "+inf")
    return found


def _held_key(tenant: str, process: str) -> str:
    return redis.key(tenant, "held", process)
