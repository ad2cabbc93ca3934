"""GET /api/v1/sandbox/{channel}: what arrived at the sandbox gateway for the caller's tenant."""

from typing import cast

from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from messaging.channels import registry
from messaging.sandbox_client import arrived
from sprayer_project import paging
from sprayer_project.errors import NotFound
from sprayer_project.schema import LIMIT
from tenants.api import ApiView
from tenants.authentication import Caller
from tenants.rights import Forbidden

Arrivals = inline_serializer(
    "Arrivals",
    {
        "data": serializers.ListField(child=serializers.DictField()),
        "next_cursor": serializers.CharField(allow_null=True, help_text="Always null: the sandbox keeps few."),
    },
)


class SandboxView(ApiView):
    """What arrived at a sandbox gateway, newest first; needs a test key."""

    scopes = {"GET": "messages:read"}

    @extend_schema(
        operation_id="sandbox_arrivals",
        summary="What arrived at a sandbox gateway, newest first",
        description="With a test key. Each has `arrival`, its name, `at` and what that channel's gateway saw.",
        tags=["Sandbox"],
        parameters=[LIMIT],
        responses=Arrivals,
    )
    def get(self, request: Request, channel: str) -> Response:
        caller = cast(Caller, request.auth)
        if caller.mode != "test":
            raise Forbidden("test_key_needed", "Only a test key reads the sandbox: its messages alone arrive there.")
        limit = paging.limit_of(request.query_params.get("limit"))
        if channel not in registry():
            raise NotFound("unknown_channel", f"There is no channel {channel!r}.")
        return Response({"data": arrived(caller.tenant, channel, limit), "next_cursor": None})
