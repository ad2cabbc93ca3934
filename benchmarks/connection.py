"""connection: memory of a web process for each idle connection.

Reference: nginx with the module nchan, one process, a channel of its own for each connection. Both are measured once,
in processes that have served nobody before.
"""

import resource
import subprocess
from collections.abc import Sequence

from benchmarks import realtime
from benchmarks.receivers import WELCOME, Receivers
from benchmarks.system import Bench
from benchmarks.table import Row, row
from deploy.local.servers import HOST
from tests.live import LiveProcess

TARGET = 4
_SPARE = 500
"""Open files that a process has besides its connections."""


def run(bench: Bench) -> list[Row]:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    number = min(bench.sizes.idle, most - _SPARE)
    names = [f"idle-{index:06}" for index in range(number)]
    reference, rows = _of_nchan(bench, names), []
    for name, server in realtime.asgi_servers(bench).items():
        figure, before = _of_server(server, names)
        server.stop()
        note = f"{number:,} idle connections, {name} without them: {before / 1024:,.0f} MiB."
        rows.append(row(f"connection ({name})", "KiB", [figure], [reference], TARGET, note, at_most=True))
    return rows


def _of_server(server: LiveProcess, names: Sequence[str]) -> tuple[float, float]:
    """KiB a connection, and of the process before."""
    with Receivers() as clients:
        _connect(server, clients, ["first"])
        before = _resident(server.pid)
        _connect(server, clients, names)
        return (_resident(server.pid) - before) / len(names), before


def _connect(server: LiveProcess, clients: Receivers, names: Sequence[str]) -> None:
    clients.count(len(names), WELCOME)
    clients.connect(*realtime.place(server), realtime.paths(names))
    clients.counted()


def _of_nchan(bench: Bench, names: Sequence[str]) -> float:
    nginx = realtime.nchan(bench.live.folder / "nchan-connection")
    nginx.start()
    try:
        with Receivers() as clients:
            clients.connect(HOST, nginx.port, ["/subscribe?to=first"])
            before = _resident(nginx.pid)
            clients.connect(HOST, nginx.port, [f"/subscribe?to={name}" for name in names])
            return (_resident(nginx.pid) - before) / len(names)
    finally:
        nginx.stop()


def _resident(pid: int) -> float:
    """KiB in memory."""
    return float(subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, check=True).stdout)
