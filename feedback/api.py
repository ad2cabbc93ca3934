"""The REST API of deliveries."""

from typing import cast

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from feedback import selectors
from feedback.serializers import DeliveryDetailSerializer, detail_body
from tenants.api import ApiView
from tenants.authentication import Caller


class DeliveryView(ApiView):
    scopes = {"GET": "messages:read"}

    @extend_schema(
        operation_id="delivery_read",
        summary="One delivery and its timeline",
        description="Every event and attempt with the provider's answer. A test key sees test deliveries only.",
        tags=["Messages"],
        responses=DeliveryDetailSerializer,
    )
    def get(self, request: Request, delivery: str) -> Response:
        caller = cast(Caller, request.auth)
        return Response(detail_body(selectors.delivery(caller.tenant, caller.mode, delivery)))
