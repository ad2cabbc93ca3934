"""What a dispatcher hands to a channel, made for a test, and a mail provider that gets it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web
from pytest_django import Settings

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


@asynccontextmanager
async def mail_provider(name: str, api: web.Application, settings: Settings) -> AsyncIterator[None]:
    """One whose API is this application."""
    runner = web.AppRunner(api, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    settings.PROVIDER_URLS = {name: f"http://127.0.0.1:{runner.addresses[0][1]}"}
    try:
        yield
    finally:
        await runner.cleanup()
