"""The REST API of deliveries across messages."""

from collections.abc import Mapping

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from feedback.search import Wanted, deliveries
from feedback.serializers import STATUSES, row_body
from messaging import answers, channels, search
from messaging.api import query_parameters, time_of
from sprayer_project import paging
from tenants.api import ApiView

FILTERS = ("receiver", "address", "channel", "status", "group", "message", "since", "until")


class DeliverySearchView(ApiView):
    scopes = {"GET": "messages:read"}

    @extend_schema(
        operation_id="list_all_deliveries",
        summary="Deliveries of all messages, those of the newest message first",
        tags=["Messages"],
        description="since and until are about the time at which the message was accepted.",
        parameters=query_parameters(*FILTERS, statuses=STATUSES),
        responses={200: answers.DeliveryPageSerializer},
    )
    def get(self, request: Request) -> Response:
        caller, asked = self.caller, request.query_params
        page = deliveries(
            caller.tenant,
            caller.mode,
            wanted_of(caller.tenant, asked),
            list(channels.registry()),
            cursor=asked.get("cursor"),
            limit=paging.limit_of(asked.get("limit")),
        )
        return Response(page.body(row_body))


def wanted_of(tenant: str, asked: Mapping[str, str]) -> Wanted:
    """The filters of a query. Raises Invalid."""
    channel = asked.get("channel")
    return Wanted(
        message=asked.get("message"),
        receiver=asked.get("receiver"),
        address_hash=search.hash_of(tenant, channel, asked.get("address")),
        group=asked.get("group"),
        channel=channels.channel(channel).name if channel else None,
        status=asked.get("status"),
        since=time_of(asked, "since"),
        until=time_of(asked, "until"),
    )
