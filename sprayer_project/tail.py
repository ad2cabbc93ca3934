"""Bounded streams in Redis that end by themselves: what happened lately, for whoever looks, with consecutive offsets.

A tail is `<key>`, the stream, and `<key>:meta`, a hash with its epoch; both expire together. Another epoch means that
offsets of the one before say nothing: the tail had ended, or its server was another one (its run_id tells). One that is
kept by who writes has the entries of an earlier epoch all the same.

https://redis.io/docs/latest/commands/xadd/ (`0-*` numbers entries 0-1, 0-2 ...)
"""

import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sprayer_project import redis

ENTRY_BYTES = 8_000
"""Of an entry that several events share."""

_CURRENT = """
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local function begin(on_demand)
  if on_demand then redis.call('DEL', KEYS[1]) end
  redis.call('HSET', KEYS[2], 'run', run, 'epoch', ARGV[1])
end
local function expire()
  redis.call('EXPIRE', KEYS[1], ARGV[2])
  redis.call('EXPIRE', KEYS[2], ARGV[2])
end
local current = redis.call('HGET', KEYS[2], 'run') == run
"""
# KEYS: stream, meta. ARGV: epoch if it is a new one, seconds, "1" for one on demand.
_OPEN = (
    _CURRENT
    + """
if not current then begin(ARGV[3] == '1') end
expire()
local function offset(entries) return entries[1] and tonumber(string.match(entries[1][1], '-(%d+)$')) or 0 end
return {
  redis.call('HGET', KEYS[2], 'epoch'),
  offset(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)),
  offset(redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)),
}
"""
)
# KEYS: stream, meta. ARGV: epoch if it is a new one, seconds, entries at most, "1" to append only to an open one; then
# for each entry the number of its events and these.
_APPEND = (
    _CURRENT
    + """
if ARGV[4] == '1' and not current then return 0 end
if not current then begin(false) end
local position = 5
while position <= #ARGV do
  local fields = {}
  for index = 1, tonumber(ARGV[position]) do
    fields[#fields + 1] = index
    fields[#fields + 1] = ARGV[position + index]
  end
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], '0-*', unpack(fields))
  position = position + #fields / 2 + 1
end
if ARGV[4] == '1' then
  redis.call('PEXPIRE', KEYS[1], math.max(1, redis.call('PTTL', KEYS[2])))
else
  expire()
end
return 1
"""
)
# KEYS: stream, meta. ARGV: the new epoch.
_RESET = """
if redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
redis.call('DEL', KEYS[1])
return redis.call('HSET', KEYS[2], 'epoch', ARGV[1])
"""
_LISTED = 86_400


@dataclass(frozen=True, slots=True)
class Tail:
    """A tenant's tail. length: entries, about; seconds: how long it lasts after the last that keeps it."""

    tenant: str
    name: str
    length: int
    seconds: int
    on_demand: bool = False
    """Kept by those who look, and written only while they do; else kept by those who write."""
    together: int = 50
    """Events that may share an entry, when they are appended at the same time."""

    @property
    def keys(self) -> list[str]:
        return [redis.key(self.tenant, self.name), redis.key(self.tenant, self.name, "meta")]


@dataclass(frozen=True, slots=True)
class Stand:
    """Where a tail stands; first and last are offsets, 0 while it is empty."""

    epoch: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Entry:
    offset: int
    events: tuple[str, ...]
    """Each as its JSON."""


def append(client: redis.Client, tail: Tail, events: Sequence[str]) -> None:
    """With a client of the tenant's shard. Raises redis errors."""
    client.register_script(_APPEND)(keys=tail.keys, args=_appended(tail, events))


async def aappend(tail: Tail, events: Sequence[str]) -> None:
    """The same for an event loop."""
    await redis.aclient(tail.tenant).register_script(_APPEND)(keys=tail.keys, args=_appended(tail, events))


async def aopen(tail: Tail) -> Stand:
    """Where it stands; one that is on demand is kept for its seconds. Raises redis errors."""
    client = redis.aclient(tail.tenant)
    if tail.on_demand:
        listed = client.pipeline()
        listed.sadd(_list_of(tail.name), tail.tenant)
        listed.expire(_list_of(tail.name), _LISTED)
        await listed.execute()
    arguments: list[str | int] = [_new_epoch(), tail.seconds, "1" if tail.on_demand else ""]
    epoch, first, last = await client.register_script(_OPEN)(keys=tail.keys, args=arguments)
    return Stand(epoch, int(first), int(last))


async def areset(shard: int, tail_of: Callable[[str], Tail]) -> None:
    """Something is missing in every tail on demand of this kind on a shard: each gets another epoch.

    Raises redis errors.
    """
    client = redis.ashard(shard)
    tenants = await cast(Awaitable[set[str]], client.smembers(_list_of(tail_of("").name)))
    for tenant in sorted(tenants):
        await client.register_script(_RESET)(keys=tail_of(tenant).keys, args=[_new_epoch()])


async def aopened(tails: Sequence[Tail]) -> list[bool]:
    """Whether each is open; all on one shard. Raises redis errors."""
    pipeline = redis.aclient(tails[0].tenant).pipeline(transaction=False)
    for tail in tails:
        pipeline.exists(tail.keys[1])
    return [bool(found) for found in await pipeline.execute()]


async def aread(tails: Sequence[tuple[Tail, int]], most: int) -> list[tuple[str | None, list[Entry]]]:
    """The epoch, None where there is none, and what comes after an offset of each; all on one shard, one round trip."""
    pipeline = redis.aclient(tails[0][0].tenant).pipeline(transaction=False)
    for tail, offset in tails:
        stream, meta = tail.keys
        pipeline.hget(meta, "epoch")
        pipeline.xrange(stream, f"(0-{offset}", "+", count=most)
    answers = await pipeline.execute()
    return [(answers[2 * index], entries_of(answers[2 * index + 1])) for index in range(len(tails))]


def newest(tail: Tail, before: int | None, most: int) -> list[Entry]:
    """Newest first, from before an offset where one is given. Raises redis errors."""
    end = "+" if before is None else f"(0-{before}"
    found = redis.client(tail.tenant).xrevrange(tail.keys[0], end, "-", count=most)
    return entries_of(cast(list[Any], found))


def entries_of(found: Sequence[tuple[str, dict[str, str]]]) -> list[Entry]:
    return [Entry(int(identifier.partition("-")[2]), tuple(fields.values())) for identifier, fields in found]


def _appended(tail: Tail, events: Sequence[str]) -> list[Any]:
    arguments: list[Any] = [_new_epoch(), tail.seconds, tail.length, "1" if tail.on_demand else ""]
    together: list[str] = []
    size = 0
    for event in events:
        if together and (len(together) == tail.together or size + len(event) > ENTRY_BYTES):
            arguments += [len(together), *together]
            together, size = [], 0
        together.append(event)
        size += len(event)
    return [*arguments, len(together), *together] if together else arguments


def _list_of(name: str) -> str:
    """The tenants of a shard whose tails of this name were opened lately."""
    return f"sprayer:tails:{name}"


def _new_epoch() -> str:
    return os.urandom(5).hex()
