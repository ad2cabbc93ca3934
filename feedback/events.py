"""Facts about deliveries: statuses, their order, the event that travels from dispatchers to the record."""

import hashlib
import json
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from operator import attrgetter
from typing import Any

import orjson

from sprayer_project.facts import fact
from sprayer_project.ids import new_id


class Status(StrEnum):
    SCHEDULED = "scheduled"
    QUEUED = "queued"
    DEFERRED = "deferred"
    SENT = "sent"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    SUPPRESSED = "suppressed"
    DELIVERED = "delivered"
    READ = "read"
    BOUNCED = "bounced"


_RANKS = {
    Status.SCHEDULED: 10,
    Status.QUEUED: 20,
    Status.DEFERRED: 30,
    Status.SUPPRESSED: 40,
    Status.CANCELLED: 41,
    Status.EXPIRED: 42,
    Status.SENT: 50,
    Status.FAILED: 60,
}
_AFTER_WAITING = {Status.SUPPRESSED: 54, Status.EXPIRED: 55}
_ABOVE_ROUNDS = {Status.DELIVERED: 1, Status.READ: 2, Status.BOUNCED: 3}
_ROUND, _ABOVE = 100, 1_000_000

OPEN = frozenset({Status.SCHEDULED, Status.QUEUED, Status.DEFERRED})
"""Something is still going to be tried."""


def score(status: Status, round: int, waited: bool = False) -> int:
    """A delivery's status is the one with the highest score: within a round it never goes back.

    waited: it was sent to wait in an inbox, so that expired and suppressed come after sent.
    """
    if status in _ABOVE_ROUNDS:
        return _ABOVE + _ABOVE_ROUNDS[status]
    rank = _AFTER_WAITING.get(status) if waited else None
    return round * _ROUND + (rank or _RANKS[status])


_quote = json.encoder.encode_basestring_ascii


def delivery_id(message: str, receiver: str, channel: str, address_hash: str | None) -> str:
    """`dlv_<the message's 26 characters><16 hex>`: one id for one message to one address, whoever computes it."""
    parts = f"[{_quote(receiver)},{_quote(channel)},{_quote(address_hash or '')}]"  # a JSON array
    begin, keyed = _of_message(message)
    digest = keyed.copy()
    digest.update(parts.encode())
    return begin + digest.hexdigest()


@lru_cache(maxsize=64)
def _of_message(message: str) -> "tuple[str, hashlib.blake2b]":
    """What the ids of a message's deliveries begin with, and the hash that ends them, keyed."""
    return f"dlv_{message.partition('_')[2]}", hashlib.blake2b(digest_size=8, key=message.encode()[:64])


@fact
class DeliveryEvent:
    """One fact about one delivery. Everything that its row needs travels with it: an event is an upsert."""

    tenant: str
    mode: str
    """live or test"""
    message: str
    delivery: str
    receiver: str
    channel: str
    status: Status
    at: datetime
    round: int = 1
    attempt: int = 0
    """Which try this is the outcome of; 0 for facts that are not the outcome of a try (callbacks, acks, expiry)."""
    event: str = field(default_factory=lambda: new_id("evt"))
    """Equal ids are the same fact: repeats are harmless. Dispatchers derive it from delivery, round and attempt."""
    group: str | None = None
    address_hash: str = ""
    address_masked: str = ""
    provider: str = ""
    provider_id: str = ""
    reason: str = ""
    detail: dict[str, Any] = field(default_factory=dict)
    """The provider's answer, bounded: {"code": ..., "message": ..., "http_status": ...}"""
    due_at: datetime | None = None
    """With deferred: when the next attempt is due."""
    expires_at: datetime | None = None
    dead: bool = False
    """With failed: listed among the tenant's dead letters and can be replayed."""
    metadata: dict[str, str] = field(default_factory=dict)
    waiting: bool = False
    """With sent: it waits in an inbox, so its expiry still applies. With expired and suppressed: it waited in one."""
    keeper: str = ""
    """With waiting: "<shard>/<incarnation>" of the memory that holds it, so that it is found when that is lost."""
    scheduled: bool = False
    """The message had a send_at."""
    fact: str = ""
    """A time of its own that is no status: opened, clicked, complained, unsubscribed, delayed. The status is what it
    implies (delivered, sent)."""

    def to_json(self) -> str:
        """encoded, as text."""
        return self.encoded().decode()

    def encoded(self) -> bytes:
        """A JSON object of what is not empty. Bytes: text with one rare character has two or four for each."""
        body = {name: value for name, value in zip(_NAMES, _values(self), strict=True) if value}
        try:
            return orjson.dumps(body)
        except TypeError:
            # A provider's answer may hold lone surrogates and integers of more than 64 bits.
            return json.dumps(body, default=datetime.isoformat).encode()

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> "DeliveryEvent":
        """The event in a decoded object. Raises ValueError, KeyError or TypeError for what encoded did not write."""
        values = {"mode": "", "message": "", "delivery": "", "receiver": ""} | body
        for name in ("at", "due_at", "expires_at"):
            if name in values:
                values[name] = datetime.fromisoformat(values[name])
        values["status"] = Status(values["status"])
        return cls(**values)


