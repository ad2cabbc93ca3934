import subprocess
import sys

import pytest
from cryptography.fernet import Fernet
from django.conf import settings as project_settings
from django.core.checks import Tags, run_checks
from pytest_django.fixtures import Settings

from sprayer_project import redis
from tests.environment import ROOT


def _ids(deploy: bool = False) -> list[str]:
    found = run_checks(tags=[Tags.security, Tags.database], include_deployment_checks=deploy)
    return sorted(message.id for message in found if message.id and message.id.startswith("sprayer."))


def test_the_defaults_are_fine_on_localhost() -> None:
    assert _ids() == []


@pytest.mark.parametrize(
    "url", ["https://push.example.org", "http://192.168.1.10:8000", "http://127.0.0.1.example.org"]
)
def test_local_secrets_are_an_error_on_a_public_url(settings: Settings, url: str) -> None:
    settings.PUBLIC_URL = url
    assert _ids() == ["sprayer.E001"]
    settings.USES_LOCAL_SECRETS = False
    assert _ids() == []


@pytest.mark.parametrize("keys", [[], ["short"], [Fernet.generate_key().decode(), "x" * 44]])
def test_bad_encryption_keys_are_an_error(settings: Settings, keys: list[str]) -> None:
    settings.ENCRYPTION_KEYS = keys
    assert _ids() == ["sprayer.E002"]


def test_sign_up_without_mail_is_a_warning(settings: Settings) -> None:
    settings.SIGNUP, settings.SENDS_MAIL = True, False
    assert _ids() == ["sprayer.W004"]
    settings.SENDS_MAIL = True
    assert _ids() == []


def test_no_server_is_asked_without_deploy_and_one_that_is_away_is_a_warning_with_it(settings: Settings) -> None:
    settings.REDIS_URLS = ["redis://127.0.0.1:1/0"]
    redis.shard.cache_clear()
    try:
        assert _ids() == []
        assert _ids(deploy=True) == ["sprayer.W003"]
    finally:
        redis.shard.cache_clear()


def test_what_a_daemon_is_checked_for_imports_no_page_and_no_web_server() -> None:
    program = (
        "import sys, django; django.setup()\n"
        "from django.core.checks import run_checks\n"
        "from messaging.management.commands.run_dispatcher import Command\n"
        "run_checks(tags=Command.requires_system_checks)\n"
        "print(*{'sprayer_project.urls', 'daphne', 'twisted.internet'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == []


@pytest.mark.services
def test_a_redis_that_forgets_is_a_warning() -> None:
    assert len(project_settings.REDIS_URLS) == 2
    assert _ids(deploy=True) == []
    client = redis.shard(1)
    client.config_set("maxmemory-policy", "allkeys-lru")
    client.config_set("appendonly", "no")
    try:
        assert _ids(deploy=True) == ["sprayer.W001", "sprayer.W002"]
    finally:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("appendonly", "yes")
