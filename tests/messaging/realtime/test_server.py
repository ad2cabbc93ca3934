"""How a web process ends."""

import asyncio

import pytest

from messaging.realtime import server
from messaging.realtime.server import DrainingServer


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
