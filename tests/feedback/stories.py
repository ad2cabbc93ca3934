"""Deliveries' stories for the tests of this folder: events in every possible mix, and what must become of them."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from feedback.events import DeliveryEvent, Status, delivery_id, score
from sprayer_project.ids import new_id

START = datetime(2026, 11, 1, 12, tzinfo=UTC)


def event(receiver: str = "alice", status: Status = Status.SENT, seconds: float = 0, **values: Any) -> DeliveryEvent:
    message = values.pop("message", "msg_01hzzzzzzzzzzzzzzzzzzzzzzz")
    channel = values.setdefault("channel", "sms")
    known: dict[str, Any] = {
        "tenant": "acme",
        "mode": "live",
        "delivery": delivery_id(message, receiver, channel, "a" * 32),
        "address_hash": "a" * 32,
        "address_masked": "+34*****001",
        "expires_at": START + timedelta(days=1),
        "at": START + timedelta(seconds=seconds),
    }
    return DeliveryEvent(message=message, receiver=receiver, status=status, **(known | values))


def nameless(found: DeliveryEvent) -> DeliveryEvent:
    """The same fact from a provider that knows its own id only."""
    nothing = {"message": "", "delivery": "", "receiver": "", "mode": "", "address_hash": "", "address_masked": ""}
    return replace(found, **nothing)  # type: ignore[arg-type]


def random_story(chance: random.Random, receiver: str, message: str) -> list[DeliveryEvent]:
    """1 to 8 events of one delivery, each fact with an id of its own, some at the same millisecond."""
    events = []
    for _ in range(chance.randint(1, 8)):
        status = chance.choice(list(Status))
        seconds = chance.choice([0, 1, 2, 2.0004, 3])
        due_at = START + timedelta(seconds=chance.randint(5, 60)) if status is Status.DEFERRED else None
        provider_id = chance.choice(["", f"SM{receiver}1", f"SM{receiver}2"])
        values = {
            "round": chance.randint(1, 3),
            "attempt": chance.randint(0, 2),
            "message": message,
            "event": new_id("evt"),
        }
        values |= {"due_at": due_at, "provider_id": provider_id, "dead": status is Status.FAILED, "group": "news"}
        if status is Status.DELIVERED and chance.random() < 0.5:
            values |= {"receiver": "", "fact": "opened", "address_masked": "", "group": None}
        every: dict[str, Any] = {
            "receiver": receiver,
            "delivery": delivery_id(message, receiver, "sms", "a" * 32),
        } | values
        events.append(event(status=status, seconds=seconds, **every))
    return events


def winner(events: list[DeliveryEvent]) -> DeliveryEvent:
    """The model: the event whose status a delivery must have in the end."""
    return max(events, key=lambda found: (score(found.status, found.round), milliseconds(found.at), found.event))


def milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def shuffled(chance: random.Random, events: list[DeliveryEvent]) -> list[DeliveryEvent]:
    """Every event once to three times, in any order."""
    repeated = [found for found in events for _ in range(chance.randint(1, 3))]
    chance.shuffle(repeated)
    return repeated
