"""Events as MongoDB updates that commute: any order and any repetition of them builds the same row."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pymongo import UpdateOne

from feedback.events import OPEN, DeliveryEvent, Status, score
from feedback.speeds import accepted_at, bucket_of

MAX_ROUNDS = 100
MAX_ATTEMPTS = 100
_MAX_TEXT = 500
_MAX_DETAIL = 4_000
_TEXTS = (
    *("tenant", "mode", "message", "delivery", "receiver", "channel", "event", "reason"),
    *("provider", "provider_id", "address_hash", "address_masked", "fact", "keeper"),
)
DROPPED = "~dropped"

Value = dict[str, Any]


class BadEvent(ValueError):
    """An event that can never be written; the text is the reason in the dead letters."""


@dataclass(slots=True)
class Change:
    """All events of one delivery in one batch, merged."""

    event: DeliveryEvent
    state: Value
    slots: dict[str, Value] = field(default_factory=dict)
    known: dict[str, Any] = field(default_factory=dict)
    speed: dict[str, int] = field(default_factory=dict)
    provider_ids: set[str] = field(default_factory=set)
    first: bool = False
    """The outcome of the first attempt is among them: most likely there is no row yet."""


def check(event: DeliveryEvent) -> DeliveryEvent:
    """The event itself. Raises BadEvent."""
    for name in _TEXTS:
        value = getattr(event, name)
        if not isinstance(value, str):
            raise BadEvent(f"{name} is no text")
        if len(value) > _MAX_TEXT:
            raise BadEvent(f"{name} is longer than {_MAX_TEXT} characters")
    if event.group is not None and not isinstance(event.group, str):
        raise BadEvent("group is no text")
    if not event.tenant or not event.channel or not event.event or not isinstance(event.detail, dict):
        raise BadEvent("tenant, channel or event is empty, or detail is no object")
    if type(event.round) is not int or not 1 <= event.round <= MAX_ROUNDS:
        raise BadEvent(f"round is not from 1 to {MAX_ROUNDS}")
    if type(event.attempt) is not int or not 0 <= event.attempt <= MAX_ATTEMPTS:
        raise BadEvent(f"attempt is not from 0 to {MAX_ATTEMPTS}")
    if any(at is not None and at.tzinfo is None for at in (event.at, event.due_at, event.expires_at)):
        raise BadEvent("a time without a zone")
    if event.fact and not (event.fact.isascii() and event.fact.isalpha() and len(event.fact) <= 40):
        raise BadEvent("fact is not one word")
    if event.delivery:
        if event.mode not in ("live", "test"):
            raise BadEvent("mode is neither live nor test")
        if not event.message.startswith("msg_") or not event.delivery.startswith(f"dlv_{event.message[4:]}"):
            raise BadEvent("the delivery is not one of the message")
        _check_time(event.message)
    elif not event.provider_id:
        raise BadEvent("neither a delivery nor a provider's id")
    return event


def _check_time(message: str) -> None:
    try:
        accepted_at(message)
    except (ValueError, OverflowError):
        raise BadEvent("the message's id names no time") from None


def provider_key(event: DeliveryEvent) -> str:
    return f"{event.tenant}/{event.channel}/{event.provider_id}"


def state_of(event: DeliveryEvent) -> Value:
    """The candidate for `$max: {state}`. Fields up to `event` decide; equal events are the same fact."""
    state: Value = {
        "score": score(event.status, event.round, event.waiting),
        "at": _milliseconds(event.at),
        "event": event.event,
        "status": event.status.value,
        "round": event.round,
        "attempt": event.attempt,
        "reason": event.reason,
        "due_at": event.due_at and _milliseconds(event.due_at),
    }
    if wake_at := _wake_at(event):
        state["wake_at"] = _milliseconds(wake_at)
    if event.status is Status.SENT and event.waiting and event.keeper:
        state["keeper"] = event.keeper
    if event.dead:
        state["dead"] = f"{dead_prefix(event.tenant, event.mode)}{event.delivery}"
    return state


def dead_prefix(tenant: str, mode: str) -> str:
    return f"{tenant}/{mode}/"


def dropped(state: Value) -> Value:
    """The same state, no longer listed: it compares above the listed one, so that a repeated event changes nothing."""
    return state | {"dead": DROPPED}


def slot_of(event: DeliveryEvent) -> tuple[str, Value]:
    """The event's place in the map of events, and what is kept of it."""
    entry: Value = {"at": _milliseconds(event.at), "event": event.event, "status": event.status.value}
    for name in ("reason", "provider", "provider_id", "fact"):
        if value := getattr(event, name):
            entry[name] = value
    if event.due_at:
        entry["due_at"] = _milliseconds(event.due_at)
    if event.detail:
        entry["detail"] = _bounded(event.detail)
    return f"r{event.round}a{event.attempt}_{event.fact or event.status.value}", entry


