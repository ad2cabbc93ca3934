"""broadcast: frames a second from one web process to connected receivers, for one message after the other to them all.

The entries are written into the inboxes while the web process stands still, so that it alone is measured: `inbox`
measures the writing. Reference: nginx with the module nchan, one process, one channel with as many subscribers.
"""

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

from benchmarks import realtime
from benchmarks.receivers import WELCOME, Receivers
from benchmarks.system import Bench, Busy, percent
from benchmarks.table import Row, row
from deploy.local.servers import HOST
from tests.live import LiveProcess

TARGETS = {"daphne": 0.35, "uvicorn": None}


@dataclass(slots=True)
class Load:
    """A server with its clients. prepare() comes before what is timed: send(), and the way of one message to them all.

    Of each round, the server's: frames a second, CPU seconds a frame, share of a core; and the clients' share of one.
    """

    pid: int
    clients: Receivers
    prepare: Callable[[], None]
    send: Callable[[], None]
    rates: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    clients_shares: list[float] = field(default_factory=list)

    def run(self, messages: int) -> None:
        frames, seconds, used, clients_used = self.clients.connections * messages, 0.0, 0.0, 0.0
        for _ in range(messages):
            self.prepare()
            self.clients.count(self.clients.connections)
            busy, started = Busy(self.pid), time.monotonic()
            self.send()
            counted = self.clients.counted()
            seconds += counted.last - started
            used += busy.seconds() or 0
            clients_used += counted.cpu
        self.rates.append(frames / seconds)
        self.costs.append(used / frames)
        self.shares.append(used / seconds)
        self.clients_shares.append(clients_used / seconds)

    @property
    def told(self) -> str:
        cost, share, clients = min(self.costs) * 1e6, percent(max(self.shares)), percent(max(self.clients_shares))
        return f"{cost:.1f} µs of CPU a frame, {share} of one core, its clients {clients}"


def run(bench: Bench) -> list[Row]:
    number, messages = bench.sizes.connected, bench.sizes.broadcasts
    with ExitStack() as stack:
        servers = realtime.asgi_servers(bench)
        loads = {name: _of_server(stack, name, server, number) for name, server in servers.items()}
        loads["nchan"] = _of_nchan(stack, bench, number)
        for _ in range(bench.sizes.rounds):
            for load in loads.values():
                load.run(messages)
    for server in servers.values():
        server.stop()
    reference = loads.pop("nchan")
    return [
        row(
            f"broadcast ({name})",
            "frames/s",
            load.rates,
            reference.rates,
            TARGETS[name],
            f"{messages} messages, one after the other, to {number:,} connections; {name}: {load.told}; "
            f"nchan: {reference.told}.",
        )
        for name, load in loads.items()
    ]


def _of_server(stack: ExitStack, name: str, server: LiveProcess, number: int) -> Load:
    names, clients = [f"{name}-{index:06}" for index in range(number)], stack.enter_context(Receivers())
    clients.count(number, WELCOME)
    clients.connect(*realtime.place(server), realtime.paths(names))
    clients.counted()
    go_on = partial(os.kill, server.pid, signal.SIGCONT)
    stack.callback(go_on)
    return _warm(Load(server.pid, clients, partial(_write, server.pid, names), go_on))


def _write(pid: int, names: Sequence[str]) -> None:
    """Stop the process, and put a message into all inboxes: its wake-ups wait for it."""
    os.kill(pid, signal.SIGSTOP)
    message = realtime.outgoing()
    realtime.run_alone(partial(realtime.append, message, realtime.recipients(message, names)))


def _of_nchan(stack: ExitStack, bench: Bench, number: int) -> Load:
    nginx = realtime.nchan(bench.live.folder / "nchan-broadcast")
    nginx.start()
    stack.callback(nginx.stop)
    clients = stack.enter_context(Receivers())
    clients.connect(HOST, nginx.port, [f"/subscribe?to={realtime.GROUP}"] * number)
    text = realtime.frame(realtime.outgoing())
    return _warm(Load(nginx.pid, clients, _nothing, partial(realtime.publish, nginx, realtime.GROUP, text)))


def _warm(load: Load) -> Load:
    load.run(1)
    return Load(load.pid, load.clients, load.prepare, load.send)


def _nothing() -> None:
    pass
