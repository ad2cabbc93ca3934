"""Events that name only the provider's id wait, up to an hour, for the event that says which delivery that is.

Whoever parks looks for the row afterwards, whoever writes a row looks for parked events afterwards: in every
interleaving at least one of the two finds the other.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from pymongo import UpdateOne

from feedback import selectors
from feedback.documents import Collection, ParkedEvent, collection
from feedback.events import DeliveryEvent
from feedback.selectors import DeliveryRow
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
                        "body": event.to_json(),
                        "created_at": now,
                    }
                },
                upsert=True,
            )
            for event in {(event.tenant, event.event): event for event in events}.values()
        ],
        ordered=False,
    )
    known: dict[str, tuple[DeliveryRow, int]] = {}
    for document in selectors.rows().find({"provider_ids": {"$in": sorted({provider_key(event) for event in events})}}):
        detail = selectors.detail_of(document)
        prefix = f"{detail.row.tenant}/{detail.row.channel}/"
        known |= {
            prefix + entry.provider_id: (detail.row, entry.round) for entry in detail.timeline if entry.provider_id
        }
    pairs = ((event, known.get(provider_key(event))) for event in events)
    return [_named(event, pair[0], pair[0].id, pair[1]) for event, pair in pairs if pair]


def collect(events: Iterable[DeliveryEvent]) -> list[DeliveryEvent]:
    """What is parked for the deliveries of events that were written, now with the delivery."""
    writers = {provider_key(event): event for event in events if event.provider_id}
    if not writers:
        return []
    found = [
        DeliveryEvent.from_json(json.loads(parked["body"]))
        for parked in _parked().find({"provider_key": {"$in": list(writers)}})
    ]
    pairs = ((event, writers[provider_key(event)]) for event in found)
    return [_named(event, writer, writer.delivery, writer.round) for event, writer in pairs]


def remove(events: Iterable[DeliveryEvent]) -> None:
    """Their rows are written: they wait no more."""
    if ids := [f"{event.tenant}/{event.event}" for event in events]:
        _parked().delete_many({"_id": {"$in": ids}})


def _named(event: DeliveryEvent, row: DeliveryRow | DeliveryEvent, delivery: str, round: int) -> DeliveryEvent:
    return replace(event, delivery=delivery, message=row.message, mode=row.mode, round=round)


def _parked() -> Collection:
    return collection(ParkedEvent)
