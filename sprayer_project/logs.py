"""Structured logs through structlog: key=value lines on a terminal, JSON with SPRAYER_LOG_JSON."""

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import structlog
from django.http import HttpRequest, HttpResponse

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
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "structured"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            "pika": {"level": "CRITICAL"},  # amqp.py says what matters, once
            "aiohttp.access": quiet,
            "daphne": quiet,
            "twilio": quiet,
            "mail.log": quiet,
            "django.server": quiet,
            "django.channels.server": quiet,
            "pymongo": quiet,
            "asyncio": quiet,
        },
    }


REQUEST_ID = "sprayer.request_id"
"""Where a request's META has its id."""


class RequestLogMiddleware:
    """One line a request, without its query string (tokens travel there); the request id goes out as X-Request-Id."""

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
                path=request.path,
                status=response.status_code,
                ms=milliseconds,
            )
        return response


def new_request_id() -> str:
    return uuid4().hex[:16]


def _keep(logger: Any, name: str, event: Any) -> Any:
    return event
