"""Who is connected: GET /api/v1/receivers/{receiver}/presence, GET /api/v1/groups/{group}/presence."""

from typing import Any

from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from messaging import holders, inbox
from sprayer_project import paging
from sprayer_project.errors import NotFound
from sprayer_project.schema import PAGE_PARAMETERS
from subscriptions import selectors as subscriptions
from tenants.api import ApiView

_CHUNK = 1_000


class ReceiverPresence(serializers.Serializer[Any]):
    receiver = serializers.CharField()
    connected = serializers.BooleanField(help_text="By WebSocket, event stream or long poll, anywhere.")


class PresentMember(serializers.Serializer[Any]):
    receiver = serializers.CharField()


GroupPresenceAnswer = inline_serializer(
    "GroupPresence",
    {
        "group": serializers.CharField(),
        "connected": serializers.IntegerField(help_text="How many of the group's members are connected."),
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
        after = paging.decode(request.query_params.get("cursor"), str)
        limit = paging.limit_of(request.query_params.get("limit"))
        connected = connected_members(self.caller.tenant, group)
        rest = [name for name in connected if name > (after or "")]
        page = paging.page(rest[: limit + 1], limit, lambda name: name)
        body = {"group": group, "connected": len(connected), "data": [{"receiver": name} for name in page.data]}
        return Response(body | {"next_cursor": page.next_cursor})


def connected_members(tenant: str, group: str) -> list[str]:
    """By name. The tenant's connected receivers are fewer than a group's members may be, so it starts from them.

    Raises NotFound, and redis errors.
    """
    subscriptions.group(tenant, group)
    present = sorted(holders.all_present(tenant))
    found: set[str] = set()
    for start in range(0, len(present), _CHUNK):
        found |= subscriptions.members_among(tenant, group, inbox.CHANNEL, present[start : start + _CHUNK])
    return [name for name in present if name in found]
