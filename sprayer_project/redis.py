"""One lazy Redis client a shard and process, sync and asyncio; key names; tenant -> shard."""

import asyncio
import hashlib
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import redis
import redis.asyncio
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

TIMEOUT = 1.0
_OPTIONS: dict[str, Any] = {
    "decode_responses": True,
    "socket_timeout": 5.0,
    "socket_connect_timeout": TIMEOUT,
    "health_check_interval": 30,
    "retry": Retry(NoBackoff(), 1),
}

Client = redis.Redis
AsyncClient = redis.asyncio.Redis


def key(tenant: str, *parts: str, bucket: int = 0) -> str:
    """`{tenant:bucket}:part:part`: all keys of a tenant's bucket live in one Redis Cluster slot.

    Parts that a tenant chose are length-prefixed where they could hold a colon, so that no two names collide.
    """
    return f"{{{tenant}:{bucket}}}:" + ":".join(part if _plain(part) else f"{len(part)}!{part}" for part in parts)


def shard_of(tenant: str) -> int:
    """Index into SPRAYER_REDIS_URLS; a tenant keeps its shard as long as the list keeps its length."""
    return int.from_bytes(hashlib.blake2b(tenant.encode(), digest_size=4).digest()) % len(settings.REDIS_URLS)


def client(tenant: str) -> Client:
    """The shard of a tenant, for threads."""
    return shard(shard_of(tenant))


@cache
def shard(index: int) -> Client:
    return redis.Redis.from_url(settings.REDIS_URLS[index], **_OPTIONS)


_async_shards: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[int, AsyncClient]] = WeakKeyDictionary()


def aclient(tenant: str) -> AsyncClient:
    """The shard of a tenant, for the running event loop."""
    return ashard(shard_of(tenant))


def ashard(index: int) -> AsyncClient:
    shards = _async_shards.setdefault(asyncio.get_running_loop(), {})
    if index not in shards:
        retry = redis.asyncio.retry.Retry(NoBackoff(), 1)
        shards[index] = redis.asyncio.Redis.from_url(settings.REDIS_URLS[index], **(_OPTIONS | {"retry": retry}))
    return shards[index]


async def aclose() -> None:
    """Close the running event loop's clients."""
    for client in _async_shards.pop(asyncio.get_running_loop(), {}).values():
        await client.aclose()


def _plain(part: str) -> bool:
    return part.isascii() and all(character not in part for character in ":!{}")
