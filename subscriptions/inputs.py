"""What a tenant says of a receiver, cleaned: every refusal names the field by a JSON pointer."""

import re
import zoneinfo
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sprayer_project.errors import FieldError, Invalid
from subscriptions import addresses
from subscriptions.names import clean_name

MAX_ADDRESSES = 100
MAX_ATTRIBUTES = 100
_LOCALE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{1,8}){0,4}")
_ATTRIBUTE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_BIGGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class AddressInput:
    """An address as the tenant wrote it: text, or a Web Push subscription object."""

    channel: str
    address: Any


@dataclass(frozen=True, slots=True)
class ReceiverInput:
    """All of a receiver: what is missing is empty afterwards, but with keeps_retired retired addresses stay."""

    name: str
    addresses: Sequence[AddressInput] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    locale: str | None = None
    timezone: str | None = None
    keeps_retired: bool = False


@dataclass(frozen=True, slots=True)
class CleanAddress:
    channel: str
    address: str
    hash: str


def named(value: Any, pointer: str) -> str:
    """Raises Invalid for what is no name."""
    try:
        return clean_name(value)
    except ValueError as error:
        raise Invalid("invalid_name", str(error), pointer) from error


def clean_addresses(tenant: str, values: Sequence[AddressInput]) -> list[CleanAddress]:
    """Canonical, each once. Raises Invalid with a pointer an address that is wrong."""
    if len(values) > MAX_ADDRESSES:
        raise Invalid("too_many_addresses", f"A receiver has at most {MAX_ADDRESSES} addresses.", "/addresses")
    cleaned, errors = dict[str, CleanAddress](), []
    for position, value in enumerate(values):
        pointer = f"/addresses/{position}"
        try:
            kind = addresses.kind_of(value.channel)
        except Invalid as error:
            errors.append(FieldError(f"{pointer}/channel", error.detail))
            continue
        try:
            if not kind.needs_address:
                raise ValueError(f"{value.channel} has no addresses: every receiver is reached on it by name.")
            address = kind.clean_address(value.address)
            hashed = addresses.address_hash(tenant, value.channel, address)
            cleaned[hashed] = CleanAddress(value.channel, address, hashed)
        except UnicodeEncodeError:
            errors.append(FieldError(f"{pointer}/address", "An address is valid Unicode, without lone surrogates."))
        except ValueError as error:
            errors.append(FieldError(f"{pointer}/address", str(error)))
    if errors:
        raise Invalid("invalid_address", "The receiver has addresses that cannot be used: see errors.", errors=errors)
    return list(cleaned.values())


def clean_attributes(values: Mapping[str, Any]) -> dict[str, Any]:
    """Names of letters, digits, _ and - to strings, numbers, booleans or lists of strings. Raises Invalid."""
    errors = []
    if len(values) > MAX_ATTRIBUTES:
        raise Invalid("too_many_attributes", f"A receiver has at most {MAX_ATTRIBUTES} attributes.", "/attributes")
    for name, value in values.items():
        if not _ATTRIBUTE.fullmatch(name):
            detail = "An attribute's name has 1 to 64 letters, digits, _ and -."
            errors.append(FieldError("/attributes", detail))
        elif not _scalar(value) and not (isinstance(value, list) and all(_text(member) for member in value)):
            detail = "An attribute is a string of at most 1,024 characters, a number, true, false or a list of strings."
            errors.append(FieldError(f"/attributes/{name}", detail))
    if errors:
        raise Invalid(
            "invalid_attributes", "The receiver has attributes that cannot be kept: see errors.", errors=errors
        )
    return dict(values)


def clean_locale(value: str | None) -> str | None:
    if value is not None and not _LOCALE.fullmatch(value):
        raise Invalid("invalid_locale", 'locale is a language tag such as "es" or "pt-BR".', "/locale")
    return value


def clean_timezone(value: str | None) -> str | None:
    if value is not None and value not in _timezones():
        raise Invalid("invalid_timezone", 'timezone is an IANA name such as "Europe/Madrid".', "/timezone")
    return value


def clean_channels(values: Sequence[str] | None) -> list[str] | None:
    """Known channels, each once, in alphabetical order; None stays None. Raises Invalid with a pointer each."""
    if values is None:
        return None
    if not values:
        raise Invalid("invalid_channels", "Name at least one channel, or leave channels out for all.", "/channels")
    known = addresses.channels()
    errors = [
        FieldError(f"/channels/{position}", f"{value!r} is not a channel: use one of {', '.join(known)}.")
        for position, value in enumerate(values)
        if value not in known
    ]
    if errors:
        raise Invalid("unknown_channel", "channels has names that are no channels: see errors.", errors=errors)
    return sorted(set(values))


def _scalar(value: Any) -> bool:
    if isinstance(value, bool) or _text(value):
        return True
    if isinstance(value, int):
        return abs(value) <= _BIGGEST
    return isinstance(value, float) and value == value and abs(value) != float("inf")


def _text(value: Any) -> bool:
    if not isinstance(value, str) or len(value) > 1024:
        return False
    return not any("\ud800" <= character <= "\udfff" for character in value)


@cache
def _timezones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())
