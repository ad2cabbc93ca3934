"""Looking for deliveries: every question is answered by what one index holds, whatever the number of rows."""

from typing import Any

from feedback.selectors import DeliveryDetail, detail_of, rows


def of_receiver(tenant: str, mode: str, message: str, receiver: str) -> list[DeliveryDetail]:
    """What a message's deliveries to one receiver went through."""
    indexed = {"tenant": tenant, "receiver": receiver, "_id": ids_of(message)}
    stages: list[dict[str, Any]] = [{"$match": indexed}, {"$match": {"mode": mode}}, {"$sort": {"_id": 1}}]
    return [detail_of(document) for document in rows().aggregate(stages)]


def ids_of(message: str) -> dict[str, str]:
    """The range of the ids of a message's deliveries: see events.delivery_id."""
    start = f"dlv_{message.partition('_')[2]}"
    return {"$gte": start, "$lt": f"{start}g"}
