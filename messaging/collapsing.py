"""Collapse keys: of the messages with one key only the newest is still sent to a receiver on a channel.

A message is as new as its start: when it was accepted, or its send_at. The tenant's Redis holds for each mode and key

    (nothing more)         "<run_id of the server> <start>": every message since that start is entered below
    <channel>              sorted set: group -> start of the newest message to it
    <channel>:<receiver>   start of the newest message to the receiver

with starts in Unix milliseconds. A message is entered when it starts, and for each receiver when it is about to be
sent. What Redis lost is entered again from the record before anything is decided by it; the run_id tells of a server
that came back, perhaps with older data.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

from messaging import payloads, routing
from messaging.documents import Message
from messaging.serializers import MAX_TTL
from sprayer_project import redis, worker
from sprayer_project.errors import StoreUnavailable
from subscriptions import selectors as subscribers

_LEAST_KEPT = 86_400
"""Seconds; what is kept of a message with a short life still replaces older ones that wait."""
_GRACE = 3600
_ATTEMPTS = 3
_OTHER_GROUPS = 100
"""Groups with newer messages that are looked through for a receiver, those with the newest first."""
_BATCH = 100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_KEEP = """
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local function keep(key, seconds)
  if redis.call('TTL', key) < tonumber(seconds) then redis.call('EXPIRE', key, seconds) end
end
local function enter(key, start, seconds)
  if tonumber(redis.call('GET', key) or '0') < tonumber(start) then redis.call('SET', key, start, 'KEEPTTL') end
  keep(key, seconds)
end
"""

# KEYS: the key's first line, receivers' marks, and for each group its channel's set.
# ARGV: start, seconds to keep, start of what is forgotten, number of marks, the groups.
_ENTER = (
    _KEEP
    + """
local start, seconds, marks = ARGV[1], ARGV[2], tonumber(ARGV[4])
redis.call('SET', KEYS[1], run .. ' ' .. start, 'NX')
keep(KEYS[1], seconds)
for i = 2, 1 + marks do enter(KEYS[i], start, seconds) end
for i = 2 + marks, #KEYS do
  redis.call('ZADD', KEYS[i], 'GT', start, ARGV[i + 3 - marks])
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', ARGV[3])
  keep(KEYS[i], seconds)
end
"""
)

# KEYS: for each question the key's first line, the channel's set, the receivers' marks.
# ARGV: for each question start, seconds to keep, group or "", number of receivers, most groups to answer with.
# Answers nothing where something is lost, else the other groups with newer messages, and "1" for whom is replaced.
_ASK = (
    _KEEP
    + """
