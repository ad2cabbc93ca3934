"""Which try of which delivery a mail is: kept by the provider beside the mail, and written into one-click links.

We sign it ourselves: a tenant knows its provider's secret, and must not be able to name another tenant's delivery.
It is short, since providers allow 80 characters a value, and names no receiver: an event needs neither.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from django.core.signing import Signer
from django.utils.crypto import constant_time_compare

from feedback.events import DeliveryEvent
from messaging.channels.base import Outgoing, Recipient

_KEPT, _LINK = Signer(salt="messaging.mail"), Signer(salt="messaging.mail.unsubscribe")
_DIGEST = 16
"""Characters of a delivery's id that follow its message's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MailReference:
    tenant: str
    mode: str
    delivery: str
    round: int
    address_hash: str

    def event(self, **facts: Any) -> DeliveryEvent:
        """An event about this delivery; facts are the other fields of DeliveryEvent."""
        message = f"msg_{self.delivery[4:-_DIGEST]}"
        return DeliveryEvent(message=message, receiver="", **asdict(self), **facts)


def reference_to(message: Outgoing, recipient: Recipient) -> MailReference:
    return MailReference(
        tenant=message.tenant,
        mode=message.mode,
        delivery=recipient.delivery,
        round=recipient.round,
        address_hash=recipient.address_hash,
    )


def to_metadata(reference: MailReference) -> dict[str, str]:
    """At most ten names of 20 characters with values of 80."""
    return {
        "delivery": reference.delivery,
        "round": str(reference.round),
        "mode": reference.mode,
        "address": reference.address_hash,
        "signature": _KEPT.signature(_signed(reference)),
    }


def from_metadata(tenant: str, mode: str, metadata: Mapping[str, Any]) -> MailReference | None:
    """None for a mail that is not ours, another tenant's or of the other mode."""
    parts = [metadata.get(name) for name in ("delivery", "round", "address", "signature")]
    if metadata.get("mode") != mode or not all(isinstance(part, str) for part in parts):
        return None
    delivery, round, hashed, signature = map(str, parts)
    return _checked(_KEPT, tenant, mode, delivery, round, hashed, signature)


def to_token(reference: MailReference) -> str:
    """ASCII without spaces."""
    parts = (reference.mode, reference.delivery, str(reference.round), reference.address_hash)
    return ".".join((*parts, _LINK.signature(_signed(reference))))


def from_token(tenant: str, token: str) -> MailReference | None:
    """None for what to_token did not write for this tenant."""
    parts = token.split(".")
    return _checked(_LINK, tenant, *parts) if len(parts) == 5 else None


def _checked(
    signer: Signer, tenant: str, mode: str, delivery: str, round: str, hashed: str, signature: str
) -> MailReference | None:
    if not round.isascii() or not round.isdecimal() or len(round) > 3:
        return None
    reference = MailReference(tenant=tenant, mode=mode, delivery=delivery, round=int(round), address_hash=hashed)
    return reference if constant_time_compare(signer.signature(_signed(reference)), signature) else None


def _signed(reference: MailReference) -> str:
    return json.dumps(asdict(reference), sort_keys=True)