_NAMES = tuple(field.name for field in fields(DeliveryEvent))
_values = attrgetter(*_NAMES)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionEvent:
    """A receiver came, or is gone for longer than a moment. It travels with the deliveries' events, and has no row."""

    tenant: str
    receiver: str
    channel: str
    connected: bool
    at: datetime
    event: str = field(default_factory=lambda: new_id("evt"))

    @property
    def type(self) -> str:
        return CONNECTED if self.connected else DISCONNECTED

    def encoded(self) -> bytes:
        return orjson.dumps(_fields(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressEvent:
    """A receiver's address was retired, or is active again. It travels with the others, and has no row."""

    tenant: str
    receiver: str
    channel: str
    address_masked: str
    active: bool
    reason: str
    """Why it is retired, or was."""
    at: datetime
    event: str
    """Equal ids are the same fact."""

    @property
    def type(self) -> str:
        return ACTIVE if self.active else RETIRED

    def encoded(self) -> bytes:
        return orjson.dumps(_fields(self) | {"address": self.address_masked, "reason": self.reason})


CONNECTED, DISCONNECTED = "connection.connected", "connection.disconnected"
RETIRED, ACTIVE = "address.retired", "address.active"
ReceiverEvent = ConnectionEvent | AddressEvent
"""About a receiver, not about a message: live and test share receivers, so it belongs to both modes."""
Event = DeliveryEvent | ReceiverEvent


def is_receiver_event(body: Any) -> bool:
    """Whether this is a decoded ReceiverEvent.encoded. A delivery's event names no type."""
    return isinstance(body, dict) and body.get("type") in (CONNECTED, DISCONNECTED, RETIRED, ACTIVE)


def receiver_event(body: dict[str, Any]) -> ReceiverEvent:
    """The event in a decoded object. Raises ValueError, KeyError or TypeError for what encoded did not write."""
    texts = {name: body[name] for name in ("tenant", "receiver", "channel", "event")}
    if not all(isinstance(text, str) and text for text in (*texts.values(), body["type"])):
        raise ValueError("an event of a receiver names tenant, receiver, channel and event")
    at = datetime.fromisoformat(body["at"])
    if at.tzinfo is None:
        raise ValueError("a time without a zone")
    if body["type"] in (CONNECTED, DISCONNECTED):
        return ConnectionEvent(**texts, at=at, connected=body["type"] == CONNECTED)
    more = {"address_masked": str(body["address"]), "reason": str(body["reason"])}
    return AddressEvent(**texts, **more, at=at, active=body["type"] == ACTIVE)


def _fields(event: ReceiverEvent) -> dict[str, str]:
    names = {"tenant": event.tenant, "receiver": event.receiver, "channel": event.channel, "event": event.event}
    return names | {"type": event.type, "at": event.at.isoformat()}
