"""The REST API of totals over time: GET /api/v1/totals."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from feedback.periods import Interval
from feedback.series import MOST, Latency, Series, series
from messaging import channels
from messaging.api import time_of
from sprayer_project.errors import Invalid
from tenants.api import ApiView

INTERVALS = [interval.value for interval in Interval]


def _counts(help_text: str) -> serializers.DictField:
    return serializers.DictField(child=serializers.DictField(child=serializers.IntegerField()), help_text=help_text)


class PeriodSerializer(serializers.Serializer[Any]):
    start = serializers.DateTimeField()
    as_of = serializers.DateTimeField(help_text="When it was counted.")
    channels = _counts("Channel, status, deliveries.")


class LatencySerializer(serializers.Serializer[Any]):
    count = serializers.IntegerField(help_text="Deliveries that were measured.")
    p50 = serializers.FloatField(help_text="Milliseconds from the acceptance of the message.")
    p95 = serializers.FloatField()
    p99 = serializers.FloatField()


TotalsAnswer = inline_serializer(
    "TotalsOverTime",
    {
        "interval": serializers.ChoiceField(choices=INTERVALS),
        "since": serializers.DateTimeField(),
        "until": serializers.DateTimeField(),
        "data": PeriodSerializer(many=True, help_text="Oldest first; periods without deliveries are left out."),
        "channels": _counts("All periods together."),
        "latency": serializers.DictField(
            child=serializers.DictField(child=LatencySerializer()), help_text="Channel, then sent or delivered."
        ),
    },
)


class TotalsView(ApiView):
    scopes = {"GET": "messages:read"}

    @extend_schema(
        operation_id="read_totals",
        summary="Deliveries over time, by channel and status",
        tags=["Messages"],
        description="A delivery counts in the period in which its message was accepted, with the status that it has "
        "now: late events change earlier periods. Minutes are kept for two days, hours for 60, days for three years.",
        parameters=[
            OpenApiParameter("interval", OpenApiTypes.STR, enum=INTERVALS, description="hour without"),
            OpenApiParameter("since", OpenApiTypes.DATETIME, description="60 minutes, 24 hours or 30 days without"),
            OpenApiParameter("until", OpenApiTypes.DATETIME, description=f"now without; up to {MOST} periods"),
            OpenApiParameter("channel", OpenApiTypes.STR, description="Of one channel"),
        ],
        responses=TotalsAnswer,
    )
    def get(self, request: Request) -> Response:
        asked = request.query_params
        name = asked.get("channel")
        found = series(
            self.caller.tenant,
            self.caller.mode,
            _interval(asked.get("interval", Interval.HOUR.value)),
            datetime.now(UTC),
            since=time_of(asked, "since"),
            until=time_of(asked, "until"),
            channel=channels.channel(name).name if name else None,
        )
        return Response(_body(found))


def _body(found: Series) -> dict[str, Any]:
    return {
        "interval": found.interval.value,
        "since": found.since,
        "until": found.until,
        "data": [{"start": row.start, "as_of": row.as_of, "channels": row.channels} for row in found.rows],
        "channels": found.channels,
        "latency": {
            channel: {status: _rounded(one) for status, one in statuses.items()}
            for channel, statuses in found.latency.items()
        },
    }


def _rounded(latency: Latency) -> dict[str, float]:
    return {name: round(value, 1) for name, value in asdict(latency).items()}


def _interval(word: str) -> Interval:
    try:
        return Interval(word)
    except ValueError:
        raise Invalid("invalid_interval", f"interval is one of {', '.join(INTERVALS)}.", "?interval") from None
