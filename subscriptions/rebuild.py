"""Making a tenant's index again from the record while everything else goes on.

A new generation is filled page by page; every change that happens meanwhile goes to it too (index.apply), and the
version of an entry decides which of the two is kept. Then one step makes it the valid one and the others are deleted.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

import structlog

from sprayer_project import redis
from sprayer_project.errors import StoreUnavailable
from subscriptions import index, record, scripts

log = structlog.get_logger(__name__)

LEASE = 30.0
"""Seconds after which another process may start over when a rebuild shows no progress."""
WAIT = 60.0
"""Seconds that a reader waits for somebody else's rebuild."""
_PAUSE = 0.05


class _Lost(Exception):
    """Somebody else holds the lease now."""


def ensure_index(tenant: str, wait: float = WAIT) -> None:
    """Return once the index is valid, building it where nobody else does.

    Raises StoreUnavailable when another process is still building after `wait` seconds, and the store errors.
    """
    deadline = time.monotonic() + wait
    while not index.is_valid(tenant):
        if _attempt(tenant, lambda: not index.is_valid(tenant)) is not None:
            continue
        if time.monotonic() > deadline:
            raise StoreUnavailable("Redis", "The subscriptions of this tenant are being indexed: repeat the request.")
        time.sleep(_PAUSE)


def rebuild(tenant: str, progress: Callable[[int], None] | None = None, wait: float = WAIT) -> int:
    """Build the index anew, also when it is valid. Returns how many receivers it holds.

    progress is called with the number of receivers written so far. Raises as ensure_index does.
    """
    deadline = time.monotonic() + wait
    while (written := _attempt(tenant, lambda: True, progress)) is None:
        if time.monotonic() > deadline:
            raise StoreUnavailable("Redis", "Another process is indexing this tenant's subscriptions.")
        time.sleep(_PAUSE)
    return written


def _attempt(tenant: str, wanted: Callable[[], bool], progress: Callable[[int], None] | None = None) -> int | None:
    """One try: how many receivers were written, None when somebody else is at it or took over."""
    with suppress(_Lost, index.NotBuilding), _lease(tenant) as renew:
        return _build(tenant, renew, progress) if wanted() else 0
    return None


def _build(tenant: str, renew: Callable[[], None], progress: Callable[[int], None] | None) -> int:
    client, started = redis.client(tenant), time.monotonic()
    generation, written = f"{time.time_ns():x}{os.urandom(4).hex()}", 0
    run_id = cast(dict[str, Any], client.info("server"))["run_id"]
    client.sadd(index.base(tenant) + "generations", generation)
    client.set(index.building_key(tenant), generation)
    for groups in record.group_pages(tenant, index.CHUNK):
        index.apply(tenant, groups, generation)
        renew()
    for suppressions in record.suppression_pages(tenant, index.CHUNK):
        index.apply(tenant, suppressions, generation)
        renew()
    for receivers in record.receiver_pages(tenant, index.CHUNK):
        index.apply(tenant, receivers, generation)
        written += len(receivers)
        renew()
        if progress:
            progress(written)
    keys = [index.marker_key(tenant), index.building_key(tenant)]
    if not client.register_script(scripts.FLIP)(keys, [generation, f"{run_id}:{generation}"]):
        raise index.NotBuilding
    _delete_others(tenant, generation, renew)
    log.info("subscription index built", tenant=tenant, receivers=written, seconds=round(time.monotonic() - started, 3))
    return written


@contextmanager
def _lease(tenant: str) -> Iterator[Callable[[], None]]:
    """The right to build, for as long as it is renewed. Raises _Lost when somebody else has it."""
    client, key, token = redis.client(tenant), index.base(tenant) + "lock", os.urandom(8).hex()
    script = client.register_script(scripts.LEASE)
    if not client.set(key, token, nx=True, px=int(LEASE * 1000)):
        raise _Lost

    def renew() -> None:
        if not script([key], [token, int(LEASE * 1000)]):
            raise _Lost

    try:
        yield renew
    finally:
        script([key], [token, 0])


def _delete_others(tenant: str, current: str, renew: Callable[[], None]) -> None:
    """Delete the keys of every other generation. Each lists its own names: the key space is never scanned."""
    client, registry = redis.client(tenant), index.base(tenant) + "generations"
    for generation in cast(set[str], client.smembers(registry)) - {current}:
        root = index.base(tenant) + generation
        for names in _chunks(client.sscan_iter(f"{root}:names", count=index.CHUNK)):
            _delete_receivers(client, root, names)
            renew()
        for names in _chunks(client.sscan_iter(f"{root}:groups", count=index.CHUNK)):
            client.unlink(*(f"{root}:c:{name}" for name in names))
        for names in _chunks(client.sscan_iter(f"{root}:suppressed", count=index.CHUNK)):
            client.unlink(*(f"{root}:x:{name}" for name in names))
        client.unlink(f"{root}:names", f"{root}:groups", f"{root}:suppressed")
        client.srem(registry, generation)


def _delete_receivers(client: redis.Client, root: str, names: list[str]) -> None:
    with client.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.smembers(f"{root}:s:{name}")
        sets = {f"{root}:g:{member}" for members in pipe.execute() for member in members}
    client.unlink(*(f"{root}:{kind}:{name}" for name in names for kind in "as"), *sets)


def _chunks(names: Iterable[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    for name in names:
        chunk.append(name)
        if len(chunk) == index.CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
