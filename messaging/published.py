"""Which accepted messages have their jobs with the broker: noted in Redis, until the sweeper looks at them.

A write in the record would cost as much as the message's insert, and most messages are settled by the first look. A
note that is lost costs a second publication, which claims make harmless.
"""

import atexit
import threading
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from typing import cast

import structlog
from redis.exceptions import RedisError

from sprayer_project import redis

log = structlog.get_logger(__name__)

_INTERVAL = 0.05
_LIFE = 600
"""Seconds; a sweeper that is away for longer publishes once more."""

Key = tuple[str, str]
"""tenant, message id"""


def note(messages: Iterable[Key]) -> None:
    """The broker has confirmed every job of these. Returns at once."""
    _notes().add(messages)


def noted(messages: Iterable[Key]) -> frozenset[Key]:
    """Those among these that are noted; none of a shard that is away."""
    found: set[Key] = set()
    for shard, some in _by_shard(messages).items():
        try:
            values = cast(list[str | None], redis.shard(shard).mget([_key(*message) for message in some]))
        except RedisError as error:
            log.warning("notes of published messages not read", messages=len(some), error=type(error).__name__)
            continue
        found |= {message for message, value in zip(some, values, strict=True) if value}
    return frozenset(found)


def forget(messages: Iterable[Key]) -> None:
    """The record knows of these by now."""
    for shard, some in _by_shard(messages).items():
        try:
            redis.shard(shard).unlink(*(_key(*message) for message in some))
        except RedisError as error:
            log.warning("notes of published messages not removed", messages=len(some), error=type(error).__name__)


class _Notes(threading.Thread):
    """Writes notes, many in one step."""

    def __init__(self) -> None:
        super().__init__(name="published-notes", daemon=True)
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._messages: list[Key] = []

    def add(self, messages: Iterable[Key]) -> None:
        with self._lock:
            self._messages += messages
        self._wake.set()

    def run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            self.flush()
            threading.Event().wait(_INTERVAL)

    def flush(self) -> None:
        with self._lock:
            messages, self._messages = self._messages, []
        for shard, some in _by_shard(messages).items():
            try:
                with redis.hurried(shard) as client, client.pipeline(transaction=False) as pipeline:
                    for message in some:
                        pipeline.set(_key(*message), 1, ex=_LIFE)
                    pipeline.execute()
            except RedisError as error:
                log.warning("not noted: the sweeper will publish again", messages=len(some), error=type(error).__name__)


@cache
def _notes() -> _Notes:
    notes = _Notes()
    notes.start()
    atexit.register(notes.flush)
    return notes


def _by_shard(messages: Iterable[Key]) -> dict[int, list[Key]]:
    found: dict[int, list[Key]] = defaultdict(list)
    for tenant, message in messages:
        found[redis.shard_of(tenant)].append((tenant, message))
    return found


def _key(tenant: str, message: str) -> str:
    return redis.key(tenant, "published", message)