local answers, first = {}, 1
for question = 1, #ARGV, 5 do
  local start, seconds, group, count = ARGV[question], ARGV[question + 1], ARGV[question + 2], ARGV[question + 3]
  local known, since = string.match(redis.call('GET', KEYS[first]) or '', '^(%w+) (%d+)$')
  local last = first + 1 + tonumber(count)
  if known ~= run or tonumber(since) > tonumber(start) then
    answers[#answers + 1] = 0
  else
    local to_group = tonumber(redis.call('ZSCORE', KEYS[first + 1], group) or '0') > tonumber(start)
    local replaced = {}
    for i = first + 2, last do
      local older = to_group or tonumber(redis.call('GET', KEYS[i]) or '0') > tonumber(start)
      replaced[#replaced + 1] = older and '1' or '0'
      if not older then enter(KEYS[i], start, seconds) end
    end
    local above = '(' .. start
    local others = redis.call('ZREVRANGEBYSCORE', KEYS[first + 1], '+inf', above, 'LIMIT', 0, ARGV[question + 4])
    answers[#answers + 1] = {others, replaced}
  end
  first = last + 1
end
return answers
"""
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Is one message on one channel the newest that these receivers get?"""

    mode: str
    key: str
    channel: str
    group: str | None
    """By which the receivers are reached."""
    starts: datetime
    expires: datetime
    receivers: Sequence[str]
    """Names, or addr:<hash> for plain addresses."""


def place_of(record: Mapping[str, Any]) -> str:
    """What a message's record is found by, in the order of the starts: one sparse index serves all tenants."""
    prefix = _prefix(record["tenant"], record["mode"], record["collapse_key"])
    return f"{prefix}{_milliseconds(payloads.starts_of(record)):015d}"


def enter(client: Any, record: Mapping[str, Any]) -> None:
    """Enter a stored message, which has a collapse key and starts, by a client of its shard or in a pipeline."""
    tenant, first = record["tenant"], (record["mode"], record["collapse_key"])
    marks = [
        _key(tenant, *first, channel, target.receiver)
        for channel in record["channels"]
        for target in routing.named_targets(record, channel)
    ]
    routes = [route.partition("/") for route in record["routes"]]
    sets = [_key(tenant, *first, channel) for channel, _, _ in routes]
    start = _milliseconds(payloads.starts_of(record))
    arguments = [start, _seconds(record["expires_at"]), start - MAX_TTL * 1000, len(marks)]
    groups = [record["to"]["groups"][int(index)] for _, _, index in routes]
    client.eval(_ENTER, 1 + len(marks) + len(sets), _key(tenant, *first), *marks, *sets, *arguments, *groups)


def newest(record: Mapping[str, Any]) -> str | None:
    """The newest message after this one with the same collapse key, by its id."""
    prefix = str(record["collapse"]).rpartition("/")[0]
    places = {"$gt": record["collapse"], "$lt": f"{prefix}/~"}
    found = Message._get_collection().find_one({"collapse": places}, {"_id": 1}, sort=[("collapse", -1)])
    return None if found is None else str(found["_id"])


async def replaced(tenant: str, questions: Sequence[Question]) -> list[frozenset[str]]:
    """For each question the receivers for whom a newer message has started; the others' are entered as the newest.

    One round trip, and another where there is a newer message to another group. Raises the stores' errors.
    """
    found = []
    for one, (others, answers) in zip(questions, await _ask(tenant, questions), strict=True):
        gone = {name for name, answer in zip(one.receivers, answers, strict=True) if answer == "1"}
        left = [name for name in one.receivers if name not in gone]
        if others and left:
            gone |= await subscribers.members_of(tenant, one.channel, others, left)
        found.append(frozenset(gone))
    return found


async def _ask(tenant: str, questions: Sequence[Question]) -> list[tuple[list[str], list[str]]]:
    """For each question the other groups with newer messages, and "1" for each receiver who is replaced."""
    keys, arguments = list[str](), list[str | int]()
    for one in questions:
        first = (one.mode, one.key)
        keys += [_key(tenant, *first), _key(tenant, *first, one.channel)]
        keys += [_key(tenant, *first, one.channel, name) for name in one.receivers]
        arguments += [_milliseconds(one.starts), _seconds(one.expires), one.group or ""]
        arguments += [len(one.receivers), _OTHER_GROUPS]
    script = redis.aclient(tenant).register_script(_ASK)
    for _ in range(_ATTEMPTS):
        answers = await script(keys=keys, args=arguments)
        since: dict[tuple[str, str], datetime] = {}
        for one, answer in zip(questions, answers, strict=True):
            if not answer:
                since[one.mode, one.key] = min(one.starts, since.get((one.mode, one.key), one.starts))
        if not since:
            return [(others, flags) for others, flags in answers]
        for (mode, key), starts in since.items():
            await worker.in_thread(_restore, tenant, mode, key, starts)
    raise StoreUnavailable("Redis", "The newest messages of a collapse key are lost again and again.")


def _restore(tenant: str, mode: str, key: str, since: datetime) -> None:
    """Enter every message since then from the record. Emptied or exchanged meanwhile, Redis does not count as whole."""
    client, first = redis.client(tenant), _key(tenant, mode, key)
    run, now = client.info("server")["run_id"], datetime.now(UTC)  # type: ignore[index]
    client.set(first, f"- {_milliseconds(now)}", nx=True, ex=_seconds(now))
    for batch in _batches(tenant, mode, key, since, now):
        with client.pipeline(transaction=False) as pipeline:
            for record in batch:
                enter(pipeline, record)
            pipeline.execute()
    client.set(first, f"{run} {_milliseconds(since)}", xx=True, keepttl=True)


def _batches(tenant: str, mode: str, key: str, since: datetime, now: datetime) -> Iterator[Sequence[dict[str, Any]]]:
    """The records of a key's messages that started from `since` on."""
    prefix = _prefix(tenant, mode, key)
    oldest = max(since, now - timedelta(seconds=MAX_TTL))
    places = {"$gt": f"{prefix}{_milliseconds(oldest):015d}", "$lte": f"{prefix}{_milliseconds(now):015d}"}
    names = ("tenant", "mode", "status", "to", "channels", "targets", "routes", "collapse_key", "send_at")
    fields = dict.fromkeys([*names, "created_at", "expires_at"], 1)
    batch: list[dict[str, Any]] = []
    for record in Message._get_collection().find({"collapse": places}, fields):
        if record["status"] not in ("scheduled", "cancelled"):
            batch.append(record)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    yield batch


def _prefix(tenant: str, mode: str, key: str) -> str:
    return f"{tenant}/{mode}/{blake2b(key.encode(), digest_size=12).hexdigest()}/"


def _milliseconds(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(milliseconds=1)


def _seconds(expires: datetime) -> int:
    return max(_LEAST_KEPT, int((expires - datetime.now(UTC)).total_seconds())) + _GRACE


def _key(tenant: str, mode: str, key: str, *parts: str) -> str:
    return redis.key(tenant, "collapse", mode, key, *parts)
