"""On which lanes one-to-one messages travel. A tenant has a share of the single lane; what is beyond takes the surplus
lane, so that it holds up nobody else's.

On an ordered channel no message overtakes another on the other lane. From the first one beyond its share on, all of a
tenant's take the surplus lane until those there are done; a job there begins when what was accepted before has begun on
the single lane (messaging.succession). The tenant's Redis holds for each such channel the id of the newest message on
the surplus lane, and of the newest one that was done when nothing else of it was in hand. Ids grow with time.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from messaging import channels, jobs, routing
from sprayer_project import redis

SINGLE_SHARE = 100
"""Messages a second that one tenant may put on the single lane."""
_KEPT = 86_400

# KEYS: the count of this second, the tenant's marks.
# ARGV: the share, number of messages, seconds for which marks are kept, and for each ordered channel its name, its
# newest message and that one's place among the messages.
# Answers how many of the messages are within the share, and the channels on which all take the surplus lane.
_TAKE = """
local number = tonumber(ARGV[2])
local count = redis.call('INCRBY', KEYS[1], number)
redis.call('EXPIRE', KEYS[1], 5)
local within, behind = math.max(0, math.min(number, ARGV[1] + number - count)), {}
for i = 4, #ARGV, 3 do
  local known = redis.call('HMGET', KEYS[2], ARGV[i], ARGV[i] .. ':done')
  local waits = known[1] and (not known[2] or known[2] < known[1])
  if waits then behind[#behind + 1] = ARGV[i] end
  if (waits or tonumber(ARGV[i + 2]) > within) and (not known[1] or known[1] < ARGV[i + 1]) then
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
    redis.call('EXPIRE', KEYS[2], ARGV[3])
  end
end
return {within, behind}
"""

# KEYS: the tenant's marks. ARGV: a channel, a message. A tenant that was not above its share has none, and gets none:
# what is left of a page takes the lane, too.
_MARK = """
local known = redis.call('HMGET', KEYS[1], ARGV[1], ARGV[1] .. ':done')
if known[1] and (not known[2] or known[2] < ARGV[2]) then redis.call('HSET', KEYS[1], ARGV[1] .. ':done', ARGV[2]) end
"""


@dataclass(frozen=True, slots=True)
class Surplus:
    """What of some messages takes the surplus lane: these messages, by their ids, and all of them on these channels."""

    messages: Set[str] = frozenset()
    channels: Set[str] = frozenset()

    def of(self, record: Mapping[str, Any]) -> Set[str]:
        """The channels on which a stored message's jobs take it."""
        return frozenset(record["channels"]) if record["_id"] in self.messages else self.channels


def stage(pipeline: Any, tenant: str, records: Sequence[Mapping[str, Any]]) -> None:
    """Queue in a pipeline of the tenant's shard that these of its messages take their part of its share."""
    newest: dict[str, tuple[str, int]] = {}
    for place, record in enumerate(records, 1):
        for channel in ordered().intersection(record["channels"]):
            if 0 < len(routing.named_targets(record, channel)) <= jobs.FEW_TARGETS:
                newest[channel] = max(newest.get(channel, ("", 0)), (record["_id"], place))
    count = redis.key(tenant, "share", str(int(datetime.now(UTC).timestamp())))
    marks = [item for channel, (message, place) in newest.items() for item in (channel, message, place)]
    pipeline.eval(_TAKE, 2, count, _key(tenant), SINGLE_SHARE, len(records), _KEPT, *marks)


def surplus(answer: Any, records: Sequence[Mapping[str, Any]]) -> Surplus:
    """What the staged call's answer says of the same messages."""
    within, behind = answer
    return Surplus(frozenset(record["_id"] for record in records[within:]), frozenset(behind))


async def done(tenant: str, channel: str, message: str) -> None:
    """Note that the surplus lane has done what it was given of a tenant up to this message. Raises redis errors."""
    await redis.aclient(tenant).register_script(_MARK)(keys=[_key(tenant)], args=[channel, message])


@cache
def ordered() -> frozenset[str]:
    """The names of the channels that keep a receiver's messages in order."""
    return frozenset(name for name, channel in channels.registry().items() if channel.ordered)


def _key(tenant: str) -> str:
    return redis.key(tenant, "surplus")
