"""The environment of a test run: servers, ports and a folder of its own, whatever the developer's environment says.

Import it before anything that reads Django's settings. Where pytest-xdist divides a run, each of its workers has
servers, ports and a folder (inside the run's) of its own.
"""

import os
import random
import shutil
import socket
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import django
from django.conf import settings

from deploy.local.servers import HOST
from deploy.local.stack import Stack

ROOT = Path(__file__).resolve().parent.parent
STACK_PORTS = 10
WEB_OFFSET, SANDBOX_OFFSET, SMTP_OFFSET = 7, 8, 9
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
"""gw0, gw1 ...; empty in the process that divides the run, or does all of it."""
_RUN_FOLDER, _PREFIX = "TEST_RUN_FOLDER", "sprayer-test-"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def free_base() -> int:
    """The first of ten free ports, below those that the system gives to outgoing connections.

    Each worker of a run draws from ports of its own.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    first = 20_000 + STACK_PORTS * int(WORKER.removeprefix("gw") or 0)
    candidates = range(first, 32_000, STACK_PORTS * workers)
    for base in random.sample(candidates, len(candidates)):
        if all(_free(port) for port in range(base, base + STACK_PORTS)):
            return base
    raise RuntimeError("no ten free ports in a row")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _in_memory() -> str | None:
    """Where there is room, data lies in memory: tests are about processes that die, not about how long a disk takes."""
    shared = Path("/dev/shm")
    return str(shared) if shared.is_dir() and shutil.disk_usage(shared).free > 4 * 2**30 else None


def _folder() -> Path:
    if WORKER:
        folder = Path(os.environ[_RUN_FOLDER]) / WORKER
        folder.mkdir()
    else:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_in_memory()))
        os.environ[_RUN_FOLDER] = str(folder)
        _forget_old(folder.parent)
    return folder


def _forget_old(parent: Path) -> None:
    """The folder of a run that failed stays for a day."""
    for left in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if left.stat().st_mtime < time.time() - 86_400:
                shutil.rmtree(left)


def _take_over() -> Stack:
    if settings.configured:
        raise RuntimeError("Django's settings were read too early: unset DJANGO_SETTINGS_MODULE")
    for name in [name for name in os.environ if name.startswith("SPRAYER_")]:
        del os.environ[name]
    # Processes that tests start would compile the whole project each, where the developer wants no compiled files.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    folder, base = _folder(), free_base()
    (folder / "static").mkdir()  # WhiteNoise warns of a missing one
    stack = Stack(folder / "stack", base, shards=2)
    sandbox = f"{HOST}:{base + SANDBOX_OFFSET}"
    os.environ.update(
        stack.environment(),
        DJANGO_SETTINGS_MODULE="sprayer_project.settings",
        SPRAYER_VAR_DIR=str(folder),
        SPRAYER_DATABASE_URL=f"sqlite:///{folder / 'sprayer.sqlite3'}",
        SPRAYER_EMAIL_URL=f"file://{folder / 'mail'}",
        SPRAYER_STACK_PORT=str(base),
        SPRAYER_PORT=str(base + WEB_OFFSET),
        SPRAYER_SANDBOX_PORT=str(base + SANDBOX_OFFSET),
        SPRAYER_SANDBOX_SMTP_PORT=str(base + SMTP_OFFSET),
        SPRAYER_TWILIO_URL=f"http://{sandbox}/sms",
        SPRAYER_APNS_URL=f"http://{sandbox}/ios",
        SPRAYER_APNS_DEVELOPMENT_URL=f"http://{sandbox}/ios",
        SPRAYER_FCM_URL=f"http://{sandbox}/android",
        SPRAYER_GOOGLE_OAUTH_URL=f"http://{sandbox}/android",
        SPRAYER_MAILGUN_URL=f"http://{sandbox}/email",
        SPRAYER_WEBHOOK_ALLOW_PRIVATE=f"{sandbox},{HOST}:{base + SMTP_OFFSET}",
    )
    return stack


STACK = _take_over()
django.setup()
FOLDER = STACK.directory.parent
