"""What feedback webhooks carry: the names of events, the patterns that choose them, the bodies of batches."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from feedback.events import ACTIVE, CONNECTED, DISCONNECTED, RETIRED, AddressEvent, DeliveryEvent, Event, Status
from sprayer_project.errors import FieldError, Invalid
from sprayer_project.ids import new_id

FACTS = ("opened", "clicked", "complained", "unsubscribed", "delayed")
EVERY = "delivery.*"
PATTERNS = (
    *(EVERY, *(f"delivery.{word}" for word in (*(status.value for status in Status), *FACTS))),
    *("connection.*", CONNECTED, DISCONNECTED),
    *("address.*", RETIRED, ACTIVE),
)
"""What a webhook may ask for."""

MOST_EVENTS, MOST_BYTES = 100, 20_000
"""Of a body; a single event that is larger travels alone."""
_FRAME = 100
"""Bytes of a body around its events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One request to a webhook: the same id and body on every attempt."""

    id: str
    tenant: str
    webhook: str
    body: bytes
    events: int
    created_at: datetime
    attempts: int = 0
    """Made so far."""
    first_at: datetime | None = None
    """When the first of them was."""


def checked(patterns: Sequence[str]) -> list[str]:
    """The patterns, each once, in the order of PATTERNS. Raises Invalid with a pointer for each that is unknown."""
    unknown = [index for index, pattern in enumerate(patterns) if pattern not in PATTERNS]
    if unknown or not patterns:
        detail = f"Use at least one of {', '.join(PATTERNS)}."
        errors = [FieldError(f"/events/{index}", f"{patterns[index]!r} is no event. {detail}") for index in unknown]
        raise Invalid("invalid_events", detail, errors=errors or [FieldError("/events", detail)])
    return [pattern for pattern in PATTERNS if pattern in patterns]


def type_of(event: Event) -> str:
    """Its kind (delivery, connection, address), and the status or the fact that is a time of its own."""
    return f"delivery.{event.fact or event.status.value}" if isinstance(event, DeliveryEvent) else event.type


def kind_of(type: str) -> str:
    return type.partition(".")[0]


def wanted(patterns: Collection[str], type: str) -> bool:
    return type in patterns or f"{kind_of(type)}.*" in patterns


def body_of(event: Event) -> dict[str, Any]:
    """An event as its JSON object in a batch. receiver is null where a provider's callback does not know it."""
    if isinstance(event, DeliveryEvent):
        return _delivery(event)
    body = {"event_id": event.event, "type": event.type, "receiver": event.receiver, "channel": event.channel}
    if isinstance(event, AddressEvent):
        body |= {"address": event.address_masked, "reason": event.reason}
    return body | {"at": rfc3339(event.at)}


def batches(tenant: str, webhook: str, kind: str, items: Iterable[bytes], now: datetime) -> Iterator[Batch]:
    """Events of one kind in as few batches as MOST_EVENTS and MOST_BYTES allow."""
    chosen: list[bytes] = []
    size = _FRAME
    for found in items:
        if chosen and (len(chosen) == MOST_EVENTS or size + len(found) + 1 > MOST_BYTES):
            yield _batch(tenant, webhook, kind, chosen, now)
            chosen, size = [], _FRAME
        chosen.append(found)
        size += len(found) + 1
    if chosen:
        yield _batch(tenant, webhook, kind, chosen, now)


def test_batch(tenant: str, webhook: str, now: datetime) -> Batch:
    """What the test button sends."""
    body = {"type": "webhook.test", "timestamp": rfc3339(now), "data": {"webhook": webhook}}
    return Batch(
        id=new_id("whb", now), tenant=tenant, webhook=webhook, body=orjson.dumps(body), events=0, created_at=now
    )


def rfc3339(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _batch(tenant: str, webhook: str, kind: str, items: Sequence[bytes], now: datetime) -> Batch:
    head = orjson.dumps({"type": f"{kind}.batch", "timestamp": rfc3339(now)})
    body = b'%s,"data":[%s]}' % (head[:-1], b",".join(items))
    identifier = new_id("whb", now)
    return Batch(id=identifier, tenant=tenant, webhook=webhook, body=body, events=len(items), created_at=now)


def _delivery(event: DeliveryEvent) -> dict[str, Any]:
    body: dict[str, Any] = {
        "event_id": event.event,
        "type": type_of(event),
        "message": event.message,
        "delivery": event.delivery,
        "receiver": event.receiver or None,
        "channel": event.channel,
        "status": event.status.value,
        "at": rfc3339(event.at),
        "reason": event.reason or None,
    }
    if event.metadata:
        body["metadata"] = event.metadata
    return body
