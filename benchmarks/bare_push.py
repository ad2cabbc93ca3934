"""Bare clients of APNs and FCM: requests made beforehand, on connections that stand, as many at once as adapters send.

Each function answers how many seconds its requests took. uvloop runs them, as it runs a dispatcher.
"""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp
import uvloop

from messaging import apns, channels, fcm, http2
from messaging.apns_payload import notification
from messaging.channels.base import Outgoing, Recipient

T = TypeVar("T")
CONTENT = {"title": "Hello", "body": "Spray on"}
TOKEN = "t" * 200
"""About as long as the providers' tokens are."""


def apns_seconds(url: str, certificate: Path, number: int) -> float:
    return uvloop.run(_apns(url, certificate, number))


def fcm_seconds(url: str, number: int) -> float:
    return uvloop.run(_fcm(url, number))


async def _apns(url: str, certificate: Path, number: int) -> float:
    made = notification(_message(), "com.example.sandbox")
    shared = {"authorization": f"bearer {TOKEN}", **made.headers}
    length = str(len(made.payload))
    requests = [
        (f"/3/device/{address}", {**shared, "apns-id": str(uuid4()), "content-length": length})
        for address in _addresses("ios", number)
    ]
    context = ssl.create_default_context(cafile=certificate)
    context.set_alpn_protocols(["h2"])
    connection = await http2.connect(urlsplit(url), context, apns.CONNECT_TIMEOUT, apns.STREAMS)

    async def send(request: tuple[str, dict[str, str]]) -> None:
        reply = await connection.request(*request, made.payload)
        if reply.status != 200:
            raise RuntimeError(f"the sink answered {reply.status}")

    try:
        return await _all(send, requests, apns.STREAMS)
    finally:
        await connection.aclose()


async def _fcm(url: str, number: int) -> float:
    body = fcm.body_maker(_message())
    bodies = [body(_recipient(address)) for address in _addresses("android", number)]
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
    place = f"{url}/v1/projects/bench/messages:send"

    async def send(body: bytes) -> None:
        async with session.post(place, data=body) as answer:
            await answer.read()
            answer.raise_for_status()

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        await _all(send, bodies[: fcm.CONCURRENCY], fcm.CONCURRENCY)
        return await _all(send, bodies, fcm.CONCURRENCY)


async def _all(send: Callable[[T], Awaitable[None]], requests: Iterable[T], at_once: int) -> float:
    """Send them all, and tell in what time."""
    left, started = iter(requests), time.monotonic()

    async def client() -> None:
        for request in left:
            await send(request)

    await asyncio.gather(*(client() for _ in range(at_once)))
    return time.monotonic() - started


def _addresses(channel: str, number: int) -> list[str]:
    return [channels.channel(channel).sandbox_address(f"bare-{index:06}") for index in range(number)]


def _recipient(address: str) -> Recipient:
    return Recipient(delivery=f"dlv_{0:042}", receiver="bare", address=address, address_hash="", round=1, attempt=1)


def _message() -> Outgoing:
    """The figure's message, as an adapter sees it."""
    now = datetime.now(UTC)
    return Outgoing(
        tenant="bench",
        id=f"msg_{'0' * 26}",
        mode="live",
        content=CONTENT,
        overrides={},
        metadata={},
        attributes={},
        priority="normal",
        collapse_key=None,
        created_at=now,
        expires_at=now + timedelta(days=1),
    )
