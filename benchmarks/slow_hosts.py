"""slow-hosts: webhooks a second to hosts that answer, while others in the same messages hang or answer 500.

Reference: the same webhooks to the hosts that answer alone, by a dispatcher like that. What becomes of them where all
hosts answer stands in the note. Only when asked for by name.
"""

from benchmarks.hosts import BROKEN, GOOD, SILENT, Hosts
from benchmarks.system import TENANT, Bench, Busy, Dispatcher, percent
from benchmarks.table import Row, row
from messaging import services
from sprayer_project import redis
from tests.live import wait_for

ANSWERS = [GOOD] * 15 + [SILENT] * 3 + [BROKEN] * 2
TARGET = round(1 / 1.2, 3)
"""They may take 1.2 times as long."""
_PAGE, _BATCH, _LIMIT = 1_000, 100, 300.0


def run(bench: Bench) -> list[Row]:
    with Hosts({f"127.0.0.{number}": answer for number, answer in enumerate(ANSWERS, 2)}) as hosts:
        # Singles last, and once: what is left of them is too much to be cancelled before another round.
        return [_measured(bench, hosts, "", _PAGE, bench.sizes.rounds), _measured(bench, hosts, " (singles)", 1, 1)]


def _measured(bench: Bench, hosts: Hosts, name: str, addresses: int, rounds: int) -> Row:
    """With so many addresses a message."""
    figures, references, healthy = list[float](), list[float](), list[float]()
    shares, sink_shares = list[float](), list[float]()
    answers, everybody = hosts.answers, list(hosts.answers)
    good = [host for host in everybody if answers[host] == GOOD]
    all_well = dict.fromkeys(everybody, GOOD)
    each = bench.sizes.webhooks // len(everybody)
    for _ in range(rounds):
        runs = ((good, answers, references), (everybody, all_well, healthy), (everybody, answers, figures))
        for wanted, hosts.answers, rates in runs:
            sink = Busy()
            rate, share = _a_second(bench, hosts, wanted, good, each, addresses)
            rates.append(rate)
            shares.append(share)
            sink_shares.append(sink.share() or 0)
    expected = each * len(good)
    note = (
        f"{each * len(everybody):,} webhooks in messages of {addresses:,} to {len(everybody)} hosts, of which "
        f"{ANSWERS.count(SILENT)} hang and {ANSWERS.count(BROKEN)} answer 500, from the first to the last of the "
        f"{expected:,} at the others; the reference is these alone. Seconds: {_seconds(expected, figures)} beside "
        f"{_seconds(expected, references)}, and {_seconds(expected, healthy)} where all hosts answer. Of one core the "
        f"dispatcher used {percent(max(shares))}, the hosts {percent(max(sink_shares))}."
    )
    return row(f"slow-hosts{name}", "webhooks/s", figures, references, TARGET, note)


def _a_second(
    bench: Bench, hosts: Hosts, wanted: list[str], good: list[str], each: int, addresses: int
) -> tuple[float, float]:
    """The rate at the good hosts, and what share of a core the dispatcher used. All is queued before."""
    _forget_breakers()
    hosts.start_again()
    urls = [f"http://{host}:{hosts.port}/{number}" for number in range(each) for host in wanted]
    messages = _send([urls[start : start + addresses] for start in range(0, len(urls), addresses)])
    expected = each * len(good)
    allowed = ",".join(f"{host}:{hosts.port}" for host in hosts.answers)
    dispatcher = bench.start(Dispatcher(bench.live.folder, "http", {"SPRAYER_WEBHOOK_ALLOW_PRIVATE": allowed}))
    busy = Busy(dispatcher.pid)
    wait_for(lambda: len(hosts.arrived(good)) >= expected, _LIMIT, f"{expected} webhooks")
    share, times = busy.share() or 0, hosts.arrived(good)
    if addresses > 1:
        for message in messages:
            services.cancel(TENANT, "live", message)  # what is left of it must not meet the next round
    hosts.hang_up()
    dispatcher.stop()
    return expected / max(max(times) - min(times), 1e-3), share


def _send(messages: list[list[str]]) -> list[str]:
    """Their ids."""
    bodies = [
        {
            "to": {"addresses": [{"channel": "http", "address": url} for url in urls]},
            "channels": ["http"],
            "content": {"title": "Hello", "body": "Spray on"},
        }
        for urls in messages
    ]
    ids = []
    for start in range(0, len(bodies), _BATCH):
        for accepted in services.accept_batch(TENANT, "live", bodies[start : start + _BATCH]):
            if isinstance(accepted, Exception):
                raise accepted
            ids.append(accepted.id)
    return ids


def _forget_breakers() -> None:
    """Each round meets the hosts for the first time."""
    client = redis.client(TENANT)
    for key in client.scan_iter(match="*:breaker:*", count=1_000):
        client.delete(key)


def _seconds(expected: int, rates: list[float]) -> str:
    return ", ".join(f"{expected / rate:.1f}" for rate in rates)
