"""One error root, one RFC 9457 problem+json handler, and what counts as "a store is away"."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

import pymongo.errors
import redis.exceptions
import structlog
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from redis.connection import DefaultParser
from rest_framework import exceptions as drf
from rest_framework.parsers import JSONParser
from rest_framework.response import Response

log = structlog.get_logger(__name__)

PROBLEM = "application/problem+json"


@dataclass(frozen=True, slots=True)
class FieldError:
    """One bad field: pointer is an RFC 6901 JSON pointer, or "?name" for a query parameter."""

    pointer: str
    detail: str


class SprayerError(Exception):
    """Root of what Sprayer raises on purpose. status is the HTTP status it becomes in the API."""

    status = 500

    def __init__(
        self, code: str, detail: str, errors: Sequence[FieldError] = (), retry_after: float | None = None
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.code, self.detail, self.errors, self.retry_after = code, detail, tuple(errors), retry_after


class Invalid(SprayerError):
    """400: the request is wrong; the detail says what to change."""

    status = 400

    def __init__(self, code: str, detail: str, *pointers: str, errors: Sequence[FieldError] = ()):
        super().__init__(code, detail, [*errors, *(FieldError(pointer, detail) for pointer in pointers)])


class NotFound(SprayerError):
    """404: there is no such thing, or it is another tenant's."""

    status = 404


class Conflict(SprayerError):
    status = 409


class TooLarge(SprayerError):
    status = 413


class KeyReused(SprayerError):
    """422: an Idempotency-Key came again with another body."""

    status = 422


class Limited(SprayerError):
    status = 429


class StoreUnavailable(SprayerError):
    """503: a server that we need is away; nothing is known to be stored: repeat with the same Idempotency-Key."""

    status = 503

    def __init__(self, store: str, detail: str = "", retry_after: float = 2):
        super().__init__("store_unavailable", detail or f"{store} is unavailable: repeat the request.", (), retry_after)
        self.store = store


class Refusing(redis.exceptions.ResponseError):
    """Redis refuses for its own state, by a code for which its client has no class."""


DefaultParser.EXCEPTION_CLASSES.update(dict.fromkeys(("BUSY", "MISCONF", "NOREPLICAS"), Refusing))

STORE_ERRORS = (
    StoreUnavailable,
    pymongo.errors.ConnectionFailure,
    pymongo.errors.ExecutionTimeout,
    pymongo.errors.WTimeoutError,
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
    redis.exceptions.ClusterDownError,
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.TryAgainError,
    Refusing,
)
"""What a store raises that went away or refuses for its own state: pause and repeat, it is nobody's mistake."""


class StrictJSONParser(JSONParser):
    """JSON without NaN and Infinity, and only objects at the top."""

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        try:
            data = super().parse(stream, media_type, parser_context)
        except (drf.ParseError, RecursionError, UnicodeDecodeError) as error:
            raise Invalid("malformed_json", f"The body is not JSON: {error}", "") from error
        if not isinstance(data, dict):
            raise Invalid("malformed_json", "The body must be one JSON object.", "")
        return data


def problem(status: int, code: str, detail: str, errors: Sequence[FieldError] = ()) -> dict[str, Any]:
    """The body of a problem document (RFC 9457)."""
    body: dict[str, Any] = {"type": "about:blank", "status": status, "code": code, "detail": detail}
    if errors:
        body["errors"] = [{"pointer": error.pointer, "detail": error.detail} for error in errors]
    return body


def as_problem(error: Exception) -> dict[str, Any]:
    """What an expected error would answer, as a problem document. Raises the error when it is not an expected one."""
    known = _as_sprayer_error(error)
    if known is None:
        raise error
    return problem(known.status, known.code, known.detail, known.errors)


def problem_response(
    status: int, code: str, detail: str, errors: Sequence[FieldError] = (), retry_after: float | None = None
) -> JsonResponse:
    """The same as an HTTP answer, for whoever is not a REST view."""
    response = JsonResponse(problem(status, code, detail, errors), status=status, content_type=PROBLEM)
    if retry_after is not None:
        response["Retry-After"] = str(math.ceil(retry_after))
    return response


def problem_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """REST framework's EXCEPTION_HANDLER: whatever a view raises, as a problem document."""
    known = _as_sprayer_error(error)
    if known is None:
        return None
    body = problem(known.status, known.code, known.detail, known.errors)
    response = Response(body, status=known.status, content_type=PROBLEM)
    if known.retry_after is not None:
        response["Retry-After"] = str(math.ceil(known.retry_after))
    if known.status == 401:
        response["WWW-Authenticate"] = "Bearer"
    return response


def server_error(request: HttpRequest) -> HttpResponse:
    return problem_response(500, "internal_error", "Sprayer failed on this request; it has been logged.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return problem_response(404, "not_found", "There is nothing at this address.")


def _as_sprayer_error(error: Exception) -> SprayerError | None:
    if isinstance(error, SprayerError):
        return error
    if isinstance(error, STORE_ERRORS):
        store = "MongoDB" if isinstance(error, pymongo.errors.PyMongoError) else "Redis"
        log.warning("store unavailable", store=store, error=type(error).__name__)
        return StoreUnavailable(store)
    if isinstance(error, drf.ValidationError):
        return Invalid("invalid", "The request has bad fields: see errors.", errors=list(_flatten(error.detail, "")))
    if isinstance(error, Http404):
        return NotFound("not_found", "There is no such object.")
    if isinstance(error, PermissionDenied):
        error = drf.PermissionDenied()
    if isinstance(error, drf.APIException):
        known = SprayerError(str(error.default_code), str(error.detail), (), getattr(error, "wait", None))
        known.status = error.status_code
        return known
    return None


def _flatten(detail: Any, pointer: str) -> list[FieldError]:
    """REST framework's nested error lists as a flat list of pointers."""
    if isinstance(detail, Mapping):
        return [
            found
            for name, inner in detail.items()
            for found in _flatten(inner, pointer if name == "non_field_errors" else f"{pointer}/{_escape(str(name))}")
        ]
    if isinstance(detail, list | tuple):
        return [
            found
            for index, inner in enumerate(detail)
            for found in _flatten(inner, f"{pointer}/{index}" if isinstance(inner, Mapping | list) else pointer)
        ]
    return [FieldError(pointer, str(detail))]


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
