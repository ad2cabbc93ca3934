"""Addresses that are retired or active again. Whoever wants to hear of it says so here: this package knows nobody."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from subscriptions.addresses import kind_of
from subscriptions.record import AddressRow, ReceiverRow


@dataclass(frozen=True, slots=True)
class AddressChange:
    tenant: str
    receiver: str
    channel: str
    address_masked: str
    active: bool
    """Again; or it is retired now."""
    reason: str
    """Why it is retired, or was."""
    at: datetime
    fact: str
    """Equal for the same change, whoever tells of it."""


Listener = Callable[[Sequence[AddressChange]], None]
_listeners: list[Listener] = []


def listen(listener: Listener) -> None:
    """The listener is called in the thread that made a change, after it: it must not block or raise."""
    _listeners.append(listener)


def tell(tenant: str, before: ReceiverRow, addresses: Iterable[AddressRow]) -> None:
    """The receiver has these addresses now: tell of those that it has otherwise than before."""
    known = {address.hash: address for address in before.addresses}
    changes = [
        _change(tenant, before.name, old, address)
        for address in addresses
        if (old := known.get(address.hash)) and old.status != address.status
    ]
    if changes:
        for listener in _listeners:
            listener(changes)


def _change(tenant: str, receiver: str, old: AddressRow, new: AddressRow) -> AddressChange:
    active = new.status == "active"
    at = new.active_at if active else new.retired_at or new.active_at
    fact = "\0".join((tenant, receiver, new.channel, new.hash, new.status, at.isoformat()))
    return AddressChange(
        tenant=tenant,
        receiver=receiver,
        channel=new.channel,
        address_masked=kind_of(new.channel).mask_address(new.address),
        active=active,
        reason=(old if active else new).reason or "retired",
        at=at,
        fact=hashlib.blake2b(fact.encode(), digest_size=13).hexdigest(),
    )
