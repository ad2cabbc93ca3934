"""Events as they come from a queue: JSON arrays of what events.py writes."""

import json
from typing import Any

from feedback.events import DeliveryEvent, Event, is_receiver_event, receiver_event
from feedback.updates import check

ERRORS = (ValueError, KeyError, TypeError, AttributeError)
"""What decoding raises for what nobody of ours wrote."""


def bodies(body: bytes) -> list[Any]:
    """The events of one AMQP message, not yet looked at. Raises ValueError or TypeError."""
    try:
        found = json.loads(body)
    except RecursionError as error:
        raise ValueError(str(error)) from error
    if not isinstance(found, list):
        raise TypeError("the body is no list")
    return found


def event_of(found: Any) -> Event:
    """One of them. Raises ERRORS."""
    return receiver_event(found) if is_receiver_event(found) else check(DeliveryEvent.from_json(found))


def decode(body: bytes) -> tuple[list[Event], str]:
    """The events of one AMQP message, and what is wrong with the first bad one; empty when none is."""
    try:
        items = bodies(body)
    except (ValueError, TypeError) as error:
        return [], f"no events: {error}"
    events: list[Event] = []
    reason = ""
    for index, found in enumerate(items):
        try:
            events.append(event_of(found))
        except ERRORS as error:
            reason = reason or f"event {index}: {type(error).__name__}: {error}"
    return events, reason
