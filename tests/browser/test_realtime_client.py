"""The JavaScript client in Chromium, in front of real web processes and of a network that fails."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from deploy.local.stack import Stack
from deploy.screenshots import chromium
from subscriptions.services import put_receiver
from tests.conftest import TenantUnderTest
from tests.environment import ROOT, free_port
from tests.gate import Gate, gate
from tests.live import LiveSystem, wait_for
from tests.scripted import serving

pytestmark = pytest.mark.browser

CONNECT = """async ([url, options]) => {
    const { Sprayer } = await import(`${url}/static/sprayer.mjs`);
    Object.assign(window, { heard: [], tokens: 0 });
    const tokenProvider = async () => { const given = await token(); tokens += 1; return given; };
    window.inbox = new Sprayer({ url, tokenProvider, ...options });
    for (const type of ["message", "gap", "state", "error"]) inbox.on(type, (event) => heard.push([type, event]));
    inbox.connect();
}"""
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
def system(
    stack: Stack, indexes: None, django_db_setup: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveSystem]:
    system = LiveSystem(tmp_path_factory.mktemp("realtime"))
    yield system
    system.close()


@pytest.fixture
def processes(system: LiveSystem, clean_stores: None) -> LiveSystem:
    """Two web processes, and what a message needs to arrive and to be delivered: those of the first test stay."""
    if not system.processes:
        # A process remembers for a moment whom it held; the stores that were emptied between two tests do not.
        system.start("web", "web", "feeder", "dispatcher", env={"SPRAYER_REALTIME_CHECK": "0.5"})
    return system


@pytest.fixture
def application(processes: LiveSystem, transactional_db: None, acme: TenantUnderTest) -> Application:
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


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page of another origin than Sprayer."""
    with serving("<!doctype html><link rel='icon' href='data:,'>", SAMPLE) as url:
        page = browser.new_page()
        page.goto(f"{url}/")
        yield page


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


def connect(
    page: Page,
    application: Application,
    network: Gate,
    token: Callable[[], Any] | None = None,
    **options: Any,
) -> None:
    """alice's client with the tenant's tokens; the page notes what it hears."""
    page.expose_function("token", token or application.token)
    page.evaluate(CONNECT, [network.url, options])


def through(page: Page, transport: str) -> None:
    page.wait_for_function("(transport) => inbox.transport === transport", arg=transport)


def kinds(page: Page) -> list[str]:
    return [kind for kind, _ in page.evaluate("heard")]


def states(page: Page) -> list[str]:
    return [event["state"] for kind, event in page.evaluate("heard") if kind == "state"]


def arrived(page: Page, application: Application) -> None:
    """Every message once and in order, and nothing else."""
    bodies = "heard.filter(([kind]) => kind === 'message').map(([, { content }]) => content.body)"
    page.wait_for_function(f"(sent) => {bodies}.length >= sent.length", arg=application.sent)
    assert page.evaluate(bodies) == application.sent


def inbox(context: BrowserContext, url: str, receiver: str, transport: str) -> Page:
    """The sample's page once it is connected."""
    page = context.new_page()
    page.goto(f"{url}/?receiver={receiver}")
    expect(page.get_by_role("status")).to_have_text(f"connected: {transport}")
    return page


def expect_all(page: Page, application: Application) -> None:
    """Every message once and in order, and nothing else."""
    expect(page.locator("#messages li")).to_have_text(application.sent)


