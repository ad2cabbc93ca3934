"""`make screenshots`: a picture of each console page, taken from a running `make run`, into docs/images."""

import json
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from deploy.local.environment import ROOT, local
from deploy.local.servers import StackError

FOLDER = ROOT / "docs" / "images"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def main() -> int:
    try:
        demo = json.loads((local().var / "demo.json").read_text())
    except (OSError, StackError) as error:
        print(f"sprayer: start `make run` first ({error})", file=sys.stderr)
        return 1
    FOLDER.mkdir(parents=True, exist_ok=True)
    installed = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=installed, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        for path in _walk(page, demo["url"], demo["login"], demo["tenant"], demo["message_id"]):
            print(path)
        browser.close()
    return 0


def _walk(page: Page, url: str, login: dict[str, str], tenant: str, message: str) -> list[Path]:
    page.goto(f"{url}/accounts/login")
    pictures = [_picture(page, "login")]
    page.fill("input[name=username]", login["email"])
    page.fill("input[name=password]", login["password"])
    page.press("input[name=password]", "Enter")
    page.wait_for_url("**/t/**")
    pages = {"messages": "messages", "message": f"messages/{message}", "keys": "keys", "send": "send"}
    for name, path in pages.items():
        answer = page.goto(f"{url}/t/{tenant}/{path}")
        if answer is None or not answer.ok:
            raise SystemExit(f"sprayer: {page.url} cannot be shown")
        pictures.append(_picture(page, name))
    return pictures


def _picture(page: Page, name: str) -> Path:
    path = FOLDER / f"{name}.png"
    page.wait_for_load_state("load")
    page.screenshot(path=path, full_page=True)
    return path


if __name__ == "__main__":
    sys.exit(main())
