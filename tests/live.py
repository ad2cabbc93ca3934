"""Real processes of Sprayer for tests: started, killed and restarted one by one."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from deploy.local.servers import HOST
from tests.environment import ROOT, free_port

T = TypeVar("T")

COMMANDS = {
    "web": ["run_web", "--host", HOST],
    "dispatcher": ["run_dispatcher", "--all"],
    "feeder": ["run_status_feeder"],
    "webhooks": ["run_webhooks"],
    "live": ["run_live"],
    "sweeper": ["run_sweeper"],
    "sandbox": ["run_sandbox"],
}
PATIENCE = 3.0
"""Limits are for an idle machine: how many times as long a busy one may take, before that is a failure."""
START_TIMEOUT = 60.0
STOP_TIMEOUT = 60.0


def wait_for(
    condition: Callable[[], T],
    timeout: float = 10.0,
    what: str = "the condition",
    patience: float = PATIENCE,
    pause: float = 0.05,
) -> T:
    """The condition's first true value. Fails, saying what did not come, after patience times timeout seconds.

    A patience of 1 is for what the product promises: that it has happened by then, whatever the machine is busy with.
    pause: seconds between two looks.
    """
    limit = patience * timeout
    deadline = time.monotonic() + limit
    while True:
        if value := condition():
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come within {limit:g} s; last seen: {value!r}")
        time.sleep(pause)


class LiveProcess:
    """One process. `url` is where it listens, for web and sandbox."""

    def __init__(self, name: str, command: Sequence[str], folder: Path, env: Mapping[str, str], url: str | None):
        self.name = name
        self.url = url
        self.log_path = folder / f"{name}.log"
        self.health_file = folder / f"{name}.health"
        self._command = [sys.executable, str(ROOT / "manage.py"), *command]
        self._environment = {**os.environ, **env, "SPRAYER_HEALTH_FILE": str(self.health_file)}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    @property
    def resident(self) -> int:
        """Bytes of memory that it has in use."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def launch(self) -> None:
        self.health_file.unlink(missing_ok=True)
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environment, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def wait_ready(self) -> None:
        wait_for(lambda: not self.running or self._ready(), START_TIMEOUT, f"{self.name}'s readiness")
        assert self.running, f"{self.name} ended while starting:\n{self.log_text()[-3000:]}"

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM; it must end by itself."""
        self._end(signal.SIGTERM)

    def restart(self) -> None:
        self.stop()
        self.launch()
        self.wait_ready()

    def log_text(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def _ready(self) -> bool:
        if self.url is None:
            return self.health_file.exists()
        try:
            with urllib.request.urlopen(f"{self.url}{'/healthz' if self.name.startswith('web') else '/'}", timeout=2):
                return True
        except urllib.error.HTTPError as error:
            error.close()
        except OSError:
            pass
        return False

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        if self.running:
            self._process.send_signal(number)
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"{self.name} did not end on {number.name}:\n{self.log_text()[-3000:]}") from None


class WsgiServer(LiveProcess):
    """The console and the REST API as production runs them: workers with threads that wait for the stores."""

    WORKERS, THREADS = 2, 8

    def __init__(self, folder: Path, env: Mapping[str, str] | None = None) -> None:
        port = free_port()
        super().__init__("web-wsgi", [], folder, env or {}, f"http://{HOST}:{port}")
        options = ["--interface", "wsgi", "--no-ws", "--respawn-failed-workers", "--host", HOST, "--port", str(port)]
        options += ["--workers", str(self.WORKERS), "--blocking-threads", str(self.THREADS)]
        self._command = [sys.executable, "-m", "granian", *options, "sprayer_project.wsgi:application"]


class LiveSystem:
    """The processes of one test. The first web process listens on SPRAYER_PORT, later ones on ports of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[LiveProcess] = []

    def start(self, *kinds: str, env: Mapping[str, str] | None = None) -> list[LiveProcess]:
        """Start processes (keys of COMMANDS), all at once, and wait until they are ready.

        env adds to the environment of the test run.
        """
        started = [self._new(kind, dict(env or {})) for kind in kinds]
        for process in started:
            process.launch()
        for process in started:
            process.wait_ready()
        return started

    def __getitem__(self, name: str) -> LiveProcess:
        """By name: the first of a kind is named like it, the next web2, web3 ..."""
        return next(process for process in self.processes if process.name == name)

    def close(self) -> None:
        """End them all; one that does not end on SIGTERM fails the test after the others have ended."""
        for process in self.processes:
            if process.running:
                os.kill(process.pid, signal.SIGTERM)
        failures = []
        for process in self.processes:
            try:
                process.stop()
            except AssertionError as error:
                failures.append(str(error))
        assert not failures, "\n".join(failures)

    def _new(self, kind: str, env: dict[str, str]) -> LiveProcess:
        number = sum(process.name.startswith(kind) for process in self.processes) + 1
        command, url = [*COMMANDS[kind]], None
        if kind == "web":
            port = int(os.environ["SPRAYER_PORT"]) if number == 1 else free_port()
            command += ["--port", str(port)]
            url = f"http://{HOST}:{port}"
        elif kind == "sandbox":
            url = f"http://{HOST}:{os.environ['SPRAYER_SANDBOX_PORT']}"
        name = kind if number == 1 else f"{kind}{number}"
        process = LiveProcess(name, command, self.folder, env, url)
        self.processes.append(process)
        return process
