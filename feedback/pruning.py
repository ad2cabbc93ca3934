"""Removing what has been kept long enough, a bounded number of rows at a time. Safe to repeat at any point."""

from typing import Any

from feedback import selectors


def prune_message(tenant: str, message: str, limit: int) -> int:
    """Remove up to `limit` deliveries of a message, and with the last of them its totals. Returns how many."""
    removed = _remove({"tenant": tenant, "message": message}, limit)
    if removed < limit:
        selectors.summaries().delete_one({"_id": message, "tenant": tenant})
    return removed


def prune_older(tenant: str, message: str, limit: int) -> int:
    """Remove up to `limit` deliveries, the oldest first, of messages with an id below this one. Returns how many."""
    removed = _remove({"tenant": tenant, "message": {"$lt": message}}, limit)
    if removed < limit:
        selectors.summaries().delete_many({"_id": {"$lt": message}, "tenant": tenant})
    return removed


def _remove(query: dict[str, Any], limit: int) -> int:
    ids = [found["_id"] for found in selectors.rows().find(query, {"_id": 1}).limit(limit)]
    return int(selectors.rows().delete_many({"_id": {"$in": ids}}).deleted_count) if ids else 0
