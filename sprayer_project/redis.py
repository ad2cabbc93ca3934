"""Lazy Redis clients, sync and asyncio, one a shard and process; key names; tenant -> shard."""

import asyncio
import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, cast
from weakref import WeakKeyDictionary

import redis
import redis.asyncio
from django.conf import settings
from redis.backoff import NoBackoff
from redis.connection import HiredisRespSerializer
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeout
from redis.retry import Retry

TIMEOUT = 1.0
HURRY = 0.8
"""Seconds that a request which can do without Redis waits for it."""
PAUSE = 1.0
"""Seconds for which it is then not asked again."""
_INCARNATION = "sprayer:incarnation"
_OPTIONS: dict[str, Any] = {
    "decode_responses": True,
    "socket_timeout": 5.0,
    "socket_connect_timeout": TIMEOUT,
    "health_check_interval": 30,
    "retry": Retry(NoBackoff(), 1),
}

_special = re.compile(r"[:!{}]|[^\x00-\x7f]")

Client = redis.Redis
AsyncClient = redis.asyncio.Redis


def key(tenant: str, *parts: str, bucket: int = 0) -> str:
    """`{tenant:bucket}:part:part`: all keys of a tenant's bucket live in one Redis Cluster slot.

    Parts that a tenant chose are length-prefixed where they could hold a colon, so that no two names collide.
    """
    return f"{{{tenant}:{bucket}}}:" + ":".join(map(part_of_key, parts))


def part_of_key(text: str) -> str:
    """One part, as key() joins it."""
    return text if _special.search(text) is None else f"{len(text)}!{text}"


def shard_of(tenant: str) -> int:
    """Index into SPRAYER_REDIS_URLS; a tenant keeps its shard as long as the list keeps its length."""
    return int.from_bytes(hashlib.blake2b(tenant.encode(), digest_size=4).digest()) % len(settings.REDIS_URLS)


def remove_tenant(tenant: str) -> int:
    """Remove every key of a tenant; how many. It looks at all keys of the shard. Raises redis errors."""
    removed = 0
    found: list[str] = []
    for name in client(tenant).scan_iter(match=f"*{{{tenant}:*", count=1000):
        found.append(name)
        if len(found) >= 500:
            removed += cast(int, client(tenant).unlink(*found))
            found.clear()
    return removed + (cast(int, client(tenant).unlink(*found)) if found else 0)


def client(tenant: str) -> Client:
    """The shard of a tenant, for threads."""
    return shard(shard_of(tenant))


@cache
def shard(index: int) -> Client:
    return redis.Redis.from_url(settings.REDIS_URLS[index], **_OPTIONS)


@contextmanager
def hurried(index: int) -> Iterator[Client]:
    """A shard for requests that go on without Redis: none waits long, and after one waited in vain nobody does.

    Raises redis errors.
    """
    if _away_until.get(index, 0) > time.monotonic():
        raise RedisConnectionError("Redis did not answer a moment ago.")
    try:
        yield _hurried_shard(index)
    except (RedisConnectionError, RedisTimeout):
        _away_until[index] = time.monotonic() + PAUSE
        raise


_away_until: dict[int, float] = {}


@cache
def _hurried_shard(index: int) -> Client:
    # Another try helps against a connection that is gone, not against a server that is silent.
    retry = Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,))
    impatient = {"socket_timeout": HURRY, "socket_connect_timeout": HURRY, "retry": retry}
    return redis.Redis.from_url(settings.REDIS_URLS[index], **(_OPTIONS | impatient))


def incarnation(index: int) -> str:
    """Names all that a shard remembers now: "<run_id>:<token>". Another one later means that something may be lost.

    The run_id tells of a restart, the token, which lies in the server, of emptying. Raises redis errors.
    """
    client = shard(index)
    run_id = cast(dict[str, Any], client.info("server"))["run_id"]
    return f"{run_id}:{_token(client.set(_INCARNATION, token := _new_token(), nx=True, get=True), token)}"


async def atoken(tenant: str) -> str:
    """The second half of the incarnation of a tenant's shard. Raises redis errors."""
    token = _new_token()
    return _token(await aclient(tenant).set(_INCARNATION, token, nx=True, get=True), token)


def _token(known: Any, proposed: str) -> str:
    return str(known or proposed)


def _new_token() -> str:
    return os.urandom(8).hex()


class _Packing:
    """redis-py has hiredis pack commands for threads alone; for asyncio it packs them in Python, seven times slower.

    A page of claims is a command of a thousand arguments and more.
    """

    _serializer = HiredisRespSerializer()

    def pack_command(self, *args: Any) -> list[bytes]:
        packed: list[bytes] = self._serializer.pack(*args)
        return packed


_async_shards: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[int, AsyncClient]] = WeakKeyDictionary()


def aclient(tenant: str) -> AsyncClient:
    """The shard of a tenant, for the running event loop."""
    return ashard(shard_of(tenant))


def ashard(index: int) -> AsyncClient:
    shards = _async_shards.setdefault(asyncio.get_running_loop(), {})
    if index not in shards:
        options = _OPTIONS | {"retry": redis.asyncio.retry.Retry(NoBackoff(), 1)}
        pool: Any = redis.asyncio.ConnectionPool.from_url(settings.REDIS_URLS[index], **options)
        pool.connection_class = type("Connection", (_Packing, pool.connection_class), {})
        shards[index] = redis.asyncio.Redis.from_pool(pool)
    return shards[index]


async def aclose() -> None:
    """Close the running event loop's clients."""
    for client in _async_shards.pop(asyncio.get_running_loop(), {}).values():
        await client.aclose()
