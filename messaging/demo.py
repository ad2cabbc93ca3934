"""The demo tenant of `make run`: receivers, groups and keys, and a first message over every channel."""

import asyncio
import json
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from django.conf import settings

from feedback import webhooks
from feedback.events import Status
from feedback.webhooks import Actor
from messaging import channels, selectors
from sprayer_project.errors import NotFound
from subscriptions import services
from subscriptions.inputs import AddressInput
from tenants import keys
from tenants import selectors as tenants
from tenants import services as tenant_services

TENANT, OWNER = "demo", "demo@sprayer.example"
RECEIVERS = ("alice", "bob", "carol")
GROUPS = {"news": RECEIVERS, "team": ("alice", "bob")}
_LIMIT = 30.0


@dataclass(frozen=True, slots=True)
class Demo:
    """What var/demo.json holds."""

    url: str
    api_key: str
    test_key: str
    login: Mapping[str, str]
    tenant: str
    message_id: str
    receivers: list[str]
    groups: list[str]

    @classmethod
    def read(cls, path: Path) -> "Demo | None":
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(json.dumps({name: getattr(self, name) for name in self.__slots__}, indent=2) + "\n")


def prepare(path: Path, url: str) -> Demo:
    """Create what is missing, keep what is there. The plain keys and the password live in the file alone."""
    earlier = Demo.read(path)
    if tenants.tenant_exists(TENANT) and earlier is not None:
        login = dict(earlier.login)
        live, test = _key(earlier.api_key, "live"), _key(earlier.test_key, "test")
    else:
        login, live = _tenant()
        test = _key("", "test")
    for name, channel in channels.registry().items():
        if tenants.channel_config(TENANT, name) is None:
            tenant_services.set_channel_config(TENANT, name, channel.sandbox_config(TENANT))
    for name in RECEIVERS:
        services.put_receiver(TENANT, name, addresses=list(_addresses(name)), locale="en", timezone="UTC")
    for group, members in GROUPS.items():
        services.put_group(TENANT, group)
        for name in members:
            services.subscribe(TENANT, group, name, None)
    if not webhooks.of_tenant(TENANT).exists():
        webhooks.create(TENANT, "live", f"{settings.SANDBOX_URL}/http/feedback", ["delivery.*"], Actor())
    message = earlier.message_id if earlier is not None and _exists(earlier.message_id) else ""
    demo = Demo(url, live, test, login, TENANT, message, [*RECEIVERS], [*GROUPS])
    demo.write(path)
    return demo


async def first_message(demo: Demo) -> str:
    """Send one message to the first receiver on every channel, as an application does; answer its id once it settled.

    The receiver's own socket is open and acknowledges what it gets.
    """
    receiver = RECEIVERS[0]
    headers = {"Authorization": f"Bearer {demo.api_key}"}
    async with aiohttp.ClientSession(demo.url, headers=headers, timeout=aiohttp.ClientTimeout(total=_LIMIT)) as session:
        async with session.post(f"/api/v1/receivers/{receiver}/tokens", json={"ttl": 600}) as answer:
            answer.raise_for_status()
            token = (await answer.json())["token"]
        listening = asyncio.create_task(_acknowledge(session, token))
        body = {
            "to": {"receivers": [receiver]},
            "channels": [*channels.registry()],
            "content": {"type": "demo.hello", "title": "Hello", "body": "Your first message over every channel."},
        }
        idempotency = {"Idempotency-Key": f"demo-{secrets.token_hex(8)}"}
        async with session.post("/api/v1/messages", json=body, headers=idempotency) as answer:
            answer.raise_for_status()
            message = str((await answer.json())["id"])
        await _settled(session, message)
        listening.cancel()
    return message


async def rows(demo: Demo, message: str) -> list[dict[str, Any]]:
    """The message's deliveries, as the API answers them."""
    headers = {"Authorization": f"Bearer {demo.api_key}"}
    async with (
        aiohttp.ClientSession(demo.url, headers=headers) as session,
        session.get(f"/api/v1/messages/{message}/deliveries") as answer,
    ):
        answer.raise_for_status()
        return list((await answer.json())["data"])


def is_settled(row: Mapping[str, Any]) -> bool:
    """Whether a delivery reached the status that its channel's provider gives evidence for."""
    reached = {Status.DELIVERED, Status.READ, channels.channel(row["channel"]).settles_at}
    return row["status"] in reached


def _tenant() -> tuple[dict[str, str], str]:
    password = secrets.token_urlsafe(12)
    if tenants.tenant_exists(TENANT):
        tenant_services.set_password(OWNER, password)
        return {"email": OWNER, "password": password}, _key("", "live")
    _, plain = tenant_services.create_tenant(TENANT, "Demo", OWNER, password)
    return {"email": OWNER, "password": password}, plain


def _key(plain: str, mode: str) -> str:
    found = tenants.key_info(keys.hash_of(plain)) if plain else None
    if found is not None and found.revoked_at is None and found.tenant.slug == TENANT:
        return plain
    return tenant_services.create_api_key(TENANT, mode, ["admin"], None, f"demo {mode}")[1]


def _addresses(receiver: str) -> Iterator[AddressInput]:
    for name, channel in channels.registry().items():
        if channel.needs_address:
            yield AddressInput(name, channel.sandbox_address(f"{TENANT}-{receiver}"))


def _exists(message: str) -> bool:
    try:
        selectors.require(TENANT, None, message)
    except NotFound:
        return False
    return True


async def _acknowledge(session: aiohttp.ClientSession, token: str) -> None:
    url = f"{settings.PUBLIC_URL}/api/v1/realtime"
    async with session.ws_connect(url, headers={"Authorization": f"Bearer {token}"}) as socket:
        async for frame in socket:
            body = frame.json()
            if body["type"] == "message":
                await socket.send_json({"type": "ack", "offset": body["offset"]})


async def _settled(session: aiohttp.ClientSession, message: str) -> None:
    deadline = time.monotonic() + _LIMIT
    while time.monotonic() < deadline:
        async with session.get(f"/api/v1/messages/{message}/deliveries") as answer:
            found = (await answer.json())["data"]
        if len(found) == len(channels.registry()) and all(is_settled(row) for row in found):
            return
        await asyncio.sleep(0.2)
