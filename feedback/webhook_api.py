"""The REST API of feedback webhooks. A key sees and makes webhooks of its own mode."""

from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from feedback import webhook_delivery, webhook_lanes, webhooks
from feedback.models import Webhook
from feedback.webhook_serializers import (
    AttemptPageSerializer,
    AttemptSerializer,
    RotationSerializer,
    WebhookInputSerializer,
    WebhookPageSerializer,
    WebhookPatchSerializer,
    WebhookSecretSerializer,
    WebhookSerializer,
    attempt_body,
    entry_body,
    webhook_body,
)
from feedback.webhooks import Actor
from sprayer_project import paging
from sprayer_project.schema import PAGE_PARAMETERS
from tenants.api import ApiView

_TAGS = ["Webhooks"]
_EXAMPLE = OpenApiExample(
    "Everything that failed or bounced",
    {"url": "https://hooks.example.com/sprayer", "events": ["delivery.failed", "delivery.bounced"]},
    request_only=True,
)


class _View(ApiView):
    def actor(self) -> Actor:
        return Actor(key=self.caller.key_id, ip=self.ip)

    def row(self, webhook: str) -> Webhook:
        """Raises NotFound, also for another mode's."""
        return webhooks.one(self.caller.tenant, self.caller.mode, webhook)

    def body(self, row: Webhook) -> dict[str, Any]:
        return webhook_body(row, webhook_lanes.states(self.caller.tenant, [row.id])[row.id])


class WebhooksView(_View):
    scopes = {"GET": "admin", "POST": "admin"}

    @extend_schema(
        operation_id="webhooks_list",
        summary="Webhooks, newest first",
        tags=_TAGS,
        parameters=PAGE_PARAMETERS,
        responses=WebhookPageSerializer,
    )
    def get(self, request: Request) -> Response:
        cursor, limit = request.query_params.get("cursor"), paging.limit_of(request.query_params.get("limit"))
        page = webhooks.page(self.caller.tenant, self.caller.mode, cursor, limit)
        lanes = webhook_lanes.states(self.caller.tenant, [row.id for row in page.data])
        return Response(page.body(lambda row: webhook_body(row, lanes[row.id])))

    @extend_schema(
        operation_id="webhook_create",
        summary="Have feedback posted to a URL",
        description="The answer alone shows the secret that signs the requests.",
        tags=_TAGS,
        examples=[_EXAMPLE],
        request=WebhookInputSerializer,
        responses={201: WebhookSecretSerializer},
    )
    def post(self, request: Request) -> Response:
        values = _validated(WebhookInputSerializer, request)
        caller = self.caller
        row, secret = webhooks.create(caller.tenant, caller.mode, values["url"], values["events"], self.actor())
        headers = {"Location": f"/api/v1/webhooks/{row.id}"}
        return Response(self.body(row) | {"secret": secret}, status=201, headers=headers)


class WebhookView(_View):
    scopes = {"GET": "admin", "PATCH": "admin", "DELETE": "admin"}

    @extend_schema(
        operation_id="webhook_read",
        summary="One webhook and how it is doing",
        tags=_TAGS,
        responses=WebhookSerializer,
    )
    def get(self, request: Request, webhook: str) -> Response:
        return Response(self.body(self.row(webhook)))

    @extend_schema(
        operation_id="webhook_patch",
        summary="Change a webhook",
        tags=_TAGS,
        request=WebhookPatchSerializer,
        responses=WebhookSerializer,
    )
    def patch(self, request: Request, webhook: str) -> Response:
        row = self.row(webhook)
        return Response(self.body(webhooks.change(row, self.actor(), _validated(WebhookPatchSerializer, request))))

    @extend_schema(
        operation_id="webhook_delete",
        summary="Remove a webhook",
        description="What waits for it is dropped.",
        tags=_TAGS,
        responses={204: None},
    )
    def delete(self, request: Request, webhook: str) -> Response:
        webhooks.delete(self.row(webhook), self.actor())
        return Response(status=204)


class RotateView(_View):
    scopes = {"POST": "admin"}

    @extend_schema(
        operation_id="webhook_rotate",
        summary="Replace a webhook's secret",
        description="Requests carry both signatures during the overlap. The answer alone shows the new secret.",
        tags=_TAGS,
        request=RotationSerializer,
        responses=WebhookSecretSerializer,
    )
    def post(self, request: Request, webhook: str) -> Response:
        row = self.row(webhook)
        row, secret = webhooks.rotate(row, _validated(RotationSerializer, request)["overlap"], self.actor())
        return Response(self.body(row) | {"secret": secret})


class TestView(_View):
    scopes = {"POST": "admin"}

    @extend_schema(
        operation_id="webhook_test",
        summary="Send a webhook.test event now",
        description="Also to a webhook that is off. It is sent once, whatever comes back.",
        tags=_TAGS,
        request=None,
        responses=AttemptSerializer,
    )
    def post(self, request: Request, webhook: str) -> Response:
        return Response(attempt_body(webhook_delivery.send_test(self.row(webhook))))


class LogView(_View):
    scopes = {"GET": "admin"}

    @extend_schema(
        operation_id="webhook_log",
        summary="A webhook's newest attempts",
        description=f"At most {webhook_lanes.LOG}, newest first, on one page.",
        tags=_TAGS,
        responses=AttemptPageSerializer,
    )
    def get(self, request: Request, webhook: str) -> Response:
        row = self.row(webhook)
        lane = webhook_lanes.states(self.caller.tenant, [row.id], log=True)[row.id]
        return Response(paging.Page(list(lane.log), None).body(entry_body))


def _validated(shape: type[serializers.Serializer[Any]], request: Request) -> dict[str, Any]:
    serializer = shape(data=request.data)
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)
