"""Claims: who may send a delivery now, and what became of it, in Redis.

One key a (delivery, round) holds
    h:<token>     somebody is sending it; the key's lease ends by itself
    n:<attempt>   the attempt of that number is the next one; earlier jobs are stale copies
    n:<attempt> <due>   it waits without having been tried, to Unix milliseconds: jobs with less are stale copies
    e:<event>     it is done, but its event may not have reached the broker
    s             it is done
A claim that Redis lost falls back to the record: see payloads.Payload.suspect.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

from django.conf import settings

from sprayer_project import redis

_CLAIM = """
local answers, following, left, holder, attempt, due = {}, 2, 0
for index, key in ipairs(KEYS) do
  if left == 0 then
    holder, attempt, due = 'h:' .. ARGV[following], ARGV[following + 1], ARGV[following + 2]
    left, following = tonumber(ARGV[following + 3]), following + 4
  end
  left = left - 1
  local value = redis.call('GET', key)
  if not value or value == holder then
    redis.call('SET', key, holder, 'EX', ARGV[1])
    answers[index] = 'mine'
  elseif string.sub(value, 1, 2) == 'n:' then
    local number, till = string.match(value, '(%d+) ?(%d*)')
    local later = tonumber(attempt) - tonumber(number)
    if later > 0 or (later == 0 and tonumber(due) >= tonumber(till ~= '' and till or '0')) then
      redis.call('SET', key, holder, 'EX', ARGV[1])
      answers[index] = 'mine'
    else
      answers[index] = 'stale'
    end
  elseif string.sub(value, 1, 2) == 'h:' then
    answers[index] = 'busy ' .. redis.call('PTTL', key)
  elseif value == 's' then
    answers[index] = 'stale'
  else
    answers[index] = value
  end
end
return answers
"""


_SETTLE = """
for index, key in ipairs(KEYS) do
  redis.call('SET', key, ARGV[index * 2 - 1], 'EX', ARGV[index * 2])
end
"""

_PUBLISHED = """
for _, key in ipairs(KEYS) do
  redis.call('SET', key, 's', 'XX', 'KEEPTTL')
end
"""


Marks = dict[tuple[str, int], tuple[bytes | str, int]]
"""(delivery, round) -> (value, seconds to live)"""


class Claim(NamedTuple):
    """mine: send it. stale: somebody did. busy: somebody is at it, for `wait` seconds at most.
    event: it is done, this event may have to be published again."""

    state: str
    wait: float = 0
    event: str = ""


_MINE = Claim("mine")


class Wanted(NamedTuple):
    """token names the job in hand: the same job, handled again by the same process, keeps its claim."""

    delivery: str
    round: int
    attempt: int
    token: str
    due: float = 0
    """The job's, in Unix seconds."""


async def claim(tenant: str, wanted: Sequence[Wanted]) -> list[Claim]:
    """Claim each for its token, in one round trip. Raises redis errors."""
    if not wanted:
        return []
    keys = _keys(tenant, ((item.delivery, item.round) for item in wanted))
    arguments = [str(int(settings.CLAIM_LEASE))]
    for (attempt, token, due), alike in groupby(wanted, lambda item: item[2:]):
        arguments += [token, str(attempt), str(_milliseconds(due)), str(sum(1 for _ in alike))]
    script = redis.aclient(tenant).register_script(_CLAIM)
    return [_MINE if answer == "mine" else _parsed(answer) for answer in await script(keys=keys, args=arguments)]


async def done(tenant: str, deliveries: Sequence[tuple[str, int]]) -> frozenset[str]:
    """The ids of those, of (delivery, round), that are done. Raises redis errors."""
    marks = await redis.aclient(tenant).mget(_keys(tenant, deliveries))
    return frozenset(
        delivery
        for (delivery, _), mark in zip(deliveries, marks, strict=True)
        if mark and (mark == "s" or mark[0] == "e")
    )


async def settle(tenant: str, marks: Marks) -> None:
    """Write marks in one round trip."""
    arguments: list[bytes | str] = []
    for value, seconds in marks.values():
        arguments += [value, str(max(60, seconds))]
    await _run(tenant, _SETTLE, marks, arguments)


async def published(tenant: str, settled: Sequence[tuple[str, int]]) -> None:
    """The events of these are safe with the broker: the marks shrink."""
    await _run(tenant, _PUBLISHED, settled, [])


async def _run(
    tenant: str, script: str, deliveries: Iterable[tuple[str, int]], arguments: Sequence[bytes | str]
) -> None:
    """One script over many claims: a fraction of what as many commands cost in this process."""
    if keys := _keys(tenant, deliveries):
        await redis.aclient(tenant).register_script(script)(keys=keys, args=arguments)


def done_mark(event: bytes) -> bytes:
    return b"e:" + event


def next_mark(attempt: int, due: float = 0) -> str:
    """due in Unix seconds where the attempt waits without having been tried."""
    return f"n:{attempt} {_milliseconds(due)}" if due else f"n:{attempt}"


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _parsed(answer: str) -> Claim:
    if answer.startswith("busy "):
        return Claim("busy", wait=max(0.0, int(answer[5:]) / 1000))
    if answer.startswith("e:"):
        return Claim("event", event=answer[2:])
    return Claim(answer)


def _keys(tenant: str, deliveries: Iterable[tuple[str, int]]) -> list[str]:
    """Of (delivery, round)."""
    common = redis.key(tenant, "claim", "")
    return [f"{common}{delivery}:{round}" for delivery, round in deliveries]
