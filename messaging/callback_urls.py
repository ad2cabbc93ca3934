"""The URL on which a provider calls back about one delivery.

It carries all that the delivery's row needs, so that the event is an upsert; no address. We sign it ourselves: a tenant
knows its provider's secret, and must not be able to name another tenant's delivery.
"""

from dataclasses import asdict, dataclass
from typing import Any

from django.conf import settings
from django.core.signing import BadSignature as SigningError
from django.core.signing import Signer

from feedback.events import DeliveryEvent
from messaging.channels.base import BadSignature, Callback, Channel, Outgoing, Recipient

# A separator that no client encodes: the provider signs the URL as it writes it.
_signer = Signer(sep=".", salt="messaging.callback")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Which try of which delivery a callback is about."""

    tenant: str
    mode: str
    message: str
    delivery: str
    receiver: str
    address_hash: str
    address_masked: str
    round: int
    group: str | None

    def event(self, **facts: Any) -> DeliveryEvent:
        """An event about this delivery; facts are the other fields of DeliveryEvent."""
        return DeliveryEvent(**asdict(self), **facts)


def callback_url(channel: Channel, provider: str, message: Outgoing, recipient: Recipient) -> str:
    reference = Reference(
        tenant=message.tenant,
        mode=message.mode,
        message=message.id,
        delivery=recipient.delivery,
        receiver=recipient.receiver,
        address_hash=recipient.address_hash,
        address_masked=channel.mask_address(recipient.address) if recipient.address else "",
        round=recipient.round,
        group=recipient.group,
    )
    signed = _signer.sign_object(asdict(reference), compress=True)
    return f"{callback_address(message.tenant, channel, provider)}?mode={message.mode}&ref={signed}"


def callback_address(tenant: str, channel: Channel, provider: str) -> str:
    """Where this provider calls back for a tenant, before anything that is about one delivery."""
    return f"{settings.PUBLIC_URL}/api/v1/callbacks/{tenant}/{channel.name}/{provider}"


def reference_of(callback: Callback) -> Reference | None:
    """What our URL said; None when the provider called a URL without one. Raises BadSignature for a forged one."""
    signed = callback.query.get("ref")
    if not signed:
        return None
    try:
        reference = Reference(**_signer.unsign_object(signed))
    except (SigningError, TypeError, ValueError) as error:
        raise BadSignature("bad_signature", "The callback's reference is not one that Sprayer wrote.") from error
    if (reference.tenant, reference.mode) != (callback.tenant, mode_of(callback)):
        raise BadSignature("bad_signature", "The callback's reference belongs to another callback URL.")
    return reference


def mode_of(callback: Callback) -> str:
    """Whose credentials signed it: live are the tenant's own, test the sandbox's."""
    return "test" if callback.query.get("mode") == "test" else "live"
