"""Encryption at rest of provider credentials and second factors: Fernet, keys rotated by SPRAYER_ENCRYPTION_KEYS.

The first key encrypts, all of them decrypt: to rotate, put a new key in front, save what is stored again, drop the old.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction

from sprayer_project.errors import SprayerError

_OF_SECOND_FACTORS = ("secret", "seed")
"""The encrypted parts of what django-allauth keeps of one."""


class Undecryptable(SprayerError):
    """500: none of the keys in SPRAYER_ENCRYPTION_KEYS encrypted this."""


def encrypt(values: Mapping[str, Any]) -> str:
    return _box().encrypt(json.dumps(dict(values), separators=(",", ":")).encode()).decode()


def decrypt(token: str) -> dict[str, Any]:
    """Raises Undecryptable."""
    try:
        values: dict[str, Any] = json.loads(_box().decrypt(token))
    except InvalidToken as error:
        raise Undecryptable(
            "undecryptable", "A stored credential was encrypted with a key that SPRAYER_ENCRYPTION_KEYS no longer has."
        ) from error
    return values


def rotate(token: str) -> str:
    """The same content under the first key. Raises Undecryptable."""
    return encrypt(decrypt(token))


@transaction.atomic
def rotate_stored() -> int:
    """Every `encrypted_values` and second factor in SQL stored again under the first key; how many.

    Raises Undecryptable.
    """
    name, count = "encrypted_values", 0
    for model in apps.get_models():
        if name in {field.name for field in model._meta.get_fields()}:
            for row in model._default_manager.select_for_update():
                setattr(row, name, rotate(getattr(row, name)))
                row.save(update_fields=[name])
                count += 1
    for factor in apps.get_model("mfa", "Authenticator")._default_manager.select_for_update():
        secrets = {field: rotate(factor.data[field]) for field in _OF_SECOND_FACTORS if field in factor.data}
        if secrets:
            factor.data = factor.data | secrets
            factor.save(update_fields=["data"])
            count += 1
    return count


def _box() -> MultiFernet:
    return _box_of(tuple(settings.ENCRYPTION_KEYS))


@cache
def _box_of(keys: Sequence[str]) -> MultiFernet:
    try:
        return MultiFernet([Fernet(key) for key in keys])
    except ValueError as error:
        raise ImproperlyConfigured(
            "SPRAYER_ENCRYPTION_KEYS: each key is 32 random bytes in URL-safe base64, and one at least is needed"
        ) from error
