"""Taking a receiver's name and addresses out of its deliveries; their statuses and so all totals stay. And out of what
feedback webhooks have still to get; the log of what they got names nobody.

What is written into a delivery instead is greater than any name or address, because a late event writes its own by
`$max`: it never comes back.
"""

import re
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from typing import Any

import orjson

from feedback import selectors, services
from feedback.documents import ERASED, WebhookBatch, collection
from feedback.events import OPEN, Status
from feedback.selectors import row_of
from sprayer_project.ids import first_id


def erase_deliveries(tenant: str, receiver: str, mark: str, before: datetime, limit: int) -> int:
    """Erase up to `limit` deliveries of messages from before that time; returns how many. Safe to repeat.

    mark: the opaque name that the receiver gets instead. What was still to be tried is cancelled.
    """
    query = {"tenant": tenant, "receiver": receiver, "_id": {"$lt": first_id("dlv", before)}}
    found = list(selectors.rows().find(query).limit(limit))
    if not found:
        return 0
    rows = [row_of(document) for document in found]
    left = [replace(row, receiver=mark, address_masked="", address_hash="") for row in rows if row.status in OPEN]
    services.end(left, Status.CANCELLED, "erased", before)
    erased = {"receiver": f"{ERASED}{mark}", "address_masked": ERASED, "address_hash": ERASED}
    selectors.rows().update_many({"_id": {"$in": [row.id for row in rows]}, "tenant": tenant}, {"$set": erased})
    return len(rows)


def erase_webhook_batches(tenant: str, names: Collection[str], mark: str, before: datetime, limit: int) -> int:
    """Erase these names in up to `limit` batches, in events of messages, or about receivers, from before that time.

    Returns how many batches. A request that is under way has the name. Safe to repeat.
    """
    quoted = "|".join(re.escape(orjson.dumps(name).decode()) for name in names)
    waiting, changed = collection(WebhookBatch), 0
    for batch in waiting.find({"tenant": tenant, "body": {"$regex": f": ?(?:{quoted})"}}, {"body": 1}):
        body = _without(batch["body"], names, mark, before)
        if body != batch["body"]:
            waiting.update_one({"_id": batch["_id"]}, {"$set": {"body": body}})
            changed += 1
        if changed == limit:
            break
    return changed


def _without(body: str, names: Collection[str], mark: str, before: datetime) -> str:
    told = orjson.loads(body)
    for item in told["data"]:
        if _is_older(item, before):
            if item["receiver"] in names:
                item["receiver"] = mark
                item |= {"address": ""} if "address" in item else {}
            for key, value in item.get("metadata", {}).items():
                item["metadata"][key] = mark if value in names else value
    return orjson.dumps(told).decode()


def _is_older(item: dict[str, Any], before: datetime) -> bool:
    """A delivery is as old as its message, what happened to a receiver as its own time says."""
    if "message" in item:
        return bool(item["message"] < first_id("msg", before))
    return datetime.fromisoformat(item["at"]) < before
