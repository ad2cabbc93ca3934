"""Structured logs through structlog: key=value lines on a terminal, JSON with SPRAYER_LOG_JSON."""

import logging
import re
import time
from collections.abc import Callable
from functools import cache
from typing import Any
from uuid import uuid4

import structlog
from django.contrib.admindocs.utils import replace_named_groups
from django.http import HttpRequest, HttpResponse
from django.urls import ResolverMatch

_NAMED = frozenset({"message", "delivery", "webhook"})
"""Path parameters that are ids of ours; the others may be a person's name or address, or a secret."""
_id = re.compile(r"[a-z]{2,4}_[0-9a-z]{20,80}")
_parameter = re.compile(r"<(?:(\w+):)?(\w+)>")

_PROCESSORS: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
]


def configuration(level: str, json: bool) -> dict[str, Any]:
    """Django's LOGGING. Configures structlog as a side effect, once, when the settings are read."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_PROCESSORS,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    renderer = structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer(colors=False)
    quiet = {"level": "WARNING"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "structured": {
                "()": structlog.stdlib.ProcessorFormatter,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    structlog.processors.format_exc_info if json else _keep,
                    renderer,
                ],
                "foreign_pre_chain": _PROCESSORS,
            }
        },
        "filters": {"path": {"()": lambda: _mask_path}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "structured"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            "pika": {"level": "CRITICAL"},  # amqp.py says what matters, once
            "aiohttp.access": quiet,
            "daphne": quiet,
            "twilio": quiet,
            "mail.log": quiet,
            "django.request": {
                "level": "ERROR",
                "filters": ["path"],
            },  # the line of a refusal is RequestLogMiddleware's
            "django.security.csrf": {"filters": ["path"]},
            "django.server": quiet,
            "django.channels.server": quiet,
            "pymongo": quiet,
            "asyncio": quiet,
        },
    }


REQUEST_ID = "sprayer.request_id"
"""Where a request's META has its id."""


class RequestLogMiddleware:
    """One line a request, without its parameters (tokens, addresses); the request id goes out as X-Request-Id."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]):
        self.get_response = get_response
        self.log = structlog.get_logger("sprayer.request")

    def __call__(self, request: HttpRequest) -> HttpResponse:
        identifier = new_request_id()
        request.META[REQUEST_ID] = identifier
        structlog.contextvars.bind_contextvars(request=identifier)
        started = time.perf_counter()
        try:
            response = self.get_response(request)
        finally:
            structlog.contextvars.unbind_contextvars("request")
        response["X-Request-Id"] = identifier
        milliseconds = round((time.perf_counter() - started) * 1000, 1)
        if not request.path.startswith("/static/"):
            level = self.log.warning if response.status_code >= 500 else self.log.info
            level(
                "request",
                request=identifier,
                method=request.method,
                path=path_of(request.resolver_match),
                status=response.status_code,
                ms=milliseconds,
            )
        return response


def new_request_id() -> str:
    return uuid4().hex[:16]


def path_of(match: ResolverMatch | None) -> str:
    """A request's path, where all but tenants and ids of ours is left out: /api/v1/receivers/{receiver}/tokens."""
    if match is None:
        return "{unknown}"

    def value(found: re.Match[str]) -> str:
        kind, name = found.groups()
        given = str(match.kwargs.get(name, ""))
        return given if kind == "slug" or (name in _NAMED and _id.fullmatch(given)) else f"{{{name}}}"

    return "/" + _parameter.sub(value, _readable(match.route))


@cache
def _readable(route: str) -> str:
    """A route with <name> for every parameter, also where it is a regular expression."""
    return replace_named_groups(route).replace("^", "").replace("$", "")


def _mask_path(record: logging.LogRecord) -> bool:
    """Django's own lines name the path as it was asked for."""
    request = getattr(record, "request", None)
    if isinstance(request, HttpRequest) and isinstance(record.args, tuple):
        escaped = request.path.encode("unicode_escape").decode("ascii")
        masked = path_of(request.resolver_match)
        record.args = tuple(masked if arg == escaped else arg for arg in record.args)
    return True


def _keep(logger: Any, name: str, event: Any) -> Any:
    return event
