"""The REST API of erasing a receiver."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from messaging import erasure
from subscriptions.inputs import named
from tenants.api import ApiView


class ErasedSerializer(serializers.Serializer[Any]):
    """What is left of a receiver."""

    receiver = serializers.CharField(help_text="erased:..., which stands in deliveries and messages instead.")
    status = serializers.ChoiceField(choices=["erased", "erasing"], help_text="erasing: the sweeper goes on.")


class EraseView(ApiView):
    scopes = {"POST": "admin"}

    @extend_schema(
        operation_id="erase_receiver",
        summary="Erase a receiver's personal data everywhere",
        description="Cannot be undone, may be repeated. Totals stay; the audit log keeps the mark, not the name.",
        tags=["Receivers"],
        request=None,
        responses={200: ErasedSerializer},
    )
    def post(self, request: Request, receiver: str) -> Response:
        found = erasure.erase(self.caller.tenant, named(receiver, ""), key=self.caller.key_id, ip=self.ip)
        return Response({"receiver": found.mark, "status": "erased" if found.done else "erasing"})
