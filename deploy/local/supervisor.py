"""Keeps a set of commands running: their logs together on the terminal and apart in files, restarts with backoff."""

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from deploy.local import processes

BACKOFF = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
STEADY = 60.0
STOP_TIMEOUT = 15.0
LOG_BYTES = 10 * 1024 * 1024
_COLOURS = (36, 32, 33, 35, 34, 31)


class Log:
    """A log file with one predecessor (`.1`), each at most LOG_BYTES long."""

    def __init__(self, path: Path, limit: int = LOG_BYTES) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.limit = path, limit
        self._file = path.open("ab")

    def write(self, line: bytes) -> None:
        if self._file.tell() + len(line) > self.limit:
            self._file.close()
            self.path.replace(self.path.with_name(f"{self.path.name}.1"))
            self._file = self.path.open("ab")
        self._file.write(line)
        self._file.flush()

    def close(self) -> None:
        self._file.close()


@dataclass(slots=True)
class Program:
    """One command that is to run until it is stopped. `ready` says whether it does its work already."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    ready: Callable[[], bool] = lambda: True


class Supervisor:
    """Starts programs, restarts those that die, stops them in the opposite order."""

    def __init__(self, programs: Sequence[Program], var: Path, cwd: Path, say: Callable[[str], None]) -> None:
        self._say = say
        width = max(len(program.name) for program in programs)
        colours = sys.stdout.isatty()
        self._keepers = [
            _Keeper(program, var, cwd, say, _prefix(program.name, width, number if colours else None))
            for number, program in enumerate(programs)
        ]

    def start(self) -> None:
        for keeper in self._keepers:
            keeper.start()

    def wait_ready(self, timeout: float) -> str | None:
        """The name of a program that is not ready after timeout seconds, None when all are."""
        deadline = time.monotonic() + timeout
        for keeper in self._keepers:
            while not (keeper.running and keeper.program.ready()):
                if time.monotonic() > deadline:
                    return keeper.program.name
                time.sleep(0.1)
        return None

    def stop(self) -> None:
        """One after the other, the last started first: each may need those before it to finish what is in hand."""
        for keeper in reversed(self._keepers):
            keeper.ask_to_stop()
            if not keeper.finish():
                self._say(f"{keeper.program.name} did not end within {STOP_TIMEOUT:g} s and was killed")


class _Keeper:
    """One program's thread: reads its output until it ends, waits, starts it again."""

    def __init__(self, program: Program, var: Path, cwd: Path, say: Callable[[str], None], prefix: bytes) -> None:
        self.program = program
        self._pid_file = var / "run" / f"{program.name}.pid"
        self._pid_file.parent.mkdir(parents=True, exist_ok=True)
        self._log = Log(var / "log" / f"{program.name}.log")
        self._cwd, self._say, self._prefix = cwd, say, prefix
        self._child: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._starting = threading.Lock()
        self._thread = threading.Thread(target=self._keep, name=program.name, daemon=True)

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def start(self) -> None:
        self._thread.start()

    def ask_to_stop(self) -> None:
        with self._starting:
            self._stopping.set()
            if self._child is not None and self._child.poll() is None:
                self._child.terminate()

    def finish(self) -> bool:
        """False when it had to be killed."""
        if self._thread.ident is not None:
            self._thread.join(STOP_TIMEOUT)
        in_time = not self._thread.is_alive()
        if not in_time and self._child is not None:
            self._child.kill()
            self._thread.join(5)
        self._log.close()
        return in_time

    def _keep(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            started = time.monotonic()
            child = self._spawn()
            if child is None:
                return
            assert child.stdout is not None
            self._pump(child.stdout)
            code = child.wait()
            self._pid_file.unlink(missing_ok=True)
            if self._stopping.is_set():
                return
            failures = 0 if time.monotonic() - started > STEADY else failures + 1
            pause = BACKOFF[min(failures, len(BACKOFF)) - 1] if failures else BACKOFF[0]
            how = f"signal {-code}" if code < 0 else f"code {code}"
            self._say(f"{self.program.name} ended with {how}; starting it again in {pause:g} s")
            self._stopping.wait(pause)

    def _spawn(self) -> subprocess.Popen[bytes] | None:
        with self._starting:
            if self._stopping.is_set():
                return None
            self._child = subprocess.Popen(
                self.program.command,
                env=dict(self.program.environment),
                cwd=self._cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            processes.write_pid(self._pid_file, self._child.pid)
            return self._child

    def _pump(self, output: IO[bytes]) -> None:
        with output:
            for line in output:
                self._log.write(line)
                # A terminal that went away must not block or end the program.
                with contextlib.suppress(OSError):
                    sys.stdout.buffer.write(self._prefix + line)
                    sys.stdout.buffer.flush()


def _prefix(name: str, width: int, number: int | None) -> bytes:
    text = f"{name:{width}} | "
    if number is None:
        return text.encode()
    return f"\x1b[{_COLOURS[number % len(_COLOURS)]}m{text}\x1b[0m".encode()
