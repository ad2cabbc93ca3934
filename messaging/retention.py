"""Messages and what became of them are kept so many days after their end: a tenant's own number or the default."""

from datetime import UTC, datetime, timedelta

import structlog

from feedback import pruning
from messaging.documents import Message
from messaging.serializers import LATEST_START, MAX_TTL
from sprayer_project.errors import STORE_ERRORS
from sprayer_project.ids import first_id
from sprayer_project.mongo import DURABLE
from tenants import selectors as tenants

log = structlog.get_logger(__name__)

_ROWS, _MESSAGES = 1000, 100
"""At a time, of one tenant."""
_LONGEST_LIFE = LATEST_START + timedelta(seconds=MAX_TTL)
"""No message ends later than that after it was accepted."""


def prune() -> int:
    """Remove what is over for longer than its tenant keeps it; returns how many rows and messages, bounded.

    A message goes after its deliveries, so that a crash leaves nothing that is not found again. A tenant of which
    nothing can be removed holds up no other.
    """
    now = datetime.now(UTC)
    removed = 0
    for tenant, days in tenants.retentions().items():
        try:
            removed += prune_tenant(tenant, now - timedelta(days=days)) if days else 0
        except STORE_ERRORS:
            raise
        except Exception:
            log.exception("a tenant could not be pruned", tenant=tenant)
    return removed


def prune_tenant(tenant: str, before: datetime) -> int:
    """Remove some of what ended before that time. Returns how many rows and messages."""
    collection = Message._get_collection().with_options(write_concern=DURABLE)
    query = {"tenant": tenant, "expires_at": {"$lt": before}}
    found = [record["_id"] for record in collection.find(query, {"_id": 1}).limit(_MESSAGES)]
    rows, gone = 0, []
    for message in found:
        if rows >= _ROWS:
            break
        removed = pruning.prune_message(tenant, message, _ROWS - rows)
        if removed < _ROWS - rows:
            gone.append(message)
        rows += removed
    if gone:
        collection.delete_many({"_id": {"$in": gone}, "tenant": tenant})
    # A fact that came after its message had gone made a row by itself.
    rows += pruning.prune_older(tenant, first_id("msg", before - _LONGEST_LIFE), _ROWS)
    if rows or gone:
        log.info("pruned", tenant=tenant, messages=len(gone), deliveries=rows)
    return rows + len(gone)
