"""The OpenAPI document and the page that shows it, both open to everyone and without anything from outside."""

from typing import Any

from django.http import HttpResponse
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerSplitView
from rest_framework.request import Request

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)


class DocumentView(SpectacularJSONAPIView):
    authentication_classes = ()


class DocsView(SpectacularSwaggerSplitView):
    """Swagger UI from our own static files; its start-up script is a request of its own, so that no inline one runs."""

    authentication_classes = ()
    schema = None

    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        answer: HttpResponse = super().get(request, *args, **kwargs)  # type: ignore[no-untyped-call]
        answer["Content-Security-Policy"] = _POLICY
        return answer
