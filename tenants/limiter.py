"""Requests a tenant may make: fixed windows in its Redis shard, one round trip a request, open when Redis is away."""

import math
import time
from dataclasses import dataclass
from functools import cache

import structlog
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from limits import RateLimitItem, parse
from limits.storage import Storage, storage_from_string
from redis.exceptions import RedisError

from sprayer_project import redis

log = structlog.get_logger(__name__)

TIMEOUT = 0.25
_PAUSE = 1.0
_closed_until: dict[str, float] = {}


@dataclass(frozen=True, slots=True)
class Quota:
    """What is left of a window; remaining is negative for a request over the limit."""

    limit: int
    window: int
    """seconds"""
    remaining: int
    reset: int
    """seconds until the next window"""

    @property
    def exceeded(self) -> bool:
        return self.remaining < 0

    def headers(self) -> dict[str, str]:
        """draft-ietf-httpapi-ratelimit-headers-09"""
        return {
            "RateLimit-Policy": f'"default";q={self.limit};w={self.window}',
            "RateLimit": f'"default";r={max(self.remaining, 0)};t={self.reset}',
        }


def take(tenant: str, mode: str, rate: str = "", amount: int = 1) -> Quota:
    """Count a request of this tenant and mode; rate is the tenant's own, as 6000/minute."""
    limit, window = of(rate)
    key, reset = _window(tenant, mode, window)
    return Quota(limit, window, limit - _count(tenant, key, window, amount), reset)


def peek(tenant: str, mode: str, rate: str = "") -> Quota | None:
    """The same without counting anything; None while Redis is away."""
    limit, window = of(rate)
    key, reset = _window(tenant, mode, window)
    try:
        used = _storage(settings.REDIS_URLS[redis.shard_of(tenant)]).get(key)
    except RedisError:
        return None
    return Quota(limit, window, limit - used, reset)


def of(rate: str = "") -> tuple[int, int]:
    """How many requests in how many seconds; an empty rate is the default."""
    item = _item(rate or settings.RATE_LIMIT)
    return item.amount, item.get_expiry()


def valid_rate(rate: str) -> bool:
    try:
        return parse(rate).amount > 0
    except ValueError:
        return False


def _window(tenant: str, mode: str, window: int) -> tuple[str, int]:
    """The key of the window that runs now, and in how many seconds the next one begins."""
    now = time.time()
    number = int(now // window)
    return redis.key(tenant, "rate", mode, str(window), str(number)), math.ceil((number + 1) * window - now)


def _count(tenant: str, key: str, window: int, amount: int) -> int:
    """Uses in this window; as if this were the first while Redis is away, and then not asking again for a moment."""
    url = settings.REDIS_URLS[redis.shard_of(tenant)]
    if _closed_until.get(url, 0) > time.monotonic():
        return amount
    try:
        return _storage(url).incr(key, window, amount)
    except RedisError as error:
        _closed_until[url] = time.monotonic() + _PAUSE
        log.warning("rate limit not counted", tenant=tenant, error=type(error).__name__)
        return amount


@cache
def _item(rate: str) -> RateLimitItem:
    try:
        return parse(rate)
    except ValueError as error:
        raise ImproperlyConfigured(f"SPRAYER_RATE_LIMIT: {rate!r} is not a rate as 6000/minute") from error


@cache
def _storage(url: str) -> Storage:
    storage = storage_from_string(url, key_prefix="limits", socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT)
    if not isinstance(storage, Storage):
        raise ImproperlyConfigured("SPRAYER_REDIS_URLS: rate limits need a synchronous Redis URL")
    return storage
