"""What the JavaScript client makes of the server's frames and close codes. The server does what the test says."""

import re
from collections.abc import Callable, Iterator
from threading import Event
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from deploy.screenshots import chromium
from tests.environment import ROOT
from tests.live import wait_for
from tests.scripted import Scripted, Socket, scripted, serving

pytestmark = pytest.mark.browser

STATIC = ROOT / "static"
NOTHING = """<!doctype html><link rel="icon" href="data:,"><script src="sprayer.js"></script>"""
TIMINGS = {"backoff": 20, "backoffMost": 50, "restart": 20, "ack": 10}
CONNECT = """([url, options]) => {
    window.heard = [];
    window.inbox = new Sprayer({ url, token: "token", transports: ["websocket"], ...options });
    for (const type of ["welcome", "message", "gap", "state", "error"]) {
        inbox.on(type, (event) => heard.push([type, event]));
    }
    inbox.connect();
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page with the classic script."""
    with serving(NOTHING, STATIC) as url, browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{url}/")
        yield page


def connect(page: Page, server: Scripted, **options: Any) -> None:
    timings = TIMINGS | options.pop("timings", {})
    page.evaluate(CONNECT, [server.url, {"timings": timings, **options}])


def heard(page: Page, kind: str) -> list[Any]:
    """The events of a type so far."""
    return [event for found, event in page.evaluate("heard") if found == kind]


def bodies(page: Page) -> list[str]:
    return [message["content"]["body"] for message in heard(page, "message")]


def ending_with(code: int) -> Callable[[Socket], None]:
    def script(socket: Socket) -> None:
        socket.welcome()
        socket.end(code)

    return script


@pytest.mark.parametrize("code", [1006, 1013, 4008, 4012])
def test_a_closed_connection_is_made_again_and_goes_on_where_it_was(page: Page, code: int) -> None:
    resumed = []

    def first(socket: Socket) -> None:
        socket.welcome()
        socket.message("1", "a")
        socket.message("2", "b")
        assert socket.hear("ack")["offset"] == "2"
        if code != 1006:
            socket.end(code)

    def second(socket: Socket) -> None:
        resumed.append(socket.hear("resume"))
        socket.welcome(offset="2")
        socket.message("3", "c")
        socket.stay()

    with scripted(first, second) as server:
        connect(page, server)
        wait_for(lambda: len(heard(page, "message")) == 3, what="the third message")
        assert resumed == [{"type": "resume", "epoch": "e1", "offset": "2"}]
        assert bodies(page) == ["a", "b", "c"]
        page.evaluate("inbox.close()")


def test_a_replaced_connection_stays_closed_and_too_many_wait_long(page: Page) -> None:
    with scripted(ending_with(4029)) as server:
        connect(page, server)
        wait_for(lambda: heard(page, "state")[-1]["state"] == "waiting", what="the wait")
        assert heard(page, "state")[-1]["retryIn"] >= 30_000
        page.evaluate("inbox.close()")
        assert server.connections == 1
    with scripted(ending_with(4009)) as server:
        connect(page, server)
        wait_for(lambda: heard(page, "state")[-1]["state"] == "closed", what="the end")
        assert heard(page, "error")[-1]["fatal"]


def test_what_comes_again_is_dropped_by_offset_by_id_and_by_version(page: Page) -> None:
    def script(socket: Socket) -> None:
        socket.welcome()
        for offset, body in (("9", "a"), ("10", "b"), ("9", "stale"), ("10", "b")):
            socket.message(offset, body)
        socket.message("11", "v2", collapse_key="score", version=2)
        socket.message("12", "v1", collapse_key="score", version=1)
        socket.message("13", "other", collapse_key="table", version=1)
        socket.message("14", "v3", collapse_key="score", version=3)
        socket.welcome(epoch="e2", offset="0", recovered=False)
        socket.message("1", "v3", collapse_key="score", version=3)
        socket.message("2", "c")
        acked.append(socket.hear("ack"))
        socket.stay()

    acked: list[dict[str, Any]] = []
    with scripted(script) as server:
        connect(page, server)
        wait_for(lambda: acked, what="the ack")
        assert bodies(page) == ["a", "b", "v2", "other", "v3", "c"]
        assert [gap["epoch"] for gap in heard(page, "gap")] == ["e2"]
        assert page.evaluate("inbox.position") == {"epoch": "e2", "offset": "2"}
        page.evaluate("inbox.close()")


