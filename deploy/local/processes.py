"""Processes that outlive the one that started them: recognised by pid and start mark, never by pid alone."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Identity:
    """A process: its pid, and when the kernel started it, which a later process with the same pid does not share."""

    pid: int
    started: str


def identify(pid: int) -> Identity | None:
    """The process with this pid, None where there is none or only its unread exit status is left."""
    started = _started_linux(pid) if Path("/proc/self/stat").exists() else _started_ps(pid)
    return Identity(pid, started) if started else None


def alive(identity: Identity) -> bool:
    return identify(identity.pid) == identity


def read_pid(path: Path) -> Identity | None:
    """The process that a pid file names, None when it has ended or the pid has gone to another process."""
    try:
        pid, _, started = path.read_text().strip().partition(" ")
        identity = Identity(int(pid), started)
    except (OSError, ValueError):
        return None
    return identity if alive(identity) else None


def write_pid(path: Path, pid: int) -> Identity | None:
    """None when the process has ended already; then nothing is written."""
    if identity := identify(pid):
        path.write_text(f"{identity.pid} {identity.started}\n")
    return identity


def spawn(
    command: Sequence[str], log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own, its output appended to the log: a Ctrl-C does not reach it."""
    with log.open("ab") as output:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env, cwd=cwd, start_new_session=True
        )


def end(identity: Identity, timeout: float) -> bool:
    """SIGTERM, then SIGKILL after timeout seconds. False when it had to be killed."""
    send(identity, signal.SIGTERM)
    if wait_until(lambda: not alive(identity), timeout):
        return True
    send(identity, signal.SIGKILL)
    wait_until(lambda: not alive(identity), 10)
    return False


def send(identity: Identity, number: signal.Signals) -> None:
    if alive(identity):
        with contextlib.suppress(ProcessLookupError):
            os.kill(identity.pid, number)


def wait_until(condition: Callable[[], bool], timeout: float, interval: float = 0.05) -> bool:
    """Whether the condition came true within timeout seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(interval)
    return True


def tail(path: Path, lines: int = 15) -> str:
    """The last lines of a log, empty when there is none."""
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def _started_linux(pid: int) -> str:
    try:
        # The command in parentheses may hold blanks and parentheses: fields are counted from the last one (proc(5)).
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _started_ps(pid: int) -> str:
    answer = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, started = answer.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else started.strip()
