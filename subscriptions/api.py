"""The REST API of receivers, groups and subscriptions. All of it is idempotent."""

from typing import Any, cast

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from sprayer_project import paging
from sprayer_project.errors import Invalid, TooLarge
from sprayer_project.schema import PAGE_PARAMETERS
from subscriptions import selectors, services
from subscriptions.inputs import ReceiverInput, named
from subscriptions.serializers import (
    MAX_BATCH,
    BatchAnswerSerializer,
    GroupInputSerializer,
    GroupPageSerializer,
    GroupSerializer,
    ReceiverBatchSerializer,
    ReceiverInputSerializer,
    ReceiverItemSerializer,
    ReceiverPageSerializer,
    ReceiverPatchSerializer,
    ReceiverSerializer,
    SubscriptionBatchSerializer,
    SubscriptionInputSerializer,
    SubscriptionItemSerializer,
    SubscriptionPageSerializer,
    SubscriptionSerializer,
    batch_result,
    group_body,
    receiver_body,
    subscription_body,
)
from tenants.api import ApiView
from tenants.authentication import Caller

READ, WRITE = "subscriptions:read", "subscriptions:write"
_RECEIVERS, _GROUPS = ["Receivers"], ["Groups and subscriptions"]
_CHANNEL = OpenApiParameter("channel", OpenApiTypes.STR, description="only those reached on this channel")


class ReceiversView(ApiView):
    scopes = {"GET": READ}

    @extend_schema(
        operation_id="receivers_list",
        summary="Receivers by name",
        tags=_RECEIVERS,
        parameters=PAGE_PARAMETERS,
        responses=ReceiverPageSerializer,
    )
    def get(self, request: Request) -> Response:
        return Response(selectors.receivers(_tenant(request), *_page(request)).body(receiver_body))


class ReceiverView(ApiView):
    scopes = {"GET": READ, "PUT": WRITE, "PATCH": WRITE, "DELETE": WRITE}

    @extend_schema(
        operation_id="receiver_read",
        summary="One receiver with the health of its addresses",
        tags=_RECEIVERS,
        responses=ReceiverSerializer,
    )
    def get(self, request: Request, receiver: str) -> Response:
        return Response(receiver_body(selectors.receiver(_tenant(request), named(receiver, ""))))

    @extend_schema(
        operation_id="receiver_put",
        summary="Make a receiver be exactly this",
        description="An address that had been retired is used again when it is named.",
        tags=_RECEIVERS,
        request=ReceiverInputSerializer,
        responses=ReceiverSerializer,
    )
    def put(self, request: Request, receiver: str) -> Response:
        values = _validated(ReceiverInputSerializer, request.data)
        return Response(receiver_body(services.put_receiver(_tenant(request), receiver, **values)))

    @extend_schema(
        operation_id="receiver_patch",
        summary="Change a receiver",
        description="JSON Merge Patch: addresses are replaced, attributes merged, null removes.",
        tags=_RECEIVERS,
        request=ReceiverPatchSerializer,
        responses=ReceiverSerializer,
    )
    def patch(self, request: Request, receiver: str) -> Response:
        values = _validated(ReceiverPatchSerializer, request.data)
        row = services.patch_receiver(_tenant(request), named(receiver, ""), **values)
        return Response(receiver_body(row))

    @extend_schema(
        operation_id="receiver_delete",
        summary="Remove a receiver with its addresses and subscriptions",
        tags=_RECEIVERS,
        responses={204: None},
    )
    def delete(self, request: Request, receiver: str) -> Response:
        services.delete_receiver(_tenant(request), named(receiver, ""))
        return Response(status=204)


_hidden = {method: extend_schema(exclude=True) for method in ("get", "put", "patch", "delete")}


@extend_schema_view(**_hidden)
class ReceiverBatchView(ReceiverView):
    """POST is the batch; everything else is about the receiver that is called batch."""

    scopes = {**ReceiverView.scopes, "POST": WRITE}

    @extend_schema(
        operation_id="receivers_batch",
        summary=f"Put up to {MAX_BATCH:,} receivers",
        description="Each item succeeds or fails by itself; its errors' pointers are relative to the item.",
        tags=_RECEIVERS,
        request=ReceiverBatchSerializer,
        responses=BatchAnswerSerializer,
    )
    def post(self, request: Request, receiver: str) -> Response:
        items = _items(request.data, "receivers")
        checked = [_attempt(ReceiverItemSerializer, item) for item in items]
        inputs = [_receiver_input(values) for values in checked if not isinstance(values, Exception)]
        results = iter(services.put_receivers(_tenant(request), inputs))
        return _answer(items, [values if isinstance(values, Exception) else next(results) for values in checked])


class ReceiverSubscriptionsView(ApiView):
    scopes = {"GET": READ}

    @extend_schema(
        operation_id="receiver_subscriptions_list",
        summary="A receiver's subscriptions by group",
        tags=_RECEIVERS,
        parameters=PAGE_PARAMETERS,
        responses=SubscriptionPageSerializer,
    )
    def get(self, request: Request, receiver: str) -> Response:
        page = selectors.receiver_subscriptions(_tenant(request), named(receiver, ""), *_page(request))
        return Response(page.body(subscription_body))


class GroupsView(ApiView):
    scopes = {"GET": READ}

    @extend_schema(
        operation_id="groups_list",
        summary="Groups by name",
        tags=_GROUPS,
        parameters=PAGE_PARAMETERS,
        responses=GroupPageSerializer,
    )
    def get(self, request: Request) -> Response:
        return Response(selectors.groups(_tenant(request), *_page(request)).body(group_body))


