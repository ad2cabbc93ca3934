"""The sandbox in a thread of this process, on free ports: no other server is needed."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from urllib.parse import urlsplit

import pytest
from pytest_django import Settings

from messaging.sandbox.server import Sandbox


@pytest.fixture
def sandbox(settings: Settings) -> Iterator[Sandbox]:
    """Its callbacks come after 10 ms; the settings lead to it."""
    running: Future[tuple[Sandbox, Callable[[], object]]] = Future()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(running)), name="sandbox")
    thread.start()
    sandbox, stop = running.result(30)
    sandbox.control.delay = 0.01
    smtp_port = urlsplit(sandbox.gateways["email"].describe(sandbox.url)["smtp"]).port
    settings.SANDBOX_PORT, settings.SANDBOX_URL, settings.SANDBOX_SMTP_PORT = sandbox.port, sandbox.url, smtp_port
    settings.WEBHOOK_ALLOW_PRIVATE = [f"127.0.0.1:{sandbox.port}", f"127.0.0.1:{smtp_port}"]
    yield sandbox
    stop()
    thread.join(30)
    assert not thread.is_alive()


@pytest.fixture
def providers(sandbox: Sandbox, settings: Settings) -> Sandbox:
    """Live messages, too, go to the sandbox."""
    places = {"twilio": "sms", "apns": "ios", "apns_development": "ios", "fcm": "android", "google_oauth": "android"}
    places["mailgun"] = "email"
    own = {provider: f"{sandbox.url}/{channel}" for provider, channel in places.items()}
    settings.PROVIDER_URLS = {**settings.PROVIDER_URLS, **own}
    return sandbox


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


async def _serve(running: "Future[tuple[Sandbox, Callable[[], object]]]") -> None:
    sandbox, done, loop = Sandbox("127.0.0.1", 0, 0), asyncio.Event(), asyncio.get_running_loop()
    try:
        await sandbox.start()
    except BaseException as error:
        running.set_exception(error)
        raise
    running.set_result((sandbox, lambda: loop.call_soon_threadsafe(done.set)))
    await done.wait()
    await sandbox.stop()
