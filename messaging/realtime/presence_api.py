"""Who is connected: GET /api/v1/receivers/{receiver}/presence, GET /api/v1/groups/{group}/presence."""

from typing import Any

from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from messaging import holders
from messaging.realtime import group_presence
from sprayer_project import paging
from sprayer_project.errors import NotFound
from sprayer_project.schema import PAGE_PARAMETERS
from subscriptions import selectors as subscriptions
from tenants.api import ApiView


class ReceiverPresence(serializers.Serializer[Any]):
    receiver = serializers.CharField()
    connected = serializers.BooleanField(help_text="By WebSocket, event stream or long poll, anywhere.")


class PresentMember(serializers.Serializer[Any]):
    receiver = serializers.CharField()


GroupPresenceAnswer = inline_serializer(
    "GroupPresence",
    {
        "group": serializers.CharField(),
        "connected": serializers.IntegerField(
            allow_null=True, help_text="How many of the group's members are connected; null where counting takes long."
        ),
        "data": PresentMember(many=True),
        "next_cursor": serializers.CharField(allow_null=True),
    },
)


class ReceiverPresenceView(ApiView):
    scopes = {"GET": "subscriptions:read"}

    @extend_schema(
        operation_id="get_receiver_presence",
        tags=["Realtime"],
        responses=ReceiverPresence,
        summary="Whether a receiver is connected",
    )
    def get(self, request: Request, receiver: str) -> Response:
        tenant = self.caller.tenant
        if subscriptions.unknown_receivers(tenant, [receiver]):
            raise NotFound("unknown_receiver", f"There is no receiver {receiver!r}.")
        return Response({"receiver": receiver, "connected": holders.present(tenant, receiver)})


class GroupPresenceView(ApiView):
    scopes = {"GET": "subscriptions:read"}

    @extend_schema(
        operation_id="get_group_presence",
        tags=["Realtime"],
        parameters=PAGE_PARAMETERS,
        responses=GroupPresenceAnswer,
        summary="Which members of a group are connected, by name, and how many",
    )
    def get(self, request: Request, group: str) -> Response:
        after = subscriptions.after(request.query_params.get("cursor"))
        limit = paging.limit_of(request.query_params.get("limit"))
        page = group_presence.page(self.caller.tenant, group, after, limit)
        connected = group_presence.count(self.caller.tenant, group)
        body = {"group": group, "connected": connected, "data": [{"receiver": name} for name in page.data]}
        return Response(body | {"next_cursor": page.next_cursor})
