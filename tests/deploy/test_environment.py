"""The settings of `make run`."""

import os
import stat
from pathlib import Path

import pytest

from deploy.local.environment import Local, local
from deploy.local.servers import StackError


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A developer's environment without any of our variables, but a folder of its own."""
    for name in [name for name in os.environ if name.startswith("SPRAYER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SPRAYER_VAR_DIR", str(tmp_path))


def servers(here: Local) -> list[str]:
    return [server.name for server in here.stack.servers]


def test_a_bare_environment_gets_every_server_and_the_sandbox() -> None:
    here = local()
    assert servers(here) == ["RabbitMQ", "Redis 1", "MongoDB"]
    assert here.environment["SPRAYER_AMQP_URL"] == "amqp://sprayer:sprayer@127.0.0.1:15600/%2F"
    assert here.environment["SPRAYER_TWILIO_URL"] == "http://127.0.0.1:15608/sms"
    assert here.environment["SPRAYER_WEBHOOK_ALLOW_PRIVATE"] == "127.0.0.1:15608,127.0.0.1:15609"
    assert here.environment["SPRAYER_SIGNUP"] == "on"
    assert here.environment["SPRAYER_EMAIL_URL"] == f"file://{here.var}/mail"
    assert here.url == "http://127.0.0.1:8000"


@pytest.mark.parametrize(
    ("name", "url", "left"),
    [
        ("SPRAYER_AMQP_URL", "amqp://rabbit.example/%2F", ["Redis 1", "MongoDB"]),
        ("SPRAYER_MONGODB_URL", "mongodb://mongo.example/sprayer", ["RabbitMQ", "Redis 1"]),
    ],
)
def test_a_server_that_the_environment_names_is_used_instead(
    monkeypatch: pytest.MonkeyPatch, name: str, url: str, left: list[str]
) -> None:
    monkeypatch.setenv(name, url)
    here = local()
    assert servers(here) == left
    assert here.environment[name] == url


def test_redis_is_ours_until_data_and_cache_are_both_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPRAYER_REDIS_URLS", "redis://redis.example/0")
    here = local()
    assert "Redis 1" in servers(here)
    assert here.environment["SPRAYER_REDIS_URLS"] == "redis://redis.example/0"
    assert here.environment["SPRAYER_CACHE_URL"] == "redis://127.0.0.1:15602/1"
    monkeypatch.setenv("SPRAYER_CACHE_URL", "redis://redis.example/1")
    assert "Redis 1" not in servers(local())


def test_secrets_are_made_once_and_readable_by_their_owner_only() -> None:
    first, second = local(), local()
    path = Path(first.environment["SPRAYER_SECRET_KEY_FILE"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert second.environment["SPRAYER_SECRET_KEY_FILE"] == str(path)
    kept = path.read_text()
    local()
    assert path.read_text() == kept
    assert len(kept) > 50


def test_a_secret_of_the_developer_is_not_overruled_by_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPRAYER_SECRET_KEY", "mine")
    here = local()
    assert here.environment["SPRAYER_SECRET_KEY"] == "mine"
    assert "SPRAYER_SECRET_KEY_FILE" not in here.environment


@pytest.mark.parametrize("name", ["SPRAYER_PORT", "SPRAYER_SANDBOX_PORT", "SPRAYER_SANDBOX_SMTP_PORT"])
def test_a_bad_port_names_its_variable(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "http")
    with pytest.raises(StackError, match=name):
        local()
