"""System checks: what must not be so in this configuration. Those that ask servers run with `check --deploy` only."""

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import redis.exceptions
from cryptography.fernet import Fernet
from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

from sprayer_project import redis as shards

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@register(Tags.security)
def local_secrets(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """sprayer.E001: the secrets that everyone can read in the source, on a service that others reach."""
    if not settings.USES_LOCAL_SECRETS or urlsplit(settings.PUBLIC_URL).hostname in LOOPBACK:
        return []
    return [
        Error(
            f"The local development secrets are used while SPRAYER_PUBLIC_URL is {settings.PUBLIC_URL}.",
            hint="Set SPRAYER_SECRET_KEY and SPRAYER_ENCRYPTION_KEYS.",
            id="sprayer.E001",
        )
    ]


@register(Tags.security)
def encryption_keys(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """sprayer.E002: a key that is no Fernet key, or none at all."""
    bad = [str(number) for number, key in enumerate(settings.ENCRYPTION_KEYS, 1) if not _is_fernet_key(key)]
    if settings.ENCRYPTION_KEYS and not bad:
        return []
    which = f"key {', '.join(bad)} of SPRAYER_ENCRYPTION_KEYS is invalid" if bad else "SPRAYER_ENCRYPTION_KEYS is empty"
    return [Error(which, hint="Each is 32 random bytes in URL-safe base64, with commas between.", id="sprayer.E002")]


@register(Tags.security)
def signup_needs_mail(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """sprayer.W004: whoever signs up waits for a mail that nobody sends."""
    if not settings.SIGNUP or settings.SENDS_MAIL:
        return []
    hint = "Set SPRAYER_EMAIL_URL, or SPRAYER_SIGNUP to off."
    return [Warning("SPRAYER_SIGNUP is on, and no mail is sent.", hint=hint, id="sprayer.W004")]


@register(Tags.database, deploy=True)
def redis_keeps_data(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """sprayer.W001 eviction, W002 no append-only file, W003 not reachable or not telling; for each data shard."""
    return [message for index in range(len(settings.REDIS_URLS)) for message in _shard_messages(index)]


def _shard_messages(index: int) -> Iterator[CheckMessage]:
    name = f"Server {index} of SPRAYER_REDIS_URLS"
    try:
        answers: Any = shards.shard(index).config_get("maxmemory-policy", "appendonly")
    except redis.exceptions.RedisError as error:
        yield Warning(f"{name} could not be asked: {type(error).__name__}", id="sprayer.W003")
        return
    if answers.get("maxmemory-policy", "noeviction") != "noeviction":
        hint = "Set maxmemory-policy noeviction: an evicted key is a lost subscriber or message."
        yield Warning(f"{name} evicts keys ({answers['maxmemory-policy']}).", hint=hint, id="sprayer.W001")
    if answers.get("appendonly", "yes") != "yes":
        hint = "Set appendonly yes: without it a restart may make deliveries twice."
        yield Warning(f"{name} keeps no append-only file.", hint=hint, id="sprayer.W002")


def _is_fernet_key(key: str) -> bool:
    try:
        Fernet(key)
    except ValueError:
        return False
    return True
