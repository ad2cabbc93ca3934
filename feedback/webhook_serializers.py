"""Feedback webhooks as the API takes and shows them."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from rest_framework import serializers

from feedback import webhook_events, webhooks
from feedback.models import Webhook
from feedback.webhook_events import PATTERNS, rfc3339
from feedback.webhook_lanes import Attempt, Lane
from sprayer_project.schema import page_of
from sprayer_project.serializers import StrictBooleanField, StrictCharField, StrictIntegerField, StrictSerializer
from sprayer_project.webhook_urls import MAX_URL

_DAY = 86_400
_REASONS = [reason.value for reason in Webhook.Reason]


class WebhookInputSerializer(StrictSerializer):
    """A new webhook."""

    url = StrictCharField(max_length=MAX_URL, help_text="https:// or http://, a public address.")
    events = serializers.ListField(
        child=StrictCharField(max_length=60),
        min_length=1,
        max_length=len(PATTERNS),
        default=[webhook_events.EVERY],
        help_text=f"Any of {', '.join(PATTERNS)}.",
    )


class WebhookPatchSerializer(StrictSerializer):
    """What to change."""

    url = StrictCharField(max_length=MAX_URL, required=False)
    events = serializers.ListField(
        child=StrictCharField(max_length=60), min_length=1, max_length=len(PATTERNS), required=False
    )
    enabled = StrictBooleanField(required=False, help_text="Turned off, it gets nothing, and what waits is dropped.")


class RotationSerializer(StrictSerializer):
    """How long the old secret signs as well."""

    overlap = StrictIntegerField(
        min_value=0, max_value=int(webhooks.LONGEST_OVERLAP.total_seconds()), default=_DAY, help_text="Seconds."
    )

    def validate_overlap(self, value: int) -> timedelta:
        return timedelta(seconds=value)


class WebhookSerializer(serializers.Serializer[Any]):
    """A webhook and how it is doing."""

    id = serializers.CharField(help_text="whk_...")
    mode = serializers.ChoiceField(choices=["live", "test"], help_text="Whose events it gets: as the key that made it.")
    url = serializers.CharField()
    events = serializers.ListField(child=serializers.CharField())
    enabled = serializers.BooleanField()
    disabled_at = serializers.DateTimeField(allow_null=True)
    disabled_reason = serializers.ChoiceField(
        choices=_REASONS,
        allow_null=True,
        help_text="off: somebody turned it off. gone: it answered 410. failing: no attempt succeeded for days.",
    )
    failing_since = serializers.DateTimeField(allow_null=True, help_text="Since when every attempt has failed.")
    delivered_at = serializers.DateTimeField(allow_null=True, help_text="When it last answered 2xx.")
    dropped = serializers.IntegerField(help_text="Events that were never delivered: given up, or too many waiting.")
    previous_secret_until = serializers.DateTimeField(
        allow_null=True, help_text="Until then requests carry the signature of the secret before this one, too."
    )
    created_at = serializers.DateTimeField()


class WebhookSecretSerializer(WebhookSerializer):
    """A webhook with its secret, which is not shown again."""

    secret = serializers.CharField(help_text="whsec_...")


class AttemptSerializer(serializers.Serializer[Any]):
    """One request to a webhook."""

    id = serializers.CharField(help_text="Its webhook-id, the same on every attempt.")
    at = serializers.DateTimeField()
    attempt = serializers.IntegerField(help_text="1 for the first.")
    events = serializers.IntegerField(help_text="How many events; 0 for a test.")
    status = serializers.IntegerField(allow_null=True, help_text="HTTP's; null where no answer came.")
    error = serializers.CharField(allow_null=True, help_text="Why none came: timeout, connection_failed ...")
    duration_ms = serializers.IntegerField()
    next_at = serializers.DateTimeField(allow_null=True, help_text="When it is sent again.")


WebhookPageSerializer = page_of("WebhookPage", WebhookSerializer(many=True))
AttemptPageSerializer = page_of("WebhookLogPage", AttemptSerializer(many=True))


def webhook_body(row: Webhook, lane: Lane) -> dict[str, Any]:
    """Raises Undecryptable."""
    return {
        "id": row.id,
        "mode": row.mode,
        "url": row.url,
        "events": row.events,
        "enabled": row.enabled,
        "disabled_at": _time(row.disabled_at),
        "disabled_reason": row.disabled_reason or None,
        "failing_since": _time(lane.failing_since),
        "delivered_at": _time(lane.delivered_at),
        "dropped": lane.dropped,
        "previous_secret_until": _time(webhooks.overlap_end(row)),
        "created_at": _time(row.created_at),
    }


def entry_body(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of a lane's log."""
    return {
        "id": entry["id"],
        "at": _time(entry["at"]),
        "attempt": entry["attempt"],
        "events": entry["events"],
        "status": entry.get("status"),
        "error": entry.get("error"),
        "duration_ms": entry["milliseconds"],
        "next_at": _time(entry.get("next_at")),
    }


def attempt_body(attempt: Attempt) -> dict[str, Any]:
    """A test's attempt."""
    return {
        "id": attempt.batch.id,
        "at": _time(attempt.at),
        "attempt": 1,
        "events": attempt.batch.events,
        "status": attempt.status,
        "error": attempt.error or None,
        "duration_ms": attempt.milliseconds,
        "next_at": None,
    }


def _time(at: datetime | None) -> str | None:
    return rfc3339(at) if at else None
