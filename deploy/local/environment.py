"""The settings of `make run`: the developer's own environment first, for the rest the local stack and sandbox."""

import base64
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from deploy.local.servers import HOST, StackError
from deploy.local.stack import Stack, base_port

ROOT = Path(__file__).resolve().parent.parent.parent
PROVIDERS = {
    "SPRAYER_TWILIO_URL": "sms",
    "SPRAYER_APNS_URL": "ios",
    "SPRAYER_APNS_DEVELOPMENT_URL": "ios",
    "SPRAYER_FCM_URL": "android",
    "SPRAYER_GOOGLE_OAUTH_URL": "android",
    "SPRAYER_MAILGUN_URL": "email",
}
"""Operator settings that name a provider's API: which gateway of the sandbox takes its place."""


@dataclass(frozen=True, slots=True)
class Local:
    """What `make run` runs with."""

    var: Path
    stack: Stack
    environment: dict[str, str]
    web_port: int
    sandbox_port: int
    smtp_port: int

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.web_port}"

    @property
    def sandbox_url(self) -> str:
        return f"http://{HOST}:{self.sandbox_port}"


def local() -> Local:
    """Raises StackError for a bad port."""
    var = Path(os.environ.get("SPRAYER_VAR_DIR") or ROOT / "var").absolute()
    # WhiteNoise warns of a folder for collected files that does not exist, though nothing is collected here.
    (var / "static").mkdir(parents=True, exist_ok=True)
    base = base_port()
    web, sandbox = _port("SPRAYER_PORT", 8000), _port("SPRAYER_SANDBOX_PORT", base + 8)
    smtp = _port("SPRAYER_SANDBOX_SMTP_PORT", base + 9)
    stack = Stack(var / "stack", base, kinds=own_kinds(os.environ))
    sandbox_url = f"http://{HOST}:{sandbox}"
    defaults = {
        **stack.environment(),
        **{name: f"{sandbox_url}/{channel}" for name, channel in PROVIDERS.items()},
        **_secrets(var / "secrets"),
        "SPRAYER_VAR_DIR": str(var),
        "PROMETHEUS_MULTIPROC_DIR": str(var / "metrics"),
        "SPRAYER_WEBHOOK_ALLOW_PRIVATE": f"{HOST}:{sandbox},{HOST}:{smtp}",
        "SPRAYER_SIGNUP": "on",
        "SPRAYER_EMAIL_URL": f"file://{quote(str(var / 'mail'))}",
        "PYTHONUNBUFFERED": "1",
    }
    given = {name: value for name, value in os.environ.items() if value}
    return Local(var, stack, defaults | given, web, sandbox, smtp)


def own_kinds(environment: Mapping[str, str]) -> set[str]:
    """The servers to start: those that no SPRAYER_*_URL names. Redis is two things: data and cache."""
    names = {
        "rabbitmq": ["SPRAYER_AMQP_URL"],
        "redis": ["SPRAYER_REDIS_URLS", "SPRAYER_CACHE_URL"],
        "mongo": ["SPRAYER_MONGODB_URL"],
    }
    return {kind for kind, urls in names.items() if not all(_given(environment, url) for url in urls)}


def _given(environment: Mapping[str, str], name: str) -> bool:
    return bool(environment.get(name) or environment.get(f"{name}_FILE"))


def _port(name: str, default: int) -> int:
    text = os.environ.get(name) or str(default)
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise StackError(f"{name}={text!r}: expected a port number")
    return int(text)


def _secrets(folder: Path) -> dict[str, str]:
    """Keys of this machine's own, made once; a variable that the developer set wins over its file."""
    made = {
        "SPRAYER_SECRET_KEY": secrets.token_urlsafe(48),
        "SPRAYER_ENCRYPTION_KEYS": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    }
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    files = {}
    for name, value in made.items():
        if _given(os.environ, name):
            continue
        path = folder / name.lower()
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(value + "\n")
        files[f"{name}_FILE"] = str(path)
    return files