class GroupView(ApiView):
    scopes = {"GET": READ, "PUT": WRITE, "DELETE": WRITE}

    @extend_schema(operation_id="group_read", summary="One group", tags=_GROUPS, responses=GroupSerializer)
    def get(self, request: Request, group: str) -> Response:
        return Response(group_body(selectors.group(_tenant(request), named(group, ""))))

    @extend_schema(
        operation_id="group_put",
        summary="Make a group be exactly this",
        tags=_GROUPS,
        request=GroupInputSerializer,
        responses=GroupSerializer,
    )
    def put(self, request: Request, group: str) -> Response:
        values = _validated(GroupInputSerializer, request.data)
        row = services.put_group(_tenant(request), group, values.get("name"), values.get("channels"))
        return Response(group_body(row))

    @extend_schema(
        operation_id="group_delete",
        summary="Remove a group with its subscriptions",
        tags=_GROUPS,
        responses={204: None},
    )
    def delete(self, request: Request, group: str) -> Response:
        services.delete_group(_tenant(request), named(group, ""))
        return Response(status=204)


class GroupSubscriptionsView(ApiView):
    scopes = {"GET": READ}

    @extend_schema(
        operation_id="group_subscriptions_list",
        summary="A group's subscriptions by receiver",
        tags=_GROUPS,
        parameters=[_CHANNEL, *PAGE_PARAMETERS],
        responses=SubscriptionPageSerializer,
    )
    def get(self, request: Request, group: str) -> Response:
        channel = request.query_params.get("channel")
        page = selectors.group_subscriptions(_tenant(request), named(group, ""), channel, *_page(request))
        return Response(page.body(subscription_body))


class SubscriptionView(ApiView):
    scopes = {"PUT": WRITE, "DELETE": WRITE}

    @extend_schema(
        operation_id="subscription_put",
        summary="Subscribe a receiver to a group",
        tags=_GROUPS,
        request=SubscriptionInputSerializer,
        responses=SubscriptionSerializer,
    )
    def put(self, request: Request, group: str, receiver: str) -> Response:
        values = _validated(SubscriptionInputSerializer, request.data)
        names = named(group, ""), named(receiver, "")
        return Response(subscription_body(services.subscribe(_tenant(request), *names, values.get("channels"))))

    @extend_schema(
        operation_id="subscription_delete",
        summary="Unsubscribe a receiver from a group",
        tags=_GROUPS,
        responses={204: None},
    )
    def delete(self, request: Request, group: str, receiver: str) -> Response:
        services.unsubscribe(_tenant(request), named(group, ""), named(receiver, ""))
        return Response(status=204)


@extend_schema_view(put=extend_schema(exclude=True), delete=extend_schema(exclude=True))
class SubscriptionBatchView(SubscriptionView):
    """POST is the batch; everything else is about the receiver that is called batch."""

    scopes = {**SubscriptionView.scopes, "POST": WRITE}

    @extend_schema(
        operation_id="subscriptions_batch",
        summary=f"Subscribe up to {MAX_BATCH:,} receivers to a group",
        description="Each item succeeds or fails by itself; its errors' pointers are relative to the item.",
        tags=_GROUPS,
        request=SubscriptionBatchSerializer,
        responses=BatchAnswerSerializer,
    )
    def post(self, request: Request, group: str, receiver: str) -> Response:
        items = _items(request.data, "subscriptions")
        checked = [_attempt(SubscriptionItemSerializer, item) for item in items]
        pairs = [
            (values["receiver"], values.get("channels")) for values in checked if not isinstance(values, Exception)
        ]
        results = iter(services.subscribe_many(_tenant(request), named(group, ""), pairs))
        return _answer(items, [values if isinstance(values, Exception) else next(results) for values in checked])


def _tenant(request: Request) -> str:
    return cast(Caller, request.auth).tenant


def _page(request: Request) -> tuple[str | None, int]:
    return request.query_params.get("cursor"), paging.limit_of(request.query_params.get("limit"))


def _validated(shape: type[serializers.Serializer[Any]], data: Any) -> dict[str, Any]:
    serializer = shape(data=data)
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)


def _attempt(shape: type[serializers.Serializer[Any]], item: Any) -> dict[str, Any] | Exception:
    """An item of a batch, or what is wrong with it."""
    try:
        return _validated(shape, item)
    except serializers.ValidationError as error:
        return error


def _items(data: Any, field: str) -> list[Any]:
    """The items of a batch, unchecked. Raises Invalid, TooLarge."""
    if unknown := sorted(set(data) - {field}):
        raise Invalid("invalid", f"The body has one field, {field}.", *(f"/{name}" for name in unknown))
    items = data.get(field)
    if not isinstance(items, list) or not items:
        raise Invalid("invalid", f"{field} is a list of at least one item.", f"/{field}")
    if len(items) > MAX_BATCH:
        raise TooLarge("too_large", f"A batch has at most {MAX_BATCH} items: this one has {len(items)}.")
    return items


def _receiver_input(values: dict[str, Any]) -> ReceiverInput:
    return ReceiverInput(values.pop("receiver"), **values)


def _answer(items: list[Any], results: list[Any]) -> Response:
    names = [item.get("receiver") if isinstance(item, dict) else None for item in items]
    pairs = zip(names, results, strict=True)
    return Response({"data": [batch_result(name if isinstance(name, str) else None, result) for name, result in pairs]})
