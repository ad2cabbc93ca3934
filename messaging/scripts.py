"""Redis scripts: the files of messaging/lua."""

import asyncio
from collections.abc import Iterable, Sequence
from functools import cache
from hashlib import sha1
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from redis.exceptions import NoScriptError

from sprayer_project import redis

_SHORT, _LONG_ONES = 20, 2
_long_ones: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[int, asyncio.Semaphore]] = WeakKeyDictionary()


async def run(tenant: str, name: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
    """Run one of them on the tenant's shard; what it returns. Raises redis errors.

    Of those with many keys two a shard are under way, so that Redis has the next and whoever else asks waits for two at
    most.
    """
    if len(keys) <= _SHORT:
        return await _run(tenant, name, keys, arguments)
    shards = _long_ones.setdefault(asyncio.get_running_loop(), {})
    async with shards.setdefault(redis.shard_of(tenant), asyncio.Semaphore(_LONG_ONES)):
        return await _run(tenant, name, keys, arguments)


async def run_all(tenant: str, name: str, calls: Iterable[tuple[Sequence[str], Sequence[Any]]]) -> list[Any]:
    """Run one of them once for each keys and arguments, in this order: Redis works on one while the next is packed."""
    under_way = [run(tenant, name, keys, arguments) for keys, arguments in calls]
    answers = await asyncio.gather(*under_way, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return answers


async def _run(tenant: str, name: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
    text, digest = _script(name)
    client: Any = redis.aclient(tenant)
    try:
        return await client.evalsha(digest, len(keys), *keys, *arguments)
    except NoScriptError:
        return await client.eval(text, len(keys), *keys, *arguments)


@cache
def _script(name: str) -> tuple[str, str]:
    text = (Path(__file__).parent / "lua" / f"{name}.lua").read_text()
    return text, sha1(text.encode(), usedforsecurity=False).hexdigest()
