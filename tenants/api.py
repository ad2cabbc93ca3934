"""The base of every REST view: key, scope, rate limit, size limit."""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, cast

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

import tenants.openapi  # noqa: F401  (registers the security scheme)
from sprayer_project import mongo
from sprayer_project.errors import Limited, SprayerError, TooLarge
from sprayer_project.logs import REQUEST_ID, path_of
from tenants import activity, console, limiter
from tenants.authentication import Caller

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class LengthRequired(SprayerError):
    """411: a body of unknown length."""

    status = 411


class ApiView(APIView):
    """Declare `scopes = {"GET": "messages:read", ...}`, one for each method that the view has.

    Every answer to a valid key carries RateLimit headers, a 429 too.
    """

    scopes: ClassVar[dict[str, str]] = {}
    max_body: ClassVar[int] = 4 * 1024 * 1024
    """bytes"""
    patience: ClassVar[float] = 10.0
    """Seconds that all of a request's work in MongoDB may take."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for method in _METHODS:
            if hasattr(cls, method.lower()) and method not in cls.scopes and cls.permission_classes:
                raise ImproperlyConfigured(f"{cls.__name__}.scopes names no scope for {method}")

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        began, answer = time.perf_counter(), None
        try:
            with mongo.patience(self.patience):
                answer = super().dispatch(request, *args, **kwargs)
            return answer
        finally:
            self._note(request, answer, time.perf_counter() - began)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Raises Limited, TooLarge, LengthRequired, and what authentication and scopes raise."""
        self.perform_authentication(request)
        self.known = request.auth if isinstance(request.auth, Caller) else None
        self._limit(request)
        super().initial(request, *args, **kwargs)
        if "chunked" in request.META.get("HTTP_TRANSFER_ENCODING", ""):
            raise LengthRequired("length_required", "Send the body with a Content-Length.")
        if int(request.META.get("CONTENT_LENGTH") or 0) > self.max_body:
            raise TooLarge("too_large", f"The body is larger than {self.max_body} bytes: send less at a time.")

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Response:
        answer = super().finalize_response(request, response, *args, **kwargs)
        if self.quota is not None:
            for name, value in self.quota.headers().items():
                answer[name] = value
        return answer

    quota: limiter.Quota | None = None
    known: Caller | None = None
    """The key behind the request; None before it is authenticated, and where none is asked for."""
    made: Sequence[str] = ()
    """The messages that the request made, for the log of requests."""

    @property
    def caller(self) -> Caller:
        """The key behind the request, once it is authenticated."""
        return cast(Caller, self.request.auth)

    @property
    def ip(self) -> str | None:
        """Where the request came from, for the audit log."""
        return console.ip_of(cast(HttpRequest, self.request))

    def _note(self, request: HttpRequest, answer: Any, seconds: float) -> None:
        """Whose key it was, and what became of it; without an answer it is a failure of ours."""
        if self.known is None or request.resolver_match is None:
            return
        problem = getattr(answer, "data", None) if answer is not None and answer.status_code >= 400 else None
        row = {
            "id": request.META.get(REQUEST_ID),
            "at": activity.text_of(datetime.now(UTC) - timedelta(seconds=seconds)),
            "mode": self.known.mode,
            "method": request.method,
            "path": path_of(request.resolver_match),
            "status": answer.status_code if answer is not None else 500,
            "ms": round(seconds * 1000, 1),
            "key": self.known.key_id,
            "key_prefix": self.known.key_prefix,
            "key_name": self.known.key_name,
            "code": problem.get("code") if isinstance(problem, Mapping) else None,
            "idempotency_key": request.headers.get("Idempotency-Key", "")[:255],
            "message": self.made[0] if self.made else None,
            "messages": len(self.made),
        }
        activity.note_request(self.known.tenant, {name: value for name, value in row.items() if value})

    def _limit(self, request: Request) -> None:
        if not isinstance(request.auth, Caller):
            return
        self.quota = limiter.take(request.auth.tenant, request.auth.mode, request.auth.rate_limit)
        if self.quota.exceeded:
            raise Limited(
                "rate_limited",
                f"More than {self.quota.limit} requests in {self.quota.window} s: wait {self.quota.reset} s.",
                (),
                self.quota.reset,
            )
