"""POST /api/v1/receivers/{receiver}/tokens: with its answer a receiver's client connects."""

from datetime import datetime
from typing import Any
from urllib.parse import quote

from django.conf import settings
from drf_spectacular.utils import extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from messaging.realtime import tokens
from sprayer_project.errors import NotFound
from sprayer_project.serializers import StrictIntegerField, StrictSerializer
from subscriptions import selectors as subscriptions
from tenants.api import ApiView


@extend_schema_serializer(component_name="Token")
class TokenRequest(StrictSerializer):
    """How long the token is to hold."""

    ttl = StrictIntegerField(
        min_value=1, max_value=tokens.MAX_TTL, default=3600, help_text="Seconds for which the token holds."
    )


class TokenAnswer(serializers.Serializer[Any]):
    token = serializers.CharField()
    expires_at = serializers.DateTimeField()
    url = serializers.CharField(help_text="The WebSocket, the token included.")


class TokensView(ApiView):
    scopes = {"POST": "tokens:create"}

    @extend_schema(
        operation_id="create_receiver_token",
        tags=["Realtime"],
        request=TokenRequest,
        responses={201: TokenAnswer},
        summary="A signed token with which one receiver's clients connect",
    )
    def post(self, request: Request, receiver: str) -> Response:
        body = TokenRequest(data=request.data)
        body.is_valid(raise_exception=True)
        tenant: str = request.auth.tenant  # type: ignore[union-attr]
        if subscriptions.unknown_receivers(tenant, [receiver]):
            raise NotFound("unknown_receiver", f"There is no receiver {receiver!r}.")
        token, expires_at = tokens.issue(tenant, receiver, body.validated_data["ttl"])
        answer = {"token": token, "expires_at": _rfc3339(expires_at), "url": socket_url(token)}
        return Response(answer, status=201, headers={"Cache-Control": "no-store"})


def socket_url(token: str) -> str:
    """The public WebSocket URL with a token."""
    return f"ws{settings.PUBLIC_URL.removeprefix('http')}/api/v1/realtime?token={quote(token)}"


def _rfc3339(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