@pytest.mark.parametrize(
    ("transport", "refused"),
    [
        ("websocket", set[str]()),
        ("sse", {"Upgrade: websocket"}),
        ("longpoll", {"Upgrade: websocket", "/api/v1/inbox/stream"}),
    ],
)
def test_two_browsers_and_one_that_loses_the_network_and_comes_back_to_another_process(
    processes: LiveSystem,
    application: Application,
    network: Gate,
    browser: Browser,
    tmp_path: Path,
    transport: str,
    refused: set[str],
) -> None:
    away, network.refused = browser.new_context(), refused
    with (
        sample(application, str(processes["web2"].url), tmp_path / "alice.log") as at_home,
        sample(application, network.url, tmp_path / "bob.log") as on_the_way,
    ):
        alice = inbox(browser.new_context(), at_home, "alice", "websocket")
        bob = inbox(away, on_the_way, "bob", transport)
        alice.get_by_label("Text").fill("1")
        alice.get_by_role("button", name="Send").click()
        application.sent.append("1")
        expect_all(alice, application)
        application.send(2)
        for page in (alice, bob):
            expect_all(page, application)

        away.set_offline(True)
        network.cut()
        expect(bob.get_by_role("status")).to_have_text("offline")
        application.send(10)
        expect_all(alice, application)
        network.upstream = str(processes["web2"].url)
        network.mend()
        away.set_offline(False)
        expect_all(bob, application)
        application.send(2)
        for page in (alice, bob):
            expect_all(page, application)
    wait_for(
        lambda: all(application.counted(message) == {"delivered": 2} for message in application.ids),
        what="the delivered status",
    )


def test_a_client_changes_from_transport_to_transport_and_back(
    application: Application, network: Gate, page: Page
) -> None:
    connect(page, application, network, timings={"upgrade": 300, "upgradeMost": 300, "backoff": 50})
    through(page, "websocket")
    application.send(3)
    for transport, refused in (
        ("sse", {"Upgrade: websocket"}),
        ("longpoll", {"Upgrade: websocket", "/api/v1/inbox/stream"}),
        ("sse", {"Upgrade: websocket"}),
        ("websocket", set[str]()),
    ):
        network.refused = refused
        network.cut()
        network.mend()
        application.send(3)
        through(page, transport)
        application.send(3)
    arrived(page, application)
    assert "gap" not in kinds(page)


def test_a_token_is_replaced_before_it_expires_without_a_break(
    application: Application, network: Gate, page: Page
) -> None:
    def token() -> dict[str, Any]:
        """It says that it expires earlier than it does, so that a slow machine is in time."""
        return application.token(ttl=4) | {"expires_at": (datetime.now(UTC) + timedelta(seconds=1)).isoformat()}

    connect(page, application, network, token)
    for number in range(1, 6):
        page.wait_for_function("(number) => tokens >= number", arg=number)
    application.send()
    arrived(page, application)
    assert states(page) == ["connecting", "connected"]
    assert "error" not in kinds(page)


def test_a_token_that_has_expired_is_replaced(application: Application, network: Gate, page: Page) -> None:
    """Nothing tells the client beforehand: the server ends the connection."""
    connect(page, application, network, lambda: application.token(ttl=2)["token"])
    through(page, "websocket")
    page.wait_for_function("tokens >= 2 && inbox.state === 'connected'")
    application.send()
    arrived(page, application)
    assert "token_expired" in [event["code"] for kind, event in page.evaluate("heard") if kind == "error"]


def test_a_connection_that_has_died_in_silence_is_found(application: Application, network: Gate, page: Page) -> None:
    connect(page, application, network, timings={"ping": 200, "pong": 300, "backoff": 50})
    through(page, "websocket")
    application.send()
    arrived(page, application)
    network.freeze()
    application.send()
    arrived(page, application)
    assert states(page).count("connected") > 1


def test_a_lost_position_is_a_gap_and_the_history_tells_what_there_was(
    application: Application, network: Gate, page: Page
) -> None:
    application.send(3)
    page.evaluate(f"sessionStorage.setItem('sprayer:{network.url}/', JSON.stringify({{ epoch: 'gone', offset: '7' }}))")
    connect(page, application, network, storage="session")
    arrived(page, application)
    assert "gap" in kinds(page)
    first = page.evaluate("inbox.history({ limit: 2 })")
    rest = page.evaluate("(before) => inbox.history({ before })", first["next_before"])
    assert [message["content"]["body"] for message in first["messages"] + rest["messages"]] == ["3", "2", "1"]
    page.evaluate("(message) => inbox.read(message)", first["messages"][0])
    wait_for(lambda: application.counted(application.ids[2]).get("read") == 1, what="the read status")


def test_the_files_are_served_with_their_types(processes: LiveSystem) -> None:
    for name in ("sprayer.js", "sprayer.mjs"):
        answer = httpx.get(f"{processes['web2'].url}/static/{name}")
        assert answer.headers["Content-Type"].startswith("text/javascript")
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
