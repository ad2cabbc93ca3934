"""The supervisor of `make run`: logs, restarts, an end in order."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import processes
from deploy.local.supervisor import Log, Program, Supervisor
from tests.live import wait_for

FOREVER = "import signal; print('up', flush=True); signal.pause()"


class Spoken(list[str]):
    """What the supervisor said."""

    def about(self, text: str) -> list[str]:
        return [line for line in self if text in line]


@pytest.fixture
def said() -> Spoken:
    return Spoken()


@pytest.fixture
def running(tmp_path: Path, said: Spoken) -> Iterator[Supervisor]:
    programs = [Program(name, [sys.executable, "-c", FOREVER], os.environ) for name in ("first", "second")]
    supervisor = Supervisor(programs, tmp_path, tmp_path, said.append)
    supervisor.start()
    assert supervisor.wait_ready(10) is None
    yield supervisor
    supervisor.stop()


def program_in(folder: Path, name: str) -> processes.Identity:
    path = folder / "run" / f"{name}.pid"
    found = wait_for(lambda: processes.read_pid(path), 10, f"the pid of {name}")
    assert found
    return found


def test_a_killed_program_is_started_again_and_said_so(running: Supervisor, tmp_path: Path, said: Spoken) -> None:
    before = program_in(tmp_path, "first")
    processes.send(before, signal.SIGKILL)
    wait_for(lambda: program_in(tmp_path, "first") != before, 10, "another first")
    assert said.about("first ended with signal 9; starting it again in 0.5 s")


def test_stopping_ends_every_program_and_removes_its_pid_file(running: Supervisor, tmp_path: Path) -> None:
    both = [program_in(tmp_path, name) for name in ("first", "second")]
    running.stop()
    assert not any(processes.alive(one) for one in both)
    assert not list((tmp_path / "run").glob("*.pid"))


def test_output_is_kept_in_the_log_of_its_program(running: Supervisor, tmp_path: Path) -> None:
    log = tmp_path / "log" / "second.log"
    assert wait_for(log.read_bytes, 10, "the line in the log") == b"up\n"


def test_what_never_becomes_ready_is_named(tmp_path: Path, said: Spoken) -> None:
    command = [sys.executable, "-c", FOREVER]
    supervisor = Supervisor([Program("shy", command, os.environ, lambda: False)], tmp_path, tmp_path, said.append)
    supervisor.start()
    assert supervisor.wait_ready(0.3) == "shy"
    supervisor.stop()


def test_a_program_that_keeps_dying_waits_longer_each_time(tmp_path: Path, said: Spoken) -> None:
    command = [sys.executable, "-c", "raise SystemExit(3)"]
    supervisor = Supervisor([Program("broken", command, os.environ)], tmp_path, tmp_path, said.append)
    supervisor.start()
    wait_for(lambda: len(said.about("broken ended with code 3")) >= 2, 15, "two ends")
    started = time.monotonic()
    supervisor.stop()
    assert time.monotonic() - started < 5
    assert said[0].endswith("in 0.5 s")
    assert said[1].endswith("in 1 s")


def test_a_supervisor_that_was_not_started_can_be_stopped(tmp_path: Path, said: Spoken) -> None:
    Supervisor([Program("idle", ["true"], os.environ)], tmp_path, tmp_path, said.append).stop()
    assert not said


def test_a_log_is_bounded_with_one_predecessor(tmp_path: Path) -> None:
    log = Log(tmp_path / "program.log", limit=100)
    for number in range(50):
        log.write(f"line {number:04}\n".encode())
    log.close()
    files = sorted(tmp_path.iterdir())
    assert [path.name for path in files] == ["program.log", "program.log.1"]
    assert all(path.stat().st_size <= 100 for path in files)
    assert files[0].read_text().endswith("line 0049\n")
