"""GET /api/v1/sandbox/{channel}: what arrived at the sandbox gateway for the caller's tenant."""

import json
from typing import Any, cast
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import ProxyHandler, build_opener

from django.conf import settings
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from messaging.channels import registry
from sprayer_project import paging
from sprayer_project.errors import NotFound, StoreUnavailable
from sprayer_project.schema import LIMIT
from tenants.api import ApiView
from tenants.authentication import Caller
from tenants.rights import Forbidden

TIMEOUT = 5.0
# The sandbox is ours: no proxy of the environment stands before it.
_opener = build_opener(ProxyHandler({}))
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
        description="With a test key. Each arrival has `at` and what that channel's gateway saw.",
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


def arrived(tenant: str, channel: str, limit: int) -> list[dict[str, Any]]:
    """Newest first. Raises NotFound for a channel without gateway, StoreUnavailable without a sandbox."""
    query = urlencode({"tenant": tenant, "limit": limit})
    try:
        with _opener.open(f"{settings.SANDBOX_URL}/arrived/{quote(channel)}?{query}", timeout=TIMEOUT) as answer:
            rows: list[dict[str, Any]] = json.load(answer)["data"]
            return rows
    except HTTPError as error:
        if error.code != 404:
            raise StoreUnavailable("sandbox", "The sandbox fails: try again.") from error
        error.close()
        raise NotFound("no_gateway", f"Nothing of channel {channel!r} passes through the sandbox.") from error
    except (URLError, OSError) as error:
        raise StoreUnavailable("sandbox", "The sandbox does not run here, or does not answer.") from error
