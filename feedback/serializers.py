"""Deliveries as the API shows them. The serializers describe; the functions build, because lists are long."""

from datetime import UTC, datetime
from typing import Any

from rest_framework import serializers

from feedback.events import Status
from feedback.selectors import DeliveryDetail, DeliveryRow, TimelineEntry, Totals

STATUSES = [status.value for status in Status]


class DeliverySerializer(serializers.Serializer[Any]):
    """One message to one address, as it stands."""

    id = serializers.CharField(help_text="dlv_...")
    message = serializers.CharField(help_text="msg_...")
    receiver = serializers.CharField(help_text="The receiver's name, or addr:<hash> for a plain address.")
    channel = serializers.CharField()
    group = serializers.CharField(allow_null=True)
    status = serializers.ChoiceField(choices=STATUSES)
    reason = serializers.CharField(allow_null=True)
    round = serializers.IntegerField(help_text="1, and one more with each retry that somebody asked for.")
    address = serializers.CharField(allow_null=True, help_text="Masked; null where the channel needs none.")
    attempts = serializers.IntegerField(help_text="Tries so far, in all rounds.")
    provider = serializers.CharField(allow_null=True)
    provider_id = serializers.CharField(allow_null=True)
    due_at = serializers.DateTimeField(
        allow_null=True, help_text="When it is tried again; with breaker_open, at the latest."
    )
    expires_at = serializers.DateTimeField(allow_null=True)
    dead = serializers.BooleanField(help_text="Listed among the dead letters.")
    times = serializers.DictField(
        child=serializers.DateTimeField(),
        help_text="A status or a fact (opened, clicked, complained ...), and when it was first.",
    )


class TimelineSerializer(serializers.Serializer[Any]):
    """One event of a delivery."""

    event_id = serializers.CharField()
    at = serializers.DateTimeField()
    status = serializers.ChoiceField(choices=STATUSES)
    fact = serializers.CharField(allow_null=True, help_text="opened, clicked, complained, unsubscribed or delayed.")
    round = serializers.IntegerField()
    attempt = serializers.IntegerField(
        allow_null=True, help_text="The try whose outcome this is; null for other events."
    )
    reason = serializers.CharField(allow_null=True)
    provider = serializers.CharField(allow_null=True)
    provider_id = serializers.CharField(allow_null=True)
    due_at = serializers.DateTimeField(allow_null=True)
    answer = serializers.DictField(help_text="What the provider said.")


class DeliveryDetailSerializer(DeliverySerializer):
    """A delivery with every event, oldest first."""

    timeline = TimelineSerializer(many=True)


def row_body(row: DeliveryRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "message": row.message,
        "receiver": row.receiver,
        "channel": row.channel,
        "group": row.group or None,
        "status": row.status.value,
        "reason": row.reason or None,
        "round": row.round,
        "address": row.address_masked or None,
        "attempts": row.attempts,
        "provider": row.provider or None,
        "provider_id": row.provider_id or None,
        "due_at": _time(row.due_at),
        "expires_at": _time(row.expires_at),
        "dead": row.dead,
        "times": {word: _time(at) for word, at in row.times.items()},
    }


def detail_body(detail: DeliveryDetail) -> dict[str, Any]:
    return row_body(detail.row) | {"timeline": [_entry_body(entry) for entry in detail.timeline]}


def totals_body(totals: Totals) -> dict[str, Any]:
    return {
        "as_of": _time(totals.as_of),
        "total": totals.total,
        "open": totals.open,
        "channels": {channel: dict(statuses) for channel, statuses in sorted(totals.channels.items())},
    }


def _entry_body(entry: TimelineEntry) -> dict[str, Any]:
    return {
        "event_id": entry.event,
        "at": _time(entry.at),
        "status": entry.status.value,
        "fact": entry.fact or None,
        "round": entry.round,
        "attempt": entry.attempt or None,
        "reason": entry.reason or None,
        "provider": entry.provider or None,
        "provider_id": entry.provider_id or None,
        "due_at": _time(entry.due_at),
        "answer": dict(entry.detail),
    }


def _time(at: datetime | None) -> str | None:
    """RFC 3339 in UTC."""
    return None if at is None else at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
