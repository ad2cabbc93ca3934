"""The Web Push sample in Chromium. Headless it has no push service: what is pushed comes through DevTools."""

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Page

from deploy.screenshots import chromium
from tests.environment import ROOT
from tests.live import wait_for

SAMPLE = ROOT / "docs" / "examples" / "webpush"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        """A test's output is no place for an access log."""


@pytest.fixture
def sample() -> Iterator[str]:
    """The sample's URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(SAMPLE)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join(10)


_SHOWN = """async () => (await (await navigator.serviceWorker.ready).getNotifications()).map(
    ({ title, body, tag, data }) => ({ title, body, tag, data }))"""


def pushed(page: Page, origin: str, message: dict[str, Any]) -> list[dict[str, Any]]:
    """The notifications that the page's service worker shows once it was handed a message."""
    devtools = page.context.new_cdp_session(page)
    registrations: list[dict[str, Any]] = []
    devtools.on("ServiceWorker.workerRegistrationUpdated", lambda event: registrations.extend(event["registrations"]))
    devtools.send("ServiceWorker.enable")
    active = "async () => Boolean((await navigator.serviceWorker.ready).active)"
    wait_for(lambda: page.evaluate(active) and registrations, 20, "an active registration")
    registration = registrations[0]["registrationId"]
    devtools.send(
        "ServiceWorker.deliverPushMessage",
        {"origin": origin, "registrationId": registration, "data": json.dumps(message)},
    )
    # A predicate that is a promise counts as true for Playwright before it is settled: asked again and again instead.
    return wait_for(lambda: page.evaluate(_SHOWN), 20, "a notification")


@pytest.mark.browser
def test_the_samples_service_worker_shows_what_is_pushed(sample: str) -> None:
    message = {"id": "msg_1", "title": "Goal!", "body": "1:0", "url": "/match/17"}
    with chromium() as browser:
        context = browser.new_context()
        context.grant_permissions(["notifications"], origin=sample)
        page = context.new_page()
        page.goto(f"{sample}/index.html")
        page.get_by_text("Ready.").wait_for()
        assert page.get_by_role("button", name="Subscribe this browser").is_enabled()
        first = pushed(page, sample, message)
        again = pushed(page, sample, message)
    assert first == again == [{"title": "Goal!", "body": "1:0", "tag": "msg_1", "data": message}]
