"""The REST API of suppressed plain addresses. All of it is idempotent."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from sprayer_project import paging
from sprayer_project.schema import PAGE_PARAMETERS, page_of
from sprayer_project.serializers import StrictSerializer
from subscriptions import suppressions
from subscriptions.suppressions import SuppressionRow
from tenants.api import ApiView

READ, WRITE = "subscriptions:read", "subscriptions:write"
REASONS = ("opted_out", "complained", "bounced", "invalid_address")
_TAGS = ["Suppressions"]
_CHANNEL = OpenApiParameter("channel", OpenApiTypes.STR, description="only those on this channel")


class SuppressionInputSerializer(StrictSerializer):
    """Why."""

    reason = serializers.ChoiceField(choices=REASONS, default="opted_out")


class SuppressionSerializer(serializers.Serializer[Any]):
    channel = serializers.CharField()
    address = serializers.CharField(allow_null=True, help_text="null where it has been erased.")
    reason = serializers.CharField(help_text="A reason of the above, or the channel's own word.")
    at = serializers.DateTimeField()


SuppressionPageSerializer = page_of("SuppressionPage", SuppressionSerializer(many=True))


class SuppressionsView(ApiView):
    scopes = {"GET": READ}

    @extend_schema(
        operation_id="suppressions_list",
        summary="Suppressed plain addresses, the newest first",
        tags=_TAGS,
        parameters=[_CHANNEL, *PAGE_PARAMETERS],
        responses=SuppressionPageSerializer,
    )
    def get(self, request: Request) -> Response:
        asked = request.query_params
        page = suppressions.page(
            self.caller.tenant, asked.get("channel"), asked.get("cursor"), paging.limit_of(asked.get("limit"))
        )
        return Response(page.body(_body))


class SuppressionView(ApiView):
    """About one plain address, which stands percent-encoded in the path."""

    scopes = {"GET": READ, "PUT": WRITE, "DELETE": WRITE}

    @extend_schema(
        operation_id="suppression_read",
        summary="Whether a plain address is suppressed, and why",
        tags=_TAGS,
        responses=SuppressionSerializer,
    )
    def get(self, request: Request, channel: str, address: str) -> Response:
        found = suppressions.clean(self.caller.tenant, channel, address)
        return Response(_body(suppressions.one(self.caller.tenant, channel, found.hash)))

    @extend_schema(
        operation_id="suppression_put",
        summary="Let no live message go to a plain address",
        description="One that is suppressed already keeps its reason and time.",
        tags=_TAGS,
        request=SuppressionInputSerializer,
        responses=SuppressionSerializer,
    )
    def put(self, request: Request, channel: str, address: str) -> Response:
        body = SuppressionInputSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        found = suppressions.clean(self.caller.tenant, channel, address)
        return Response(_body(suppressions.put(self.caller.tenant, found, body.validated_data["reason"])))

    @extend_schema(
        operation_id="suppression_delete",
        summary="Let messages go to a plain address again",
        tags=_TAGS,
        responses={204: None},
    )
    def delete(self, request: Request, channel: str, address: str) -> Response:
        found = suppressions.clean(self.caller.tenant, channel, address)
        suppressions.lift(self.caller.tenant, channel, found.hash)
        return Response(status=204)


def _body(row: SuppressionRow) -> dict[str, Any]:
    return {"channel": row.channel, "address": row.address, "reason": row.reason, "at": row.at}
