"""/healthz, /readyz and /metrics: for orchestrators and Prometheus, without a key; keep them off the public network."""

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from functools import cache, partial
from typing import Any

import pymongo.errors
import redis.exceptions
import structlog
from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import get_resolver
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST

from sprayer_project import amqp, metrics, mongo
from sprayer_project import redis as shards

log = structlog.get_logger(__name__)

TIMEOUT = 2.5
_NEEDED = ("mongodb", "sql")
_AWAY = (pymongo.errors.PyMongoError, redis.exceptions.RedisError, DatabaseError, FutureTimeout, ConnectionError)


@never_cache
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """200: this process answers."""
    return JsonResponse({"status": "ok"})


@never_cache
@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """200 ok, 200 degraded (Redis or RabbitMQ away: messages are still accepted), 503 without MongoDB or SQL.

    {"status": "ok" | "degraded" | "unavailable", "servers": {"mongodb": "ok" | "unavailable", ...}}
    """
    servers = {name: "ok" if up else "unavailable" for name, up in _servers().items()}
    missing = [name for name, state in servers.items() if state != "ok"]
    status = "ok"
    if missing:
        status = "unavailable" if any(name in _NEEDED for name in missing) else "degraded"
        log.warning("servers missing", servers=missing)
    return JsonResponse({"status": status, "servers": servers}, status=503 if status == "unavailable" else 200)


@never_cache
@require_safe
def exposition(
    request: HttpRequest, queues: Callable[[], Iterable[str]], readings: Callable[[], Iterable[metrics.Reading]]
) -> HttpResponse:
    """Prometheus text; queues names the queues whose length is asked for now, readings what else is read now."""
    return HttpResponse(metrics.exposition(queues(), amqp.depth, readings()), content_type=CONTENT_TYPE_LATEST)


def warm_up() -> None:
    """Load the URLs and meet every server, so that the first requests need not; an absent one may come later."""
    get_resolver().url_patterns  # noqa: B018  (a lazy property)
    _servers()


def _servers() -> dict[str, bool]:
    """Which servers answer, all asked at once, TIMEOUT seconds for each at most."""
    asked = {"mongodb": _pool().submit(mongo.ping)}
    for index in range(len(settings.REDIS_URLS)):
        asked[f"redis-{index}"] = _pool().submit(partial(_ping_redis, index))
    asked["rabbitmq"] = _pool().submit(_ping_rabbitmq)
    # SQL in this thread: Django closes the connection with the request.
    return {"sql": _up(_ping_sql), **{name: _up(partial(_result, future)) for name, future in asked.items()}}


def _up(ping: Callable[[], Any]) -> bool:
    try:
        ping()
    except _AWAY:
        return False
    return True


def _result(future: Future[None]) -> None:
    future.result(TIMEOUT)


def _ping_sql() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def _ping_redis(index: int) -> None:
    with shards.hurried(index) as client:
        client.ping()


def _ping_rabbitmq() -> None:
    if not amqp.connected():
        raise ConnectionError("RabbitMQ is away")


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(16, "readyz")
