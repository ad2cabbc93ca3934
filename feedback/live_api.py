"""The REST API of the live feed."""

from functools import partial
from typing import Any

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

from feedback import live, live_stream
from feedback.live_stream import Source
from feedback.serializers import STATUSES
from feedback.webhook_events import PATTERNS
from tenants.api import ApiView
from tenants.authentication import bearer, caller_of


class EventStream(JSONRenderer):
    """What an EventSource asks for; refusals are JSON all the same."""

    media_type = "text/event-stream"
    format = "events"


def _parameter(name: str, description: str) -> OpenApiParameter:
    return OpenApiParameter(name, OpenApiTypes.STR, description=description)


class EventsView(ApiView):
    scopes = {"GET": "messages:read"}
    renderer_classes = [JSONRenderer, EventStream]
    http_method_names = ["get", "options"]

    @extend_schema(
        operation_id="stream_events",
        summary="Server-sent events: what becomes of deliveries, connections and addresses, as it happens",
        tags=["Messages"],
        description="The data of each event is what a feedback webhook gets, with `mode`. Several values of a filter "
        "are separated by commas.",
        parameters=[
            _parameter("channel", "Only of these channels."),
            _parameter("status", f"Only deliveries that came to one of {', '.join(STATUSES)}."),
            _parameter("message", "Only of this message."),
            _parameter("receiver", "Only of this receiver."),
            _parameter("type", f"Only of these types: any of {', '.join(PATTERNS)}."),
            OpenApiParameter(
                "Last-Event-ID", OpenApiTypes.STR, OpenApiParameter.HEADER, description="Go on after this event."
            ),
        ],
        responses={(200, "text/event-stream"): OpenApiTypes.STR},
    )
    def get(self, request: Request) -> StreamingHttpResponse:
        tenant, mode, key = self.caller.tenant, self.caller.mode, bearer(request.META["HTTP_AUTHORIZATION"])
        filters = live.filters_of(request.query_params)

        def shown(body: Any) -> bool:
            return body["mode"] in (None, mode) and filters.shows(body)

        live.check_running(tenant)
        sources = [Source(live.tail_of(tenant), shown)]
        last = request.headers.get("Last-Event-ID", "")
        return live_stream.respond(request._request, tenant, sources, last, partial(caller_of, key))
