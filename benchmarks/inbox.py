"""inbox: inbox writes a second for a group, by the channel's adapter, page by page as a dispatcher calls it.

Reference: XADD alone, of the same entries in pipelines of the same pages, by the same client library.
"""

import time
from collections.abc import Sequence

from benchmarks import realtime
from benchmarks.system import TENANT, Bench, Busy, percent
from benchmarks.table import Row, row
from messaging.channels.base import Outgoing, Recipient
from messaging.realtime import frames
from sprayer_project import redis

TARGET = 0.5
_PAGE = 500


def run(bench: Bench) -> list[Row]:
    names = [f"inbox-{number:06}" for number in range(bench.sizes.inboxes)]
    figures, references = list[float](), list[float]()
    shares, bare_shares = list[float](), list[float]()
    # Inboxes and streams are there before anything is timed.
    _written_a_second(names)
    _added_a_second(names)
    for _ in range(bench.sizes.rounds):
        busy = Busy()
        references.append(_added_a_second(names))
        bare_shares.append(busy.share() or 0)
        figures.append(_written_a_second(names))
        shares.append(busy.share() or 0)
    _forget()
    note = (
        f"{len(names):,} receivers that have an inbox each, pages of {_PAGE}, one after the other; of one core the "
        f"writer used {percent(max(shares))}, the writer of the reference {percent(max(bare_shares))}."
    )
    return [row("inbox", "writes/s", figures, references, TARGET, note)]


def _written_a_second(names: Sequence[str]) -> float:
    message = realtime.outgoing()
    chosen = realtime.recipients(message, names)

    async def write() -> float:
        started = time.monotonic()
        await realtime.append(message, chosen)
        return len(names) / (time.monotonic() - started)

    return realtime.run_alone(write)


def _added_a_second(names: Sequence[str]) -> float:
    message = realtime.outgoing()
    chosen = realtime.recipients(message, names)

    async def add() -> float:
        started = time.monotonic()
        for start in range(0, len(chosen), _PAGE):
            await _add(message, chosen[start : start + _PAGE])
        return len(names) / (time.monotonic() - started)

    return realtime.run_alone(add)


async def _add(message: Outgoing, page: Sequence[Recipient]) -> None:
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
        for key in client.scan_iter(match=pattern, count=5_000):
            client.unlink(key)
