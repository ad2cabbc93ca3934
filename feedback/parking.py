"""Events that name only the provider's id wait, up to an hour, for the event that says which delivery that is.

Whoever parks looks for the row afterwards, whoever writes a row looks for parked events afterwards: in every
interleaving at least one of the two finds the other.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pymongo import UpdateOne

from feedback import selectors
from feedback.documents import Collection, ParkedEvent, collection
from feedback.events import DeliveryEvent
from feedback.updates import provider_key


def park(events: Sequence[DeliveryEvent]) -> list[DeliveryEvent]:
    """Keep the events; those whose delivery is known already are returned with it."""
    if not events:
        return []
    now = datetime.now(UTC)
    _parked().bulk_write(
        [
            UpdateOne(
                {"_id": f"{event.tenant}/{event.event}"},
                {
                    "$setOnInsert": {
                        "tenant": event.tenant,
                        "provider_key": provider_key(event),
                        "body": json.dumps(event.to_json()),
                        "created_at": now,
                    }
                },
                upsert=True,
            )
            for event in {(event.tenant, event.event): event for event in events}.values()
        ],
        ordered=False,
    )
    known = {
        key: document
        for document in selectors.rows().find(
            {"provider_ids": {"$in": sorted({provider_key(event) for event in events})}}
        )
        for key in document["provider_ids"]
    }
    return [_named(event, known[provider_key(event)]) for event in events if provider_key(event) in known]


def collect(events: Iterable[DeliveryEvent]) -> list[DeliveryEvent]:
    """What is parked for the deliveries of events that were written, now with the delivery."""
    writers = {provider_key(event): event for event in events if event.provider_id}
    if not writers:
        return []
    found = _parked().find({"provider_key": {"$in": list(writers)}})
    return [
        _named(DeliveryEvent.from_json(json.loads(parked["body"])), _row(writers[parked["provider_key"]]))
        for parked in found
    ]


def remove(events: Iterable[DeliveryEvent]) -> None:
    """Their rows are written: they wait no more."""
    if ids := [f"{event.tenant}/{event.event}" for event in events]:
        _parked().delete_many({"_id": {"$in": ids}})


def _named(event: DeliveryEvent, row: dict[str, Any]) -> DeliveryEvent:
    return replace(event, delivery=row["_id"], message=row["message"], mode=row["mode"], round=row["state"]["round"])


def _row(event: DeliveryEvent) -> dict[str, Any]:
    return {"_id": event.delivery, "message": event.message, "mode": event.mode, "state": {"round": event.round}}


def _parked() -> Collection:
    return collection(ParkedEvent)
