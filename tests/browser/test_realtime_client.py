"""The JavaScript client in Chromium, in front of real web processes and of a network that fails."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from deploy.local.stack import Stack
from deploy.screenshots import chromium
from subscriptions.services import put_receiver
from tests.browser.gate import Gate, gate
from tests.conftest import TenantUnderTest
from tests.environment import ROOT, free_port
from tests.live import LiveSystem, wait_for

pytestmark = pytest.mark.browser

SAMPLE = ROOT / "docs" / "examples" / "realtime"
RECEIVERS = ("alice", "bob")


@dataclass
class Application:
    """The tenant's own server: it sends, and gives tokens."""

    key: str
    url: str
    sent: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)

    def send(self, count: int = 1, **extra: Any) -> None:
        """To everybody, numbered on."""
        for _ in range(count):
            self.sent.append(str(len(self.sent) + 1))
            message = {"to": {"receivers": RECEIVERS}, "channels": ["websocket"], "content": {"body": self.sent[-1]}}
            self.ids.append(self._post("messages", message | extra)["id"])

    def token(self, receiver: str = "alice", ttl: int = 600) -> dict[str, Any]:
        return self._post(f"receivers/{receiver}/tokens", {"ttl": ttl})

    def counted(self, message: str) -> dict[str, int]:
        """How many deliveries stand at each status."""
        totals: dict[str, int] = self._ask("GET", f"messages/{message}")["totals"]["channels"].get("websocket", {})
        return totals

    def _post(self, path: str, body: Any) -> dict[str, Any]:
        return self._ask("POST", path, json=body)

    def _ask(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.key}"}
        answer = httpx.request(method, f"{self.url}/api/v1/{path}", headers=headers, timeout=10, **more)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture(scope="module")
def processes(
    stack: Stack, indexes: None, django_db_setup: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveSystem]:
    """Two web processes, and what a message needs to arrive and to be delivered."""
    system = LiveSystem(tmp_path_factory.mktemp("realtime"))
    system.start("web", "web", "dispatcher", "feeder")
    yield system
    system.close()


@pytest.fixture
def application(
    processes: LiveSystem, clean_stores: None, transactional_db: None, acme: TenantUnderTest
) -> Application:
    for receiver in RECEIVERS:
        put_receiver("acme", receiver, [])
    return Application(acme.key, str(processes["web2"].url))


@pytest.fixture
def network(processes: LiveSystem) -> Iterator[Gate]:
    """Between one browser and, at first, the first web process."""
    with gate(str(processes["web"].url)) as opened:
        yield opened


@pytest.fixture
def browser(application: Application) -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@contextmanager
def sample(application: Application, sprayer: str, log: Path) -> Iterator[str]:
    """docs/examples/realtime/serve.py, and so a page of another origin than Sprayer. Answers its URL."""
    port = free_port()
    own = {"SPRAYER_URL": sprayer, "SPRAYER_API_KEY": application.key, "PORT": str(port)}
    with log.open("wb") as out:
        server = subprocess.Popen(
            [sys.executable, str(SAMPLE / "serve.py")], env=os.environ | own, stdout=out, stderr=out
        )
    url = f"http://localhost:{port}"
    try:
        wait_for(lambda: _answers(f"{url}/config"), what="the sample's server")
        yield url
    finally:
        server.terminate()
        server.wait(10)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


def inbox(context: BrowserContext, url: str, receiver: str, transport: str = "websocket") -> Page:
    """The sample's page once it is connected."""
    page = context.new_page()
    page.goto(f"{url}/?receiver={receiver}")
    expect(page.get_by_role("status")).to_have_text(f"connected: {transport}", timeout=15_000)
    return page


def expect_all(page: Page, application: Application) -> None:
    """Every message once and in order, and nothing else."""
    expect(page.locator("#messages li")).to_have_text(application.sent, timeout=15_000)


def test_two_browsers_and_one_that_loses_the_network_and_comes_back_to_another_process(
    processes: LiveSystem, application: Application, network: Gate, browser: Browser, tmp_path: Path
) -> None:
    away = browser.new_context()
    with (
        sample(application, str(processes["web2"].url), tmp_path / "alice.log") as at_home,
        sample(application, network.url, tmp_path / "bob.log") as on_the_way,
    ):
        alice = inbox(browser.new_context(), at_home, "alice")
        bob = inbox(away, on_the_way, "bob")
        alice.get_by_label("Text").fill("1")
        alice.get_by_role("button", name="Send").click()
        application.sent.append("1")
        application.send(2)
        for page in (alice, bob):
            expect_all(page, application)

        away.set_offline(True)
        network.cut()
        expect(bob.get_by_role("status")).to_have_text("offline")
        application.send(10)
        expect_all(alice, application)
        processes["web"].stop()
        network.upstream = str(processes["web2"].url)
        network.mend()
        away.set_offline(False)
        expect_all(bob, application)
        application.send(2)
        for page in (alice, bob):
            expect_all(page, application)
    for message in application.ids:
        wait_for(lambda: application.counted(message) == {"delivered": 2}, what="the delivered status")  # noqa: B023
