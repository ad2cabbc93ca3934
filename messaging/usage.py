"""What a tenant uses of what it may: requests, connections, what is stored."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings
from pymongo.errors import PyMongoError
from redis.exceptions import RedisError

from feedback import webhooks
from messaging import holders
from sprayer_project import mongo
from tenants import limiter
from tenants.cache import Remembered

MOST = 100_000
"""Counting stops here, and after PATIENCE seconds: a page must not wait for millions."""
PATIENCE = 0.2
STORED = ("groups", "receivers", "subscriptions", "messages", "deliveries")
_stored: Remembered[str, "Sequence[Stored]"] = Remembered(30)


@dataclass(frozen=True, slots=True)
class Share:
    """Something that is limited."""

    name: str
    used: int | None
    """None: nobody can say just now."""
    limit: int
    unit: str

    @property
    def percent(self) -> int:
        return min(100, round(100 * (self.used or 0) / self.limit)) if self.limit else 0


@dataclass(frozen=True, slots=True)
class Stored:
    """How many documents of a kind; more: at least so many; None: too many to count while a page is made."""

    name: str
    count: int | None
    more: bool


def shares(tenant: str, rate: str) -> list[Share]:
    """rate is the tenant's own, as 6000/minute; empty: the default."""
    found = []
    for mode in ("live", "test"):
        quota = limiter.peek(tenant, mode, rate)
        used = None if quota is None else quota.limit - quota.remaining
        most, window = limiter.of(rate)
        found.append(Share(f"Requests with {mode} keys", used, most, f"in {window} s"))
    found.append(
        Share(
            "Connected receivers",
            _connected(tenant),
            settings.REALTIME_TENANT_CONNECTIONS,
            "over all web processes; the limit is that of each",
        )
    )
    for mode in ("live", "test"):
        number = webhooks.of_tenant(tenant).filter(mode=mode).count()
        found.append(Share(f"Webhooks, {mode}", number, webhooks.MOST, ""))
    return found


def stored(tenant: str) -> Sequence[Stored]:
    """Counted anew after half a minute."""
    return _stored.get(tenant, lambda: _count_all(tenant))


def forget() -> None:
    """Count anew at the next look, in this process."""
    _stored.clear()


def _count_all(tenant: str) -> list[Stored]:
    with mongo.patience(PATIENCE):
        return [_count(tenant, name) for name in STORED]


def _count(tenant: str, name: str) -> Stored:
    try:
        number = mongo.database()[name].count_documents({"tenant": tenant}, limit=MOST)
    except PyMongoError as error:
        if not error.timeout:
            raise
        return Stored(name, None, True)
    return Stored(name, number, number >= MOST)


def _connected(tenant: str) -> int | None:
    try:
        return holders.count(tenant)
    except RedisError:
        return None
