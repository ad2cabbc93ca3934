"""How fast a tenant's deliveries go to a channel's provider: a token bucket in Redis that all dispatchers share.

The bucket is a GCRA: https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm. It holds one second's tokens, at least
one, so that in any t seconds there are at most rate * t deliveries and one second's more. What finds no token gets a
turn: a time behind all those of its lane that wait already. A delivery that comes back in its turn takes a token, too;
whoever comes new does not overtake those who wait.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import structlog
from redis.exceptions import RedisError

from messaging.pacing import RATE_PERIODS
from sprayer_project import redis
from sprayer_project.errors import STORE_ERRORS

log = structlog.get_logger(__name__)

T = TypeVar("T")

TURNS = 10
"""Turns that one chunk gets at most; what is left comes back with the last and is given turns again."""
_LATE = 50_000
"""Microseconds that a turn comes after its tokens."""
_SLACK = 100_000
"""Microseconds by which a job may come early."""

_TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, burst, wanted, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[5])
local full = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
local tail = tonumber(redis.call('GET', KEYS[2]) or '0')
local back = ARGV[4] == '1'
local tokens = math.floor((now + burst * interval + (back and tonumber(ARGV[6]) or 0) - full) / interval)
if not back and tail > now then
  tokens = 0
end
local taken = math.max(0, math.min(wanted, tokens))
if taken > 0 then
  full = full + taken * interval
  redis.call('SET', KEYS[1], string.format('%d', full), 'PX', math.ceil((full - now) / 1000) + 1000)
end
if taken == wanted then
  return {taken, 0}
end
local turn = math.max(tail, full)
tail = turn + math.min(wanted - taken, most) * interval
redis.call('SET', KEYS[2], string.format('%d', tail), 'PX', math.ceil((tail - now) / 1000) + 1000)
return {taken, turn - now + ARGV[7]}
"""


@dataclass(frozen=True, slots=True)
class Rate:
    """count deliveries in so many seconds."""

    count: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> "Rate":
        """Of the form's "100/second". Raises ValueError, KeyError."""
        count, _, period = text.partition("/")
        return cls(int(count), RATE_PERIODS[period])

    @property
    def burst(self) -> int:
        """What the bucket holds, and the size of a turn."""
        return max(1, self.count // self.seconds)

    @property
    def interval(self) -> float:
        """Seconds for one token."""
        return self.seconds / self.count


@dataclass(frozen=True, slots=True)
class Taken:
    """So many may go now; the turn of the next is in `wait` seconds."""

    count: int
    wait: float


async def take(tenant: str, channel: str, lane: str, rate: Rate, wanted: int, back: bool) -> Taken:
    """Take up to `wanted` tokens; back: these deliveries waited already.

    Raises redis errors of a server that is away; one that refuses limits nothing.
    """
    keys = [redis.key(tenant, "pace", channel), redis.key(tenant, "pace", channel, lane)]
    arguments = [rate.interval * 1e6, rate.burst, wanted, int(back), rate.burst * TURNS, _SLACK, _LATE]
    try:
        script = redis.aclient(tenant).register_script(_TAKE)
        count, wait = await script(keys=keys, args=[str(argument) for argument in arguments])
        return Taken(count, wait / 1e6)
    except STORE_ERRORS:
        raise
    except RedisError as error:
        log.warning("provider limit not asked", tenant=tenant, error=str(error)[:200])
        return Taken(wanted, 0)


def turns(waiting: Sequence[T], rate: Rate, wait: float) -> list[tuple[float, Sequence[T]]]:
    """Those who wait, in turns, with the seconds until each."""
    starts = [turn * rate.burst for turn in range(TURNS)] if len(waiting) > rate.burst else [0]
    ends = [*starts[1:], len(waiting)]
    found = ((start, waiting[start:end]) for start, end in zip(starts, ends, strict=True))
    return [(wait + start * rate.interval, turn) for start, turn in found if turn]
