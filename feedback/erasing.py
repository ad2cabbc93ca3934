"""Taking a receiver's name and addresses out of its deliveries; their statuses and so all totals stay.

What is written instead is greater than any name or address, because a late event writes its own by `$max`: it never
comes back.
"""

from dataclasses import replace
from datetime import datetime

from feedback import selectors, services
from feedback.documents import ERASED
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
