"""The REST API of messages."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

from django.utils.dateparse import parse_datetime
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from feedback import selectors as feedback
from feedback.search import Wanted, deliveries
from feedback.serializers import STATUSES, DeliverySerializer, row_body
from messaging import answers, dry_run, dry_run_api, search, selectors, serializers, services
from messaging.selectors import MessageRow
from messaging.services import Accepted
from sprayer_project import paging
from sprayer_project.errors import Invalid, as_problem
from sprayer_project.schema import PAGE_PARAMETERS
from tenants.api import ApiView

_TAGS = ["Messages"]
_KEY = OpenApiParameter(
    "Idempotency-Key",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="1 to 255 characters, kept 24 hours: the same key with the same body answers the same message.",
)
_REPLAYED = OpenApiParameter(
    "Idempotency-Replayed",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    enum=["true"],
    response=[202],
    description="The key was used before: nothing was sent again.",
)
_LOCATION = OpenApiParameter("Location", OpenApiTypes.STR, OpenApiParameter.HEADER, response=[202])
_EXAMPLE = OpenApiExample(
    "A score to two receivers",
    {
        "to": {"receivers": ["alice", "bob"]},
        "channels": ["websocket", "sms"],
        "content": {"type": "score.changed", "title": "Goal!", "body": "2:1", "data": {"match": 17}},
        "ttl": 3600,
    },
    request_only=True,
)
_FILTERS = {
    "status": "only those of this status",
    "channel": "only those of this channel",
    "group": "only those to this group",
    "receiver": "only those to this receiver",
    "since": "created at or after this RFC 3339 time",
    "until": "created before this RFC 3339 time",
    "message": "only those of this message",
    "address": "only those to this address, as plain text; needs channel",
    "idempotency_key": "only the one that this key made",
}


MESSAGE_FILTERS = ("status", "channel", "group", "receiver", "address", "idempotency_key", "since", "until")


def query_parameters(*names: str, statuses: Sequence[str]) -> list[OpenApiParameter]:
    """Filters and paging in the query."""
    filters = [
        OpenApiParameter(
            name,
            OpenApiTypes.DATETIME if name in ("since", "until") else OpenApiTypes.STR,
            description=_FILTERS[name],
            enum=statuses if name == "status" else None,
        )
        for name in names
    ]
    return [*filters, *PAGE_PARAMETERS]


class MessagesView(ApiView):
    scopes = {"GET": "messages:read", "POST": "messages:send"}

    @extend_schema(
        operation_id="send_message",
        summary="Send a message",
        tags=_TAGS,
        description="202: Sprayer has taken responsibility; what becomes of it is in its deliveries.",
        parameters=[_KEY, _REPLAYED, _LOCATION, dry_run_api.PARAMETER],
        examples=[_EXAMPLE],
        request=serializers.MessageSerializer,
        responses={202: answers.AcceptedSerializer, 200: dry_run_api.DryRunSerializer},
    )
    def post(self, request: Request) -> Response:
        caller = self.caller
        if dry_run_api.wanted(request):
            found = dry_run.dry_run(caller.tenant, caller.mode, cast(dict[str, Any], request.data))
            return Response(dry_run_api.body(found))
        key = request.headers.get("Idempotency-Key")
        accepted = services.accept(caller.tenant, caller.mode, cast(dict[str, Any], request.data), key)
        self.made = [accepted.id]
        headers = {"Location": f"/api/v1/messages/{accepted.id}"}
        if accepted.replayed:
            headers["Idempotency-Replayed"] = "true"
        return Response(_accepted(accepted), status=202, headers=headers)

    @extend_schema(
        operation_id="list_messages",
        summary="List messages, newest first",
        tags=_TAGS,
        parameters=query_parameters(*MESSAGE_FILTERS, statuses=selectors.STATUSES),
        responses={200: answers.MessagePageSerializer},
    )
    def get(self, request: Request) -> Response:
        caller, asked = self.caller, request.query_params
        page = selectors.messages(
            caller.tenant,
            caller.mode,
            status=asked.get("status"),
            channel=asked.get("channel"),
            group=asked.get("group"),
            receiver=asked.get("receiver"),
            address_hash=search.hash_of(caller.tenant, asked.get("channel"), asked.get("address")),
            idempotency_key=asked.get("idempotency_key"),
            since=time_of(asked, "since"),
            until=time_of(asked, "until"),
            cursor=asked.get("cursor"),
            limit=paging.limit_of(asked.get("limit")),
        )
        return Response(page.body(body_of))


class BatchView(ApiView):
    scopes = {"POST": "messages:send"}

    @extend_schema(
        operation_id="send_messages",
        summary="Send up to 100 messages, each with its own idempotency_key",
        tags=_TAGS,
        description="Each item succeeds or fails by itself; the pointers of its problem are relative to the item.",
        request=answers.BatchShapeSerializer,
        responses={200: answers.MessageBatchAnswerSerializer},
    )
    def post(self, request: Request) -> Response:
        batch = serializers.BatchSerializer(data=request.data)
        batch.is_valid(raise_exception=True)
        caller = self.caller
        results = services.accept_batch(caller.tenant, caller.mode, batch.validated_data["messages"])
        self.made = [result.id for result in results if isinstance(result, Accepted)]
        return Response({"data": [_result(result) for result in results]})


class MessageView(ApiView):
    scopes = {"GET": "messages:read"}

    @extend_schema(
        operation_id="get_message",
        summary="A message with its totals by channel and status",
        tags=_TAGS,
        responses={200: answers.MessageBodySerializer},
    )
    def get(self, request: Request, message: str) -> Response:
        caller = self.caller
        return Response(body_of(selectors.message(caller.tenant, caller.mode, message)))


class DeliveriesView(ApiView):
    scopes = {"GET": "messages:read"}

    @extend_schema(
        operation_id="list_deliveries",
        summary="A message's deliveries",
        tags=_TAGS,
        parameters=query_parameters("channel", "status", "receiver", "group", statuses=STATUSES),
        responses={200: answers.DeliveryPageSerializer},
    )
    def get(self, request: Request, message: str) -> Response:
        caller, asked = self.caller, request.query_params
        names = selectors.record(caller.tenant, caller.mode, message)["channels"]
        wanted = Wanted(
            message=message,
            channel=asked.get("channel"),
            status=asked.get("status"),
            receiver=asked.get("receiver"),
            group=asked.get("group"),
        )
        page = deliveries(
            caller.tenant,
            caller.mode,
            wanted,
            names,
            cursor=asked.get("cursor"),
            limit=paging.limit_of(asked.get("limit")),
            newest_first=False,
        )
        return Response(page.body(row_body))


class CancelView(ApiView):
    scopes = {"POST": "messages:send"}

    @extend_schema(
        operation_id="cancel_message",
        summary="Stop what is not yet sent",
        tags=_TAGS,
        description="409 when nothing is left to stop.",
        request=None,
        responses={200: answers.MessageBodySerializer},
    )
    def post(self, request: Request, message: str) -> Response:
        caller = self.caller
        services.cancel(caller.tenant, caller.mode, message)
        return Response(body_of(selectors.message(caller.tenant, caller.mode, message)))


class RetryView(ApiView):
    scopes = {"POST": "messages:send"}

    @extend_schema(
        operation_id="retry_delivery",
        summary="Try a delivery again that did not arrive",
        tags=_TAGS,
        description="Opens the delivery's next round. 409 for what was delivered, is under way or has expired.",
        request=None,
        responses={202: DeliverySerializer},
    )
    def post(self, request: Request, delivery: str) -> Response:
        caller = self.caller
        services.retry_delivery(caller.tenant, caller.mode, delivery)
        return Response(row_body(feedback.delivery(caller.tenant, caller.mode, delivery).row), status=202)


def body_of(row: MessageRow) -> dict[str, Any]:
    """A message as the API answers it."""
    kept = ("id", "status", "mode", "created_at", "send_at", "expires_at", "to", "channels", "content", "overrides")
    more = ("attributes", "metadata", "ttl", "priority", "collapse_key", "exclude_connection")
    totals = {"as_of": row.totals.as_of, "total": row.totals.total, "channels": row.totals.channels}
    return {name: getattr(row, name) for name in (*kept, *more)} | {"totals": totals}


def _accepted(accepted: Accepted) -> dict[str, Any]:
    kept = ("id", "status", "channels", "created_at")
    return {name: getattr(accepted, name) for name in kept}


def _result(result: Accepted | Exception) -> dict[str, Any]:
    """One item of a batch's answer: its own status and body."""
    if isinstance(result, Accepted):
        replayed = {"replayed": True} if result.replayed else {}
        return {"status": 202, "message": _accepted(result)} | replayed
    problem = as_problem(result)
    return {"status": problem["status"], "problem": problem}


def time_of(asked: Mapping[str, str], name: str) -> datetime | None:
    raw = asked.get(name)
    if not raw:
        return None
    try:
        at = parse_datetime(raw)
        if at is not None and at.tzinfo is not None:
            return at.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise Invalid("invalid_time", f"{name} is an RFC 3339 time such as 2026-12-01T09:00:00Z.", f"?{name}")
