"""What a dispatcher hands to a channel, made for a test."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from feedback.events import delivery_id
from messaging.channels.base import Channel, Outcome, Outgoing, Recipient
from sprayer_project.ids import new_id
from subscriptions.addresses import address_hash


def outgoing(mode: str = "test", tenant: str = "acme", ttl: float = 3600, **fields: Any) -> Outgoing:
    now = datetime.now(UTC)
    defaults: dict[str, Any] = {
        "tenant": tenant,
        "id": new_id("msg"),
        "mode": mode,
        "content": {"type": "greeting", "title": "Hello", "body": "This is a message.", "data": {"n": 1}},
        "overrides": {},
        "metadata": {},
        "attributes": {},
        "priority": "normal",
        "collapse_key": None,
        "created_at": now,
        "expires_at": now + timedelta(seconds=ttl),
    }
    return Outgoing(**(defaults | fields))


def recipient(channel: Channel, message: Outgoing, receiver: str, address: Any) -> Recipient:
    clean = channel.clean_address(address) if channel.needs_address else ""
    hashed = address_hash(message.tenant, channel.name, clean) if clean else ""
    return Recipient(
        delivery=delivery_id(message.id, receiver, channel.name, hashed or None),
        receiver=receiver,
        address=clean,
        address_hash=hashed,
        round=1,
        attempt=1,
    )


async def outcomes(
    channel: Channel, config: Mapping[str, Any], message: Outgoing, recipients: list[Recipient]
) -> list[Outcome]:
    return [outcome async for outcome in channel.send(config, message, recipients)]
