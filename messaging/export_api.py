"""The REST API of deliveries as files."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, ClassVar

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request

from feedback import export
from feedback.search import Wanted
from feedback.serializers import STATUSES
from messaging import channels, selectors
from messaging.api import query_parameters, time_of
from messaging.search_api import FILTERS, wanted_of
from sprayer_project.errors import Invalid
from sprayer_project.streaming import attachment
from tenants.api import ApiView

_ANSWERS: dict[Any, Any] = {
    (200, "text/csv"): OpenApiTypes.STR,
    (200, "application/x-ndjson"): OpenApiTypes.STR,
}
_FORMAT = OpenApiParameter(
    "format", OpenApiTypes.STR, enum=[*export.FORMATS], required=True, description="csv, or ndjson: one object a line"
)
_PARAMETERS = [_FORMAT, *query_parameters(*FILTERS, statuses=STATUSES)[: len(FILTERS)]]


class _AnyAccept(BaseContentNegotiation):
    """The path or the query says which format; the Accept header does not matter."""

    def select_renderer(self, request: Any, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type


class ExportView(ApiView):
    """Not an operation itself: what the exports share."""

    scopes: ClassVar[dict[str, str]] = {"GET": "messages:read"}
    content_negotiation_class = _AnyAccept

    def export(
        self, request: Request, kind: str, wanted: Wanted, names: Sequence[str], file: str
    ) -> StreamingHttpResponse:
        found = export.pages(self.caller.tenant, self.caller.mode, wanted, names)
        written = export.FORMATS[kind]
        return attachment(request._request, written.write(found), written.content_type, f"{file}.{kind}")

    def export_message(self, request: Request, kind: str, message: str) -> StreamingHttpResponse:
        names = selectors.record(self.caller.tenant, self.caller.mode, message)["channels"]
        return self.export(request, kind, Wanted(message=message), names, message)


class MessageCsvView(ExportView):
    @extend_schema(
        operation_id="export_message_csv",
        summary="A message's deliveries as CSV",
        tags=["Messages"],
        description="An apostrophe stands before a cell that a spreadsheet would take for a formula.",
        responses={(200, "text/csv"): OpenApiTypes.STR},
    )
    def get(self, request: Request, message: str) -> StreamingHttpResponse:
        return self.export_message(request, "csv", message)


class MessageNdjsonView(ExportView):
    @extend_schema(
        operation_id="export_message_ndjson",
        summary="A message's deliveries as NDJSON",
        tags=["Messages"],
        responses={(200, "application/x-ndjson"): OpenApiTypes.STR},
    )
    def get(self, request: Request, message: str) -> StreamingHttpResponse:
        return self.export_message(request, "ndjson", message)


class PeriodView(ExportView):
    @extend_schema(
        operation_id="export_deliveries",
        summary="The deliveries of a period as CSV or NDJSON",
        tags=["Messages"],
        description="Oldest first, by the time at which the messages were accepted; until is now without it.",
        parameters=_PARAMETERS,
        responses=_ANSWERS,
    )
    def get(self, request: Request) -> StreamingHttpResponse:
        asked: Mapping[str, str] = request.query_params
        kind = asked.get("format", "")
        if kind not in export.FORMATS:
            raise Invalid("invalid_format", f"format is one of {', '.join(export.FORMATS)}.", "?format")
        if time_of(asked, "since") is None:
            raise Invalid("missing_since", "Say from when on: ?since=2026-12-01T00:00:00Z.", "?since")
        wanted = wanted_of(self.caller.tenant, asked)
        wanted = replace(wanted, until=wanted.until or datetime.now(UTC))
        return self.export(request, kind, wanted, list(channels.registry()), "deliveries")
