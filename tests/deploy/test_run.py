"""`make run` from its first line to its end, beside the servers of the test run."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.local import processes
from deploy.local.servers import accepts
from tests.environment import ROOT, STACK_PORTS, WEB_OFFSET, free_base
from tests.live import wait_for

pytestmark = pytest.mark.services

UP = "sprayer: running at "


@dataclass(frozen=True, slots=True)
class Run:
    """A `make run` under way."""

    var: Path
    base: int
    environment: dict[str, str]
    process: subprocess.Popen[bytes]
    output: Path

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "deploy.local.run", *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    var, base = tmp_path_factory.mktemp("run"), free_base()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SPRAYER_", "DJANGO_"))}
    environment |= {
        "SPRAYER_VAR_DIR": str(var),
        "SPRAYER_STACK_PORT": str(base),
        "SPRAYER_PORT": str(base + WEB_OFFSET),
    }
    output = var / "terminal.txt"
    process = processes.spawn([sys.executable, "-m", "deploy.local.run"], output, environment, ROOT)
    run = Run(var, base, environment, process, output)
    try:
        wait_for(lambda: UP in output.read_text() or process.poll() is not None, 180, "the end of the start")
        assert process.poll() is None, output.read_text()
        yield run
    finally:
        run.command("stop")
        process.wait(10)


def test_it_shows_what_became_of_a_first_message_on_every_channel(running: Run) -> None:
    demo = json.loads((running.var / "demo.json").read_text())
    assert set(demo) >= {"url", "api_key", "test_key", "login", "tenant", "message_id", "receivers", "groups"}
    request = urllib.request.Request(
        f"{demo['url']}/api/v1/messages/{demo['message_id']}/deliveries",
        headers={"Authorization": f"Bearer {demo['api_key']}"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        rows = json.load(answer)["data"]
    channels = {module.stem for module in (ROOT / "messaging" / "channels").glob("*.py")} - {"__init__", "base"}
    assert {row["channel"] for row in rows} == channels
    shown = running.output.read_text()
    assert all(f"  {channel} " in shown for channel in channels)
    assert demo["url"] in shown


def test_a_second_start_is_refused_in_one_sentence(running: Run) -> None:
    second = running.command()
    assert second.returncode == 1
    assert f"it is running already (process {running.process.pid})" in second.stderr
    assert "Traceback" not in second.stderr


def test_stop_from_another_terminal_leaves_nothing_behind(running: Run) -> None:
    files = [*running.var.glob("run/*.pid"), *running.var.glob("stack/**/pid")]
    everything = [identity for path in files if (identity := processes.read_pid(path))]
    assert len(everything) >= 10

    stopped = running.command("stop")

    assert stopped.returncode == 0, stopped.stderr
    assert running.process.wait(10) == 0, running.output.read_text()
    assert not [identity for identity in everything if processes.alive(identity)]
    assert not [port for port in range(running.base, running.base + STACK_PORTS) if accepts(port)]
    assert "Traceback" not in running.output.read_text()


def test_stopping_what_does_not_run_is_harmless(running: Run) -> None:
    running.command("stop")
    again = running.command("stop")
    assert again.returncode == 0
    assert "nothing was running" in again.stdout
