"""inbox: inbox writes a second for a group, by the channel's adapter, page by page as a dispatcher calls it.

Reference: XADD alone, of the same entries in pipelines of the same pages, by the same client library.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks import realtime
from benchmarks.system import TENANT, Bench, Busy, percent
from benchmarks.table import Row, row
from messaging.channels.base import Outgoing, Recipient
from messaging.realtime import frames
from sprayer_project import redis
from tests import environment

TARGET = 0.5
_PAGE = 500


def run(bench: Bench) -> list[Row]:
    names = [f"inbox-{number:06}" for number in range(bench.sizes.inboxes)]
    # The script and the connections are there before anything is timed.
    _write(names[:_PAGE])
    _add(names[:_PAGE])
    ours, bare = Measured(), Measured()
    for _ in range(bench.sizes.rounds):
        bare.add(_add, names)
        ours.add(_write, names)
    _forget()
    note = f"{len(names):,} receivers, pages of {_PAGE}, one after the other: {ours.told}; the reference: {bare.told}."
    return [row("inbox", "writes/s", ours.rates, bare.rates, TARGET, note)]


@dataclass(slots=True)
class Measured:
    """Of each round: writes a second, the writer's share of a core, CPU seconds of Redis a write."""

    rates: list[float] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)

    def add(self, write: Callable[[Sequence[str]], float], names: Sequence[str]) -> None:
        server = environment.STACK.redis[redis.shard_of(TENANT)].process()
        writer, behind = Busy(), Busy(server.pid if server else None)
        self.rates.append(len(names) / write(names))
        self.shares.append(writer.share() or 0)
        self.costs.append((behind.seconds() or 0) / len(names))

    @property
    def told(self) -> str:
        cost, share = min(self.costs) * 1e6, percent(max(self.shares))
        return f"Redis used {cost:.0f} µs of CPU a write, the writer {share} of one core"


def _write(names: Sequence[str]) -> float:
    """Seconds."""
    message = realtime.outgoing()
    chosen = realtime.recipients(message, names)

    async def write() -> float:
        started = time.monotonic()
        await realtime.append(message, chosen)
        return time.monotonic() - started

    return realtime.run_alone(write)


def _add(names: Sequence[str]) -> float:
    """Seconds."""
    message = realtime.outgoing()
    chosen = realtime.recipients(message, names)

    async def add() -> float:
        started = time.monotonic()
        for start in range(0, len(chosen), _PAGE):
            await _add_page(message, chosen[start : start + _PAGE])
        return time.monotonic() - started

    return realtime.run_alone(add)


async def _add_page(message: Outgoing, page: Sequence[Recipient]) -> None:
    """The entries that the inbox has, and nothing else."""
    expires, size = int(message.expires_at.timestamp() * 1000), len(frames.message_body(message))
    async with redis.aclient(TENANT).pipeline(transaction=False) as pipeline:
        for recipient in page:
            entry: dict[str, str | int] = {"x": expires, "s": size, "m": message.id, "d": recipient.delivery}
            entry |= {"r": recipient.round, "t": message.mode, "g": recipient.group or ""}
            pipeline.xadd(redis.key(TENANT, "bare", recipient.receiver), entry)  # type: ignore[arg-type]
        await pipeline.execute()


def _forget() -> None:
    """A hundred thousand inboxes are in nobody's way afterwards."""
    client = redis.client(TENANT)
    for pattern in ("*bare*", "*inbox*"):
        keys = list(client.scan_iter(match=pattern, count=5_000))
        for start in range(0, len(keys), 1_000):
            client.unlink(*keys[start : start + 1_000])
