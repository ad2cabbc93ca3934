"""What a deleted tenant held goes from every store, in bounded steps; its slug stays and is nobody's again.

From the deletion on nothing is accepted or sent, but jobs, events and callbacks under way may write once more: after
the first time that nothing was found it is looked for again, for a day. Every step may be repeated at any point.
"""

import structlog
from redis.exceptions import RedisError

from feedback import webhooks
from sprayer_project import mongo, redis
from tenants import tenancy

log = structlog.get_logger(__name__)

LIMIT = 1000
"""Documents of each collection in one step."""


def go_on() -> int:
    """One step for each tenant that is due; how many documents may be left, at least."""
    return sum(_step(tenant) for tenant in tenancy.due())


def _step(tenant: str) -> int:
    documents = mongo.remove_tenant(tenant, LIMIT)
    if documents:
        log.info("removed of a deleted tenant", tenant=tenant, documents=documents)
        return LIMIT
    try:
        keys = redis.remove_tenant(tenant)
    except RedisError as error:
        log.warning("a deleted tenant is not removed yet", tenant=tenant, error=type(error).__name__)
        return 0
    webhooks.remove_all(tenant)
    tenancy.remove_rows(tenant)
    log.info("a deleted tenant is removed", tenant=tenant, keys=keys)
    return 0
