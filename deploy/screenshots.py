"""`make screenshots`: every page of the running console as a picture, light and dark, wide and narrow.

python -m deploy.screenshots [FOLDER=var/screenshots]     needs `make run` in another terminal: it reads var/demo.json
"""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDTHS = {"wide": 1280, "narrow": 390}
THEMES = ("light", "dark")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, or the one on PATH. Raises SystemExit, saying how to get it."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        raise SystemExit("sprayer: no Chromium on PATH: install it (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


def log_in(page: Page, url: str, email: str, password: str) -> None:
    page.goto(f"{url}/accounts/login/")
    page.get_by_label("E-mail address").fill(email)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(lambda address: "/accounts/login" not in address)


def paths(page: Page, demo: dict[str, Any]) -> dict[str, str]:
    """Every page's name and path; a delivery is the first one of the demo's message."""
    tenant = f"/t/{demo['tenant']}"
    message = f"{tenant}/messages/{demo['message_id']}"
    page.goto(f"{demo['url']}{message}")
    delivery = page.locator(f"a[href^='{tenant}/deliveries/']").first.get_attribute("href")
    channels = f"{tenant}/channels"
    page.goto(f"{demo['url']}{channels}")
    channel = page.locator(f"a[href^='{channels}/']").first.get_attribute("href")
    webhooks = f"{tenant}/webhooks"
    page.goto(f"{demo['url']}{webhooks}")
    webhook = page.locator(f"a[href^='{webhooks}/whk_']").first.get_attribute("href")
    keys = f"{tenant}/keys"
    page.goto(f"{demo['url']}{keys}")
    revoke = page.locator("a[href$='/revoke']").first.get_attribute("href")
    return {
        "overview": f"{tenant}/?range=hour",
        "messages": f"{tenant}/messages",
        "message": message,
        "delivery": str(delivery),
        "explain": f"{message}/explain?receiver={demo['receivers'][0]}",
        "send": f"{tenant}/send?from={demo['message_id']}",
        "live": f"{tenant}/live",
        "receivers": f"{tenant}/receivers",
        "receiver": f"{tenant}/receivers/{quote(demo['receivers'][0])}",
        "suppressions": f"{tenant}/suppressions",
        "imports": f"{tenant}/imports",
        "groups": f"{tenant}/groups",
        "group": f"{tenant}/groups/{quote(demo['groups'][0])}",
        "dead-letters": f"{tenant}/dead-letters?mode=test",
        "sandbox": f"{tenant}/sandbox/email",
        "channels": channels,
        "channel": str(channel),
        "webhooks": webhooks,
        "webhook": str(webhook),
        "webhook-new": f"{webhooks}/new",
        "keys": keys,
        "key-new": f"{keys}/new",
        "key-revoke": str(revoke),
        "requests": f"{tenant}/requests",
        "settings": f"{tenant}/settings",
        "limits": f"{tenant}/settings/limits",
        "members": f"{tenant}/settings/members",
        "audit": f"{tenant}/settings/audit",
        "tenant-delete": f"{tenant}/settings/delete",
        "account": "/accounts/",
        "not-found": f"{tenant}/nothing",
        "second-factor": "/accounts/2fa/",
        "sessions": "/accounts/sessions/",
        "tenant-new": "/accounts/tenants/new",
        "login": "/accounts/login/",
        "signup": "/accounts/signup/",
    }


def take(folder: Path, demo: dict[str, Any]) -> list[Path]:
    """All pictures; answers their files."""
    taken = []
    with chromium() as browser:
        for theme in THEMES:
            for name, width in WIDTHS.items():
                context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=theme)  # type: ignore[arg-type]
                page = context.new_page()
                log_in(page, demo["url"], demo["login"]["email"], demo["login"]["password"])
                for title, path in paths(page, demo).items():
                    if title == "login":
                        context.clear_cookies()
                    page.goto(f"{demo['url']}{path}")
                    file = folder / f"{title}-{theme}-{name}.png"
                    page.screenshot(path=file, full_page=True)
                    taken.append(file)
                context.close()
    return taken


def main(arguments: list[str]) -> int:
    folder = Path(arguments[0]) if arguments else ROOT / "var" / "screenshots"
    demo_file = Path(os.environ.get("SPRAYER_VAR_DIR") or ROOT / "var") / "demo.json"
    if not demo_file.exists():
        raise SystemExit(f"sprayer: there is no {demo_file}: start `make run` first")
    folder.mkdir(parents=True, exist_ok=True)
    for file in take(folder, json.loads(demo_file.read_text())):
        print(file)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
