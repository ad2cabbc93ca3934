"""The REST API of the question why."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from feedback.selectors import DeliveryDetail
from feedback.serializers import STATUSES, row_body
from messaging import explain
from messaging.explain import AddressState, ChannelStory, Explanation
from messaging.explain_verdicts import Verdict, answer_of
from sprayer_project.errors import Invalid
from tenants.api import ApiView

VERDICTS = [verdict.value for verdict in Verdict]
ADDRESS_STATUSES = ["active", "retired"]
_RECEIVER = OpenApiParameter(
    "receiver", OpenApiTypes.STR, required=True, description="The receiver's name, or addr:<hash> for a plain address."
)


class AddressStateSerializer(serializers.Serializer[Any]):
    """An address as it stands now."""

    address = serializers.CharField(help_text="Masked.")
    status = serializers.ChoiceField(choices=ADDRESS_STATUSES)
    reason = serializers.CharField(allow_null=True)
    retired_at = serializers.DateTimeField(allow_null=True)


class ExplainedDeliverySerializer(serializers.Serializer[Any]):
    """A delivery, and what the provider said last."""

    delivery = serializers.CharField(help_text="dlv_...")
    address = serializers.CharField(allow_null=True, help_text="Masked.")
    status = serializers.ChoiceField(choices=STATUSES)
    reason = serializers.CharField(allow_null=True)
    at = serializers.DateTimeField(help_text="When the status was reached.")
    due_at = serializers.DateTimeField(allow_null=True, help_text="When the next attempt is due.")
    attempts = serializers.IntegerField()
    provider_answer = serializers.DictField()


class ChannelStorySerializer(serializers.Serializer[Any]):
    """What became of a message for one receiver on one channel."""

    channel = serializers.CharField()
    verdict = serializers.ChoiceField(choices=VERDICTS)
    detail = serializers.CharField(help_text="A sentence for people.")
    deliveries = ExplainedDeliverySerializer(many=True)
    addresses = AddressStateSerializer(many=True, help_text="The receiver's, as they stand now.")


class ExplanationSerializer(serializers.Serializer[Any]):
    """Why a receiver got a message or did not."""

    message = serializers.CharField()
    receiver = serializers.CharField()
    channels = ChannelStorySerializer(many=True, help_text="One for every channel.")


class ExplainView(ApiView):
    scopes = {"GET": "messages:read"}

    @extend_schema(
        operation_id="explain_message",
        summary="Why a receiver got a message, or did not",
        tags=["Messages"],
        description="404 also for a receiver whom the message names neither itself nor by a group.",
        parameters=[_RECEIVER],
        responses={200: ExplanationSerializer},
    )
    def get(self, request: Request, message: str) -> Response:
        caller, receiver = self.caller, request.query_params.get("receiver")
        if not receiver:
            raise Invalid("missing_receiver", "Say for whom: ?receiver=<name>.", "?receiver")
        return Response(explanation_body(explain.explain(caller.tenant, caller.mode, message, receiver)))


def explanation_body(found: Explanation) -> dict[str, Any]:
    return {
        "message": found.message,
        "receiver": found.receiver,
        "channels": [story_body(story) for story in found.channels],
    }


def story_body(story: ChannelStory) -> dict[str, Any]:
    return {
        "channel": story.channel,
        "verdict": story.verdict.value,
        "detail": story.detail,
        "deliveries": [_delivery_body(found) for found in story.deliveries],
        "addresses": [address_body(address) for address in story.addresses],
    }


def address_body(address: AddressState) -> dict[str, Any]:
    return {name: getattr(address, name) for name in ("address", "status", "reason", "retired_at")}


def _delivery_body(found: DeliveryDetail) -> dict[str, Any]:
    row = row_body(found.row)
    kept = {name: row[name] for name in ("address", "status", "reason", "due_at", "attempts")}
    return {"delivery": row["id"], **kept, "at": found.row.at, "provider_answer": dict(answer_of(found))}