def test_a_resume_that_the_server_hears_late_loses_nothing(page: Page) -> None:
    """It has begun after what another of the receiver's clients has acknowledged."""

    def first(socket: Socket) -> None:
        socket.welcome()
        socket.message("1", "a")
        socket.hear("ack")

    def late(socket: Socket) -> None:
        socket.hear("resume")
        socket.welcome(offset="3")
        socket.message("4", "d")
        socket.welcome(offset="1")
        for offset, body in (("2", "b"), ("3", "c"), ("4", "d")):
            socket.message(offset, body)
        socket.stay()

    with scripted(first, late) as server:
        connect(page, server)
        wait_for(lambda: "d" in bodies(page), what="the last message")
        assert bodies(page) == ["a", "b", "c", "d"]
        page.evaluate("inbox.close()")


def test_with_manual_acks_only_what_the_page_acknowledges_is_acknowledged_and_kept(page: Page) -> None:
    said: list[str] = []

    def first(socket: Socket) -> None:
        socket.welcome()
        for number in range(1, 4):
            socket.message(str(number), str(number))
        said.append(socket.hear("read")["offset"])
        said.append(socket.hear("ack")["offset"])
        socket.stay()

    def second(socket: Socket) -> None:
        said.append(socket.hear("resume")["offset"])
        socket.stay()

    with scripted(first, second) as server:
        connect(page, server, ack="manual", storage="session")
        wait_for(lambda: len(heard(page, "message")) == 3, what="three messages")
        page.evaluate("inbox.ack(heard.find(([type]) => type === 'message')[1]); inbox.read('3')")
        wait_for(lambda: said == ["3", "1"], what="the read and the ack")
        page.reload()
        connect(page, server, ack="manual", storage="session")
        wait_for(lambda: len(said) == 3, what="the resume after the last acknowledged message")
        assert said == ["3", "1", "1"]
        page.evaluate("inbox.close()")


def test_a_mistake_of_the_page_loses_no_message(page: Page) -> None:
    def script(socket: Socket) -> None:
        socket.welcome()
        assert mistaken.wait(10)
        socket.message("1", "a")
        socket.message("2", "b")
        socket.stay()

    mistaken, mistakes = Event(), list[str]()
    page.on("pageerror", lambda error: mistakes.append(error.message))
    with scripted(script) as server:
        connect(page, server)
        page.evaluate("() => { inbox.on('message', () => { throw new Error('mistake'); }); }")
        mistaken.set()
        wait_for(lambda: bodies(page) == ["a", "b"], what="both messages")
        page.evaluate("inbox.close()")
    assert set(mistakes) == {"mistake"}


def test_the_types_name_what_there_is(page: Page) -> None:
    declared = re.search(r"export class Sprayer \{(.*?)\n\}", (STATIC / "sprayer.d.ts").read_text(), re.DOTALL)
    assert declared
    names = set(re.findall(r"^  (?:readonly )?(\w+)[(<:]", declared[1], re.MULTILINE))
    assert names == set(page.evaluate("Object.getOwnPropertyNames(Sprayer.prototype)"))
    timings = re.search(r"export interface Timings \{(.*?)\n\}", (STATIC / "sprayer.d.ts").read_text(), re.DOTALL)
    assert timings
    source = re.search(r"const TIMINGS = \{(.*?)\n  \};", (STATIC / "sprayer.js").read_text(), re.DOTALL)
    assert source
    typed = re.findall(r"(\S+)\. \*/\n  (\w+): number;", timings[1])
    given = re.findall(r"(\w+): ([\d_]+),", source[1])
    assert {name: value.replace(",", "") for value, name in typed} == {
        name: value.replace("_", "") for name, value in given
    }
