"""Every page as axe sees it, light and dark, wide and narrow, and as the keyboard walks it."""

from collections.abc import Iterator, Mapping

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import ConsoleUnderTest
from tests.conftest import TenantUnderTest
from tests.pages import client_of, paths, samples, whole

pytestmark = pytest.mark.browser

ALICE = "alice@acme.example"
OTHERS = {"account": "/accounts/", "not found": "/t/acme/nothing"}
GRAVE = {"serious", "critical"}
_EVERY_RULE: dict[str, object] = {"resultTypes": ["violations"]}
_COLOURS = _EVERY_RULE | {"runOnly": ["color-contrast"]}
_LOOKS = (
    ("light", 1280, _EVERY_RULE),
    ("dark", 1280, _COLOURS),
    ("dark", 390, _COLOURS),
    ("light", 390, _EVERY_RULE),
)
"""Only colours change with the theme."""


@pytest.fixture
def pages(acme: TenantUnderTest, people: None) -> Mapping[str, str]:
    """Those that a person sees as a page."""
    return whole(client_of(acme.owner), paths("acme", samples(acme))) | OTHERS


def _faults(page: Page) -> Iterator[str]:
    """What axe calls serious or critical, in every look of the page."""
    page.evaluate(Axe().axe_script)
    for theme, width, options in _LOOKS:
        page.set_viewport_size({"width": width, "height": 844})
        page.evaluate("theme => { document.documentElement.dataset.theme = theme }", theme)
        for found in page.evaluate("options => axe.run(options)", options)["violations"]:
            if found["impact"] in GRAVE:
                places = [node["target"] for node in found["nodes"]]
                yield f"{theme} {width}: {found['id']} at {places[:5]}: {found['nodes'][0].get('failureSummary')}"


def test_axe_finds_nothing_serious_on_any_page(pages: Mapping[str, str], console: ConsoleUnderTest) -> None:
    alice = console.visit(ALICE)
    faults: dict[str, list[str]] = {}
    for name, path in pages.items():
        alice.open(path)
        alice.page.wait_for_load_state("networkidle")
        if found := list(_faults(alice.page)):
            faults[name] = found
    alice.page.context.clear_cookies()
    alice.open("/accounts/login/")
    if found := list(_faults(alice.page)):
        faults["login"] = found
    assert faults == {}


def test_the_keyboard_alone_reaches_content_menus_and_dialogs(
    pages: Mapping[str, str], console: ConsoleUnderTest
) -> None:
    alice = console.visit(ALICE)
    page, keys = alice.page, alice.page.keyboard
    alice.open("/t/acme/messages")
    keys.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    keys.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    keys.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")

    menu = page.locator("details.menu", has=page.get_by_label("Your account"))
    page.get_by_label("Your account").focus()
    keys.press("Enter")
    expect(menu.get_by_role("button", name="Log out")).to_be_visible()
    keys.press("Escape")
    expect(menu.get_by_role("button", name="Log out")).to_be_hidden()
    expect(page.get_by_label("Your account")).to_be_focused()

    alice.open(pages["console-delivery"])
    page.get_by_role("button", name="Retry").focus()
    keys.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    keys.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.get_by_role("button", name="Retry")).to_be_focused()
    assert alice.problems == []


def test_channels_of_a_preview_are_chosen_by_the_arrow_keys(
    pages: Mapping[str, str], console: ConsoleUnderTest
) -> None:
    alice = console.visit(ALICE)
    alice.open("/t/acme/send?receiver=ann")
    alice.page.get_by_label("Title optional").fill("Goal")
    first = alice.page.locator("#preview [name=shown]").first
    first.focus()
    alice.page.keyboard.press("ArrowRight")
    expect(first).not_to_be_checked()
    expect(alice.page.locator("#preview .pane:visible").first).to_be_visible()
