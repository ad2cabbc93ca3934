"""How a web process ends."""

import asyncio
import subprocess
import sys

import pytest

from messaging.realtime import server
from messaging.realtime.server import DrainingServer
from tests.environment import ROOT

CROWDED = """
import asyncio, os, signal
import django
django.setup()
from messaging.realtime.server import DrainingServer
from twisted.internet import reactor

def crowd():
    for _ in range(10_000):
        asyncio.get_event_loop().call_soon_threadsafe(int)
    os.kill(os.getpid(), signal.SIGTERM)

reactor.callWhenRunning(lambda: reactor.callLater(0, crowd))
DrainingServer(None, ["tcp:port=0:interface=127.0.0.1"]).run()
"""


async def test_an_application_that_heeds_no_cancellation_does_not_keep_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "_FAREWELL", 0.1)
    over = asyncio.Event()

    async def stubborn() -> None:
        while not over.is_set():
            try:
                await over.wait()
            except asyncio.CancelledError:
                continue

    web = DrainingServer(None, ["tcp:port=0:interface=127.0.0.1"])
    application = asyncio.ensure_future(stubborn())
    await asyncio.sleep(0)
    web.connections = {object(): {"application_instance": application}, object(): {}}
    async with asyncio.timeout(10):
        await web.kill_all_applications().asFuture(asyncio.get_running_loop())
    assert not application.done()
    over.set()
    await application


def test_a_signal_is_heard_among_ten_thousand_calls_from_threads() -> None:
    web = subprocess.run([sys.executable, "-c", CROWDED], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (web.returncode, "draining" in web.stdout + web.stderr) == (0, True), web.stderr
