"""What an answer of APNs means for one delivery."""

from typing import Any

from feedback.events import Status
from messaging.apns import Answer
from messaging.channels.base import Outcome

PROVIDER = "apns"


def outcome_of(delivery: str, apns_id: str, answer: Answer, one_app: bool) -> Outcome:
    """one_app: whether no other app's tokens can be meant, so that a token for another topic is dead."""
    detail: dict[str, Any] = {"http_status": answer.status}
    if answer.status == 200:
        if unique := answer.headers.get("apns-unique-id"):
            detail["apns_unique_id"] = unique
        provider_id = answer.headers.get("apns-id", apns_id).lower()
        return Outcome(delivery=delivery, status=Status.SENT, provider=PROVIDER, provider_id=provider_id, detail=detail)
    refusal = answer.refusal
    if answer.reason:
        detail["reason"] = answer.reason
    if answer.unregistered_at:
        detail["since"] = answer.unregistered_at.isoformat()
    return Outcome(
        delivery=delivery,
        status=refusal.status,
        reason=refusal.reason,
        provider=PROVIDER,
        provider_id=apns_id,
        retry_after=answer.retry_after or refusal.retry_after,
        retire=refusal.retire and (one_app or answer.reason != "DeviceTokenNotForTopic"),
        dead_since=answer.unregistered_at,
        detail=detail,
    )
