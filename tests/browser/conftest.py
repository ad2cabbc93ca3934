"""Chromium in front of a live system. Everything of a test that uses the ORM happens before the browser starts."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from django.contrib.auth.hashers import make_password
from playwright.sync_api import Browser, BrowserContext, Page, expect

from deploy.screenshots import chromium, log_in
from subscriptions.inputs import AddressInput
from subscriptions.services import put_receiver
from tenants.models import User
from tests.conftest import TenantUnderTest
from tests.live import LiveSystem

expect.set_options(timeout=20_000)
PASSWORD = "a long enough password"
ROOT = "root@sprayer.example"


class Visitor:
    """A person with a browser of their own; `problems` is what the browser's console complained about."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.url = url
        self.page: Page = context.new_page()
        self.problems: list[str] = []
        self.page.on("console", lambda said: self.problems.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))

    def open(self, path: str) -> int:
        """Answers the status."""
        answer = self.page.goto(f"{self.url}{path}")
        assert answer is not None
        return answer.status

    @property
    def text(self) -> str:
        return self.page.locator("body").inner_text()


@dataclass(frozen=True, slots=True)
class ConsoleUnderTest:
    url: str
    browser: Browser

    def newcomer(self) -> Visitor:
        """Someone who has not."""
        return Visitor(self.browser.new_context(viewport={"width": 1280, "height": 844}), self.url)

    def visit(self, email: str) -> Visitor:
        """Someone who has logged in."""
        visitor = self.newcomer()
        log_in(visitor.page, self.url, email, PASSWORD)
        return visitor


@pytest.fixture(scope="session")
def hashed() -> str:
    """PASSWORD as users keep it: a quarter of a second's work, done once."""
    return make_password(PASSWORD)


@pytest.fixture
def people(acme: TenantUnderTest, globex: TenantUnderTest, hashed: str) -> None:
    """alice, bob and charlie can log in; ann is reached at the sandbox."""
    for user in (acme.owner, acme.viewer, globex.owner):
        assert user is not None
        user.password = hashed
        user.save()
    put_receiver("acme", "ann", [AddressInput("sms", "+34600000001")])


@pytest.fixture
def console(live_system: LiveSystem, people: None) -> Iterator[ConsoleUnderTest]:
    """The web process alone."""
    (web,) = live_system.start("web")
    assert web.url is not None
    with chromium() as browser:
        yield ConsoleUnderTest(web.url, browser)


@pytest.fixture
def whole_console(live_system: LiveSystem, people: None) -> Iterator[ConsoleUnderTest]:
    """Every process: what is sent arrives."""
    web, *_ = live_system.start("web", "sandbox", "dispatcher", "feeder", "sweeper")
    assert web.url is not None
    with chromium() as browser:
        yield ConsoleUnderTest(web.url, browser)


@pytest.fixture
def operators_console(transactional_db: None, request: pytest.FixtureRequest) -> ConsoleUnderTest:
    """The same for an operator, root, who is a superuser."""
    User.objects.create_superuser(ROOT, PASSWORD)
    found: ConsoleUnderTest = request.getfixturevalue("console")
    return found


@pytest.fixture
def console_with_signup(live_system: LiveSystem, people: None) -> Iterator[ConsoleUnderTest]:
    """The web process alone, where everybody may sign up."""
    (web,) = live_system.start("web", env={"SPRAYER_SIGNUP": "on"})
    assert web.url is not None
    with chromium() as browser:
        yield ConsoleUnderTest(web.url, browser)


@pytest.fixture
def service(live_system: LiveSystem, people: None) -> Iterator[ConsoleUnderTest]:
    """Every process, and everybody may sign up."""
    kinds = ("web", "sandbox", "dispatcher", "feeder", "sweeper", "live")
    web, *_ = live_system.start(*kinds, env={"SPRAYER_SIGNUP": "on"})
    assert web.url is not None
    with chromium() as browser:
        yield ConsoleUnderTest(web.url, browser)
