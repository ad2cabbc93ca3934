"""How far the record is behind: what waits in its queue, and how old the oldest event is that is not written yet.

Events are handled in their order, so the oldest one is in a feeder's hands. Each feeder says every second in Redis what
it has, which any web process reads: also while MongoDB, for which it waits, is away.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

import structlog
from redis.exceptions import RedisError

from sprayer_project import amqp, redis
from sprayer_project.metrics import Reading

log = structlog.get_logger(__name__)

_KEY = "sprayer:feeders"
"""On the first shard: a feeder's name -> "<when it said so> <the time of its oldest event, or ->", Unix seconds."""
_ALIVE, _FORGET = 10.0, 86_400.0
"""Seconds of silence after which a feeder counts as gone, and after which it is forgotten."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """None where the server that knows is away, or no feeder has run for a day."""

    waiting: int | None
    """AMQP messages in the queue, of one to a few hundred events each."""
    lag: float | None
    """Seconds that the oldest unwritten event has waited; 0: everything is written."""
    feeders: int | None
    """How many are running."""

    @property
    def fill(self) -> float | None:
        """The share of the queue's bound that is used. At 1 dispatchers wait."""
        return None if self.waiting is None else self.waiting / amqp.EVENTS_LIMIT


async def tell(name: str, oldest: datetime | None) -> None:
    """A feeder's word that it lives, and the time of the oldest event in its hands. Raises redis errors."""
    now = datetime.now(UTC).timestamp()
    client = redis.ashard(0)
    await client.hset(_KEY, name, f"{now} {oldest.timestamp() if oldest else '-'}")  # type: ignore[misc]
    said = await client.hgetall(_KEY)  # type: ignore[misc]
    if gone := [other for other, words in said.items() if now - float(words.split()[0]) > _FORGET]:
        await client.hdel(_KEY, *gone)  # type: ignore[misc]


def read() -> Backlog:
    """Asks RabbitMQ and Redis, neither for long."""
    waiting = amqp.depth(amqp.RECORD_QUEUE)
    try:
        with redis.hurried(0) as client:
            said = [words.split() for words in cast(dict[str, str], client.hgetall(_KEY)).values()]
    except RedisError as error:
        log.warning("feeders not asked", error=type(error).__name__)
        return Backlog(waiting, None, None)
    now = datetime.now(UTC).timestamp()
    alive = [oldest for seen, oldest in said if now - float(seen) < _ALIVE]
    held = [float(oldest) for oldest in alive if oldest != "-"]
    lag: float | None = None
    if held:
        lag = max(0.0, now - min(held))
    elif alive or waiting == 0:
        lag = 0.0
    elif said and waiting:
        lag = now - max(float(seen) for seen, _ in said)
    return Backlog(waiting, lag, len(alive))


def readings() -> Iterator[Reading]:
    """For /metrics; what is not known is left out."""
    found = read()
    if found.lag is not None:
        yield Reading("sprayer_feeder_lag_seconds", "Seconds that the oldest unwritten event has waited.", found.lag)
    if found.fill is not None:
        words = "Share of the feedback queue's bound that is used; at 1 dispatchers wait."
        yield Reading("sprayer_feedback_queue_fill", words, found.fill)
    if found.feeders is not None:
        yield Reading("sprayer_feeders", "Status feeders that are running.", found.feeders)
