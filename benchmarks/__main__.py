"""`python -m benchmarks [name ...]`, or ONLY=name in the environment: run, print the table, write var/bench.json."""

# The environment first: what follows reads Django's settings.
from tests import environment

# isort: split
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence

from django.core.management import call_command

from benchmarks import (
    accept,
    accept_batch,
    broadcast,
    connection,
    dispatch_http,
    dispatch_push,
    expand,
    fairness,
    feedback,
    growth,
    inbox,
    latency,
    outage,
    slow_hosts,
    table,
    totals,
)
from benchmarks.system import Bench, Sizes, empty_queues, prepare
from benchmarks.table import Row
from tests.live import LiveSystem

BENCHMARKS: dict[str, Callable[[Bench], list[Row]]] = {
    "accept": accept.run,
    "accept-batch": accept_batch.run,
    "expand": expand.run,
    "dispatch-http": dispatch_http.run,
    "dispatch-push": dispatch_push.run,
    "inbox": inbox.run,
    "broadcast": broadcast.run,
    "connection": connection.run,
    "latency": latency.run,
    "feedback": feedback.run,
}
ONLY_BY_NAME: dict[str, Callable[[Bench], list[Row]]] = {
    "fairness": fairness.run,
    "growth": growth.run,
    "outage": outage.run,
    "slow-hosts": slow_hosts.run,
    "totals": totals.run,
}
RESULT = environment.ROOT / "var" / "bench.json"


def main(names: Sequence[str]) -> int:
    """The exit status: 1 when a target is missed."""
    wanted = [*names, *os.environ.get("ONLY", "").replace(",", " ").split()] or list(BENCHMARKS)
    if unknown := sorted(set(wanted) - set(BENCHMARKS | ONLY_BY_NAME)):
        print(f"bench: no benchmark {', '.join(unknown)}: use {', '.join(BENCHMARKS | ONLY_BY_NAME)}", file=sys.stderr)
        return 2
    rows = _run(list(dict.fromkeys(wanted)))
    table.write(rows, RESULT)
    print(f"\n{table.rendered(rows)}\n\nwritten to {RESULT}")
    return 1 if any(row.verdict == "missed" for row in rows) else 0


def _run(names: Sequence[str]) -> list[Row]:
    """On servers of this run's own; their folder stays when it fails."""
    live = LiveSystem(environment.FOLDER)
    print(f"bench: logs and data of this run: {environment.FOLDER}", flush=True)
    rows: list[Row] = []
    environment.STACK.up()
    try:
        call_command("migrate", verbosity=0)
        call_command("ensure_indexes", verbosity=0)
        bench = prepare(live, Sizes())
        for name in names:
            empty_queues()
            started = time.monotonic()
            found = (BENCHMARKS | ONLY_BY_NAME)[name](bench)
            rows += found
            print(f"\nbench: {name} took {time.monotonic() - started:.0f} s\n{table.rendered(found)}", flush=True)
    finally:
        try:
            live.close()
        finally:
            environment.STACK.down()
    shutil.rmtree(environment.FOLDER, ignore_errors=True)
    return rows


if __name__ == "__main__":
    # A terminated run ends its servers, too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    sys.exit(main(sys.argv[1:]))
