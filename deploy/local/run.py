"""`make run` and `make stop`: Sprayer and everything it needs on this machine, until Ctrl-C.

python -m deploy.local.run          start, send a first message, stay up
python -m deploy.local.run stop     end what an earlier start left running, from any terminal
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

from deploy.local import processes
from deploy.local.environment import ROOT, Local, local
from deploy.local.servers import HOST, StackError, require_free
from deploy.local.supervisor import Program, Supervisor

READY_TIMEOUT = 60.0
DOWN_TIMEOUT = 120.0


class Interrupted(BaseException):
    """Ctrl-C, SIGTERM or a closed terminal: raised once, later signals are ignored while things end in order."""


def say(text: str) -> None:
    with contextlib.suppress(OSError):
        print(f"sprayer: {text}", flush=True)


def run() -> int:
    here = local()
    with _only_one(here.var):
        _interruptible()
        try:
            _end_leftovers(here)
            _require_ports(here)
            _up(here)
        except Interrupted:
            say("stopped; data is kept in " + str(here.var))
    return 0


def stop() -> int:
    here = local()
    supervisor = processes.read_pid(_pid_file(here.var))
    if supervisor:
        processes.send(supervisor, signal.SIGTERM)
        if not processes.wait_until(lambda: not processes.alive(supervisor), DOWN_TIMEOUT):
            raise StackError(f"process {supervisor.pid} does not end: kill it, then repeat")
    ended = _end_leftovers(here)
    running = [server for server in here.stack.servers if server.process()]
    here.stack.down()
    say("stopped" if supervisor or ended or running else "nothing was running")
    return 0


def _up(here: Local) -> NoReturn:
    """Everything, in order; ends it in the opposite order whatever happens."""
    supervisor = Supervisor(programs(here), here.var, ROOT, say)
    try:
        names = ", ".join(server.name for server in here.stack.servers)
        if names:
            say(f"starting {names}")
        here.stack.up()
        _prepare_folders(here.var)
        _manage(here, "migrate", "--verbosity", "0")
        _manage(here, "ensure_indexes")
        supervisor.start()
        if late := supervisor.wait_ready(READY_TIMEOUT):
            raise StackError(f"{late} is not ready after {READY_TIMEOUT:g} s: see {here.var / 'log' / late}.log")
        _manage(here, "demo")
        say(f"running at {here.url}; logs are in {here.var / 'log'}; Ctrl-C ends it")
        while True:
            signal.pause()
    finally:
        _ignore_signals()
        say("stopping")
        try:
            supervisor.stop()
        finally:
            here.stack.down()


def programs(here: Local) -> list[Program]:
    """In the order of their start."""

    def program(name: str, *command: str, ready: Callable[[], bool] | None = None) -> Program:
        health = here.var / "run" / f"{name}.health"
        health.unlink(missing_ok=True)
        environment = here.environment | {"SPRAYER_HEALTH_FILE": str(health)}
        return Program(name, [sys.executable, "manage.py", *command], environment, ready or health.exists)

    return [
        program("sandbox", "run_sandbox", ready=lambda: _answers(f"{here.sandbox_url}/")),
        program(
            "web",
            *("run_web", "--host", HOST, "--port", str(here.web_port)),
            ready=lambda: _answers(f"{here.url}/healthz"),
        ),
        program("dispatcher", "run_dispatcher", "--all"),
        program("feeder", "run_status_feeder"),
        program("webhooks", "run_webhooks"),
        program("live", "run_live"),
        program("sweeper", "run_sweeper"),
    ]


def _prepare_folders(var: Path) -> None:
    """What all processes share: static files, and metrics, which begin anew with the processes."""
    shutil.rmtree(var / "metrics", ignore_errors=True)
    for name in ("metrics", "static"):
        (var / name).mkdir(parents=True, exist_ok=True)


def _manage(here: Local, *arguments: str) -> None:
    """Run a command to its end, in a session of its own so that Ctrl-C is ours to pass on."""
    child = subprocess.Popen(
        [sys.executable, "manage.py", *arguments], cwd=ROOT, env=here.environment, start_new_session=True
    )
    try:
        code = child.wait()
    except BaseException:
        child.terminate()
        child.wait()
        raise
    if code:
        raise StackError(f"manage.py {arguments[0]} failed")


def _require_ports(here: Local) -> None:
    advice = "set {} to a free port"
    require_free(here.web_port, "the console and API", advice.format("SPRAYER_PORT"))
    require_free(here.sandbox_port, "the sandbox", advice.format("SPRAYER_SANDBOX_PORT"))
    require_free(here.smtp_port, "the sandbox's mail gateway", advice.format("SPRAYER_SANDBOX_SMTP_PORT"))


def _end_leftovers(here: Local) -> bool:
    """End programs whose supervisor was killed."""
    found = [identity for path in (here.var / "run").glob("*.pid") if (identity := processes.read_pid(path))]
    others = [identity for identity in found if identity.pid != os.getpid()]
    for identity in others:
        say(f"ending process {identity.pid}, left over from an earlier start")
        processes.end(identity, 20)
    return bool(others)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except urllib.error.HTTPError as error:
        error.close()
    except OSError:
        pass
    return False


def _pid_file(var: Path) -> Path:
    return var / "run" / "supervisor.pid"


@contextlib.contextmanager
def _only_one(var: Path) -> Iterator[None]:
    """Raises StackError when Sprayer runs from this folder already."""
    path = _pid_file(var)
    path.parent.mkdir(parents=True, exist_ok=True)
    if other := processes.read_pid(path):
        raise StackError(f"it is running already (process {other.pid}); `make stop` ends it")
    processes.write_pid(path, os.getpid())
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _interruptible() -> None:
    """SIGINT, SIGTERM and SIGHUP raise Interrupted in the main thread, once."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        _ignore_signals()
        raise Interrupted

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)


def _ignore_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def main(arguments: list[str]) -> int:
    try:
        return stop() if arguments == ["stop"] else run()
    except StackError as error:
        print(f"sprayer: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
