"""What an address is on each channel. The channels register theirs here, so that this package names none."""

import hashlib
from typing import Any, Protocol

from sprayer_project import json_text
from sprayer_project.errors import Invalid


class AddressKind(Protocol):
    """A channel's view of its addresses."""

    @property
    def name(self) -> str: ...

    @property
    def needs_address(self) -> bool:
        """False where the receiver's name is enough: the receiver is reached without any address."""

    @property
    def address_is_device(self) -> bool:
        """Whether an address is one device, which is one receiver's at a time: the last to register it has it."""

    @property
    def lasting(self) -> frozenset[str]:
        """Reasons for which a retired address stays retired when it is named again."""

    def clean_address(self, value: Any) -> str:
        """The canonical text of an address. Raises ValueError with a sentence that says what to change."""

    def mask_address(self, address: str) -> str:
        """The address as people may see it in lists and logs."""


_kinds: dict[str, AddressKind] = {}


def register(kind: AddressKind) -> None:
    _kinds[kind.name] = kind


def channels() -> list[str]:
    """Every channel's name, in alphabetical order."""
    return sorted(_kinds)


def kind_of(channel: str) -> AddressKind:
    """Raises Invalid for an unknown channel."""
    try:
        return _kinds[channel]
    except KeyError:
        raise Invalid("unknown_channel", f"{channel!r} is not a channel: use one of {', '.join(channels())}.") from None


def is_device(channel: str) -> bool:
    """Also for what is in the record of a channel that is no more."""
    return channel in _kinds and _kinds[channel].address_is_device


def written(text: str) -> Any:
    """An address as it is typed or stands in a path, unchecked; a browser's subscription is its JSON.

    Raises ValueError for what only looks like JSON.
    """
    return json_text.parse(text) if text.startswith("{") else text


def address_hash(tenant: str, channel: str, address: str) -> str:
    """32 hex characters that stand for an address in ids, jobs and look-ups."""
    return hashlib.blake2b(f"{channel}\0{address}".encode(), digest_size=16, key=tenant.encode()[:64]).hexdigest()