def merge(events: Iterable[DeliveryEvent]) -> dict[tuple[str, str], Change]:
    """(tenant, delivery id) -> its change."""
    changes: dict[tuple[str, str], Change] = {}
    for event in events:
        state = state_of(event)
        change = changes.get((event.tenant, event.delivery))
        if change is None:
            change = changes[event.tenant, event.delivery] = Change(event, state)
        elif _order(state) > _order(change.state):
            change.state = state
        slot, entry = slot_of(event)
        if slot not in change.slots or (entry["at"], entry["event"]) < (
            change.slots[slot]["at"],
            change.slots[slot]["event"],
        ):
            change.slots[slot] = entry
        _learn(change.known, event)
        if (bucket := bucket_of(event)) is not None:
            change.speed[event.status.value] = min(bucket, change.speed.get(event.status.value, bucket))
        if event.provider_id:
            change.provider_ids.add(provider_key(event))
        change.first |= event.round == event.attempt == 1
    return changes


def row(change: Change) -> Value:
    """What the upsert makes where there is no row."""
    event = change.event
    found: Value = {name: getattr(event, name) for name in ("tenant", "mode", "message", "channel")} | change.known
    found |= {"_id": event.delivery, "state": change.state, "events": change.slots}
    if change.speed:
        found["speed"] = change.speed
    if change.provider_ids:
        found["provider_ids"] = sorted(change.provider_ids)
    return found


def operation(change: Change) -> UpdateOne:
    """One upsert. Its filter holds the tenant: an id that is another tenant's is a duplicate key, never a write."""
    event = change.event
    update: Value = {
        "$setOnInsert": {"mode": event.mode, "message": event.message, "channel": event.channel},
        "$max": {"state": change.state, **change.known},
        "$min": {f"events.{slot}": entry for slot, entry in change.slots.items()}
        | {f"speed.{status}": bucket for status, bucket in change.speed.items()},
    }
    if change.provider_ids:
        update["$addToSet"] = {"provider_ids": {"$each": sorted(change.provider_ids)}}
    return UpdateOne({"_id": event.delivery, "tenant": event.tenant}, update, upsert=True)


def _learn(known: dict[str, Any], event: DeliveryEvent) -> None:
    """What a callback may not know: the greater value stays, so that an empty one never wins."""
    for name in ("receiver", "group", "address_hash", "address_masked"):
        value = getattr(event, name)
        if value and value > known.get(name, ""):
            known[name] = value
    if event.scheduled:
        known["scheduled"] = True
    if event.expires_at:
        expires_at = _milliseconds(event.expires_at)
        known["expires_at"] = max(expires_at, known.get("expires_at", expires_at))


def _wake_at(event: DeliveryEvent) -> datetime | None:
    if event.status in OPEN and event.due_at:
        return min(event.due_at, event.expires_at or event.due_at)
    if event.status in OPEN or (event.status is Status.SENT and event.waiting):
        return event.expires_at
    return None


def _order(state: Value) -> tuple[int, datetime, str]:
    return state["score"], state["at"], state["event"]


def _milliseconds(at: datetime) -> datetime:
    """As BSON stores it, so that what we compare is what the server compares."""
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def _bounded(detail: dict[str, Any]) -> str:
    text = json.dumps(detail, sort_keys=True, default=str)
    return text if len(text) <= _MAX_DETAIL else json.dumps({"truncated": text[:_MAX_DETAIL]})
