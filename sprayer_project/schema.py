"""How the OpenAPI document is written: scopes, errors and names that all operations share."""

from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, inline_serializer
from rest_framework import serializers

from sprayer_project import paging

LIMIT = OpenApiParameter(
    "limit", OpenApiTypes.INT, description=f"1 to {paging.MAX_LIMIT}, {paging.DEFAULT_LIMIT} without"
)
PAGE_PARAMETERS = [
    OpenApiParameter("cursor", OpenApiTypes.STR, description="next_cursor of the page before"),
    LIMIT,
]
_PATH = {
    "receiver": "The receiver's name, percent-encoded.",
    "group": "The group's name, percent-encoded.",
    "message": "msg_...",
    "delivery": "dlv_...",
    "address": "A plain address: a number, a mailbox, a URL, a token, or the JSON of a browser's subscription.",
    "channel": "The channel's name.",
    "webhook": "whk_...",
}
_PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457. `code` is stable, `detail` says what to change, `errors` names the bad fields.",
    "properties": {
        "type": {"type": "string", "example": "about:blank"},
        "status": {"type": "integer", "example": 400},
        "code": {"type": "string", "example": "unknown_target"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "pointer": {"type": "string", "description": "RFC 6901 into the body, or ?name of the query."},
                    "detail": {"type": "string"},
                },
                "required": ["pointer", "detail"],
            },
        },
    },
    "required": ["type", "status", "code", "detail"],
}
_REFUSAL = {
    "description": "Refused. 429 and 503 carry Retry-After.",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


def page_of(name: str, rows: serializers.BaseSerializer[Any]) -> serializers.Serializer[Any]:
    """The answer of a list."""
    return inline_serializer(name, {"data": rows, "next_cursor": serializers.CharField(allow_null=True)})


class Schema(AutoSchema):
    """One operation. Views describe themselves with extend_schema alone: docstrings are for who reads the code."""

    def get_description(self) -> str:  # type: ignore[override]
        return ""

    def get_operation(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        """The operation, the scope that it needs in its description."""
        operation = super().get_operation(*args, **kwargs)
        scope = getattr(self.view, "scopes", {}).get(self.method)
        if operation is not None and scope:
            words = [operation.get("description", ""), f"Needs the scope `{scope}`."]
            operation["description"] = " ".join(word for word in words if word)
        return operation


def finish(result: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """drf-spectacular's postprocessing hook: what can go wrong, and what the names in paths are."""
    result["components"]["schemas"]["Problem"] = _PROBLEM
    for operations in result["paths"].values():
        for operation in operations.values():
            operation["responses"]["default"] = _REFUSAL
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path":
                    parameter.setdefault("description", _PATH[parameter["name"]])
    return result
