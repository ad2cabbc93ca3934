"""What a tenant's applications do, kept for a while: its API requests, and the messages that were accepted.

Both are tails in the tenant's Redis, written in batches by one thread of each process: no request waits for them. What
a killed process had not written is missing, and so is what happened while Redis was away. No body, secret or address is
in them.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
import structlog
from django.conf import settings
from redis.exceptions import RedisError

from sprayer_project import paging, redis, tail
from sprayer_project.background import Background
from sprayer_project.tail import Tail

log = structlog.get_logger(__name__)

REQUEST, MESSAGE = "request", "message.accepted"
"""The types of what is kept."""
_DAY, _MESSAGES = 86_400, 1_000
_LINGER, _BATCH, _MOST, _CHUNK = 0.25, 1_000, 20_000, 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """An API request of a tenant, as it is kept."""

    id: str
    """As X-Request-Id said."""
    at: datetime
    mode: str
    method: str
    path: str
    """Without the tenant's own names: /api/v1/receivers/{receiver}."""
    status: int
    ms: float
    key: str
    """key_..."""
    key_prefix: str = ""
    key_name: str = ""
    code: str = ""
    """Of a refusal."""
    idempotency_key: str = ""
    message: str = ""
    """The first that it made."""
    messages: int = 0


def requests_of(tenant: str) -> Tail:
    return Tail(tenant, "requests", settings.REQUEST_LOG, _DAY, together=1)


def messages_of(tenant: str) -> Tail:
    return Tail(tenant, "accepted", _MESSAGES, _DAY, together=1)


def note_request(tenant: str, row: Mapping[str, Any]) -> None:
    """One request that a key of the tenant made. Returns at once."""
    if settings.REQUEST_LOG:
        _waiting.add([(requests_of(tenant), {"type": REQUEST, **row})])


def note_message(tenant: str, row: Mapping[str, Any]) -> None:
    """One message that was accepted. Returns at once."""
    if settings.REQUEST_LOG:
        _waiting.add([(messages_of(tenant), {"type": MESSAGE, "at": text_of(datetime.now(UTC)), **row})])


def requests(tenant: str, wanted: Callable[[Request], bool], cursor: str | None, limit: int) -> paging.Page[Request]:
    """A tenant's requests that are wanted, newest first. Raises Invalid for a bad cursor, and redis errors."""
    before = paging.decode(cursor, int)
    found: list[tuple[int, Request]] = []
    while len(found) <= limit and (entries := tail.newest(requests_of(tenant), before, _CHUNK)):
        rows = [(entry.offset, _request(entry.events[0])) for entry in entries]
        found += [(offset, row) for offset, row in rows if wanted(row)]
        before = entries[-1].offset
    page = paging.page(found[: limit + 1], limit, lambda pair: pair[0])
    return paging.Page([row for _, row in page.data], page.next_cursor)


def flush(limit: float = 5.0) -> bool:
    """Wait until all of this process is written; whether it is."""
    return _waiting.flush(limit)


def _write(items: Sequence[tuple[Tail, Mapping[str, Any]]]) -> None:
    by_tail: defaultdict[Tail, list[str]] = defaultdict(list)
    for wanted, row in items:
        by_tail[wanted].append(orjson.dumps(row).decode())
    for wanted, rows in by_tail.items():
        try:
            with redis.hurried(redis.shard_of(wanted.tenant)) as client:
                tail.append(client, wanted, rows)
        except RedisError as error:
            log.warning("activity is not kept", tenant=wanted.tenant, rows=len(rows), error=type(error).__name__)


def _request(text: str) -> Request:
    values = orjson.loads(text)
    values["at"] = datetime.fromisoformat(values["at"])
    del values["type"]
    return Request(**values)


def text_of(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


_waiting: Background[tuple[Tail, Mapping[str, Any]]] = Background("activity", _write, _LINGER, _BATCH, _MOST)
