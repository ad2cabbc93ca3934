"""Many connections on two web processes, of which one is killed: everybody goes on at the other, nothing is lost."""

import asyncio
import json
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from benchmarks import seeding
from messaging.realtime import tokens
from messaging.services import accept
from subscriptions.services import ensure_index
from tests.conftest import TenantUnderTest
from tests.live import LiveSystem, wait_for
from tests.soak import either

pytestmark = pytest.mark.services

CONNECTIONS = either(200, 10_000)
LIMIT = either(60, 600)
PRESENT = 10
"""Seconds in which presence is right after the last change."""
AT_ONCE = 100
"""Handshakes."""
GROUP = "everybody"


class Listener:
    """A receiver's client: it goes on where it was, at the process that is there."""

    def __init__(self, receiver: str, home: str, gate: asyncio.Semaphore) -> None:
        self.home, self.heard, self.holes = home, list[str](), 0
        self.connected = False
        self._token = tokens.issue("acme", receiver, 3600)[0]
        self._gate = gate
        self._position = {"epoch": "", "offset": ""}

    async def run(self, homes: set[str]) -> None:
        while True:
            home = self.home if self.home in homes else next(iter(homes))
            with suppress(OSError, ConnectionClosed, InvalidHandshake, TimeoutError):
                await self._listen(home)
            self.connected = False
            await asyncio.sleep(random.uniform(0, 1))

    async def _listen(self, home: str) -> None:
        async with self._gate:
            headers = {"Authorization": f"Bearer {self._token}"}
            socket = await connect(home, additional_headers=headers, proxy=None, open_timeout=60, ping_interval=None)
        try:
            if self._position["epoch"]:
                await socket.send(json.dumps({"type": "resume", **self._position}))
            async for text in socket:
                await self._hear(socket, json.loads(text))
        finally:
            await socket.close()

    async def _hear(self, socket: ClientConnection, frame: dict[str, Any]) -> None:
        if frame["type"] == "welcome":
            # The first welcome may come before our resume was read: the second one answers that.
            if not self._position["epoch"]:
                self._position = {"epoch": frame["epoch"], "offset": frame["offset"]}
            self.holes += not frame["recovered"]
            self.connected = True
        elif frame["type"] == "message" and int(frame["offset"]) > int(self._position["offset"]):
            self.heard.append(frame["content"]["title"])
            self._position["offset"] = frame["offset"]
            await socket.send(json.dumps({"type": "ack", "offset": frame["offset"]}))


async def test_all_connections_of_a_killed_process_come_back_elsewhere_with_every_message(
    live_system: LiveSystem, acme: TenantUnderTest, tell: Callable[[str], None]
) -> None:
    await asyncio.to_thread(ensure_index, "acme")
    names = (await asyncio.to_thread(seeding.group, "acme", GROUP, CONNECTIONS, "websocket", None)).names
    first, second, _ = await asyncio.to_thread(live_system.start, "web", "web", "dispatcher")
    doomed, staying = (f"ws://{urlsplit(str(web.url)).netloc}/api/v1/realtime" for web in (first, second))
    homes, gate = {doomed, staying}, asyncio.Semaphore(AT_ONCE)
    listeners = [Listener(name, (doomed, staying)[index % 2], gate) for index, name in enumerate(names)]
    tasks = [asyncio.create_task(listener.run(homes)) for listener in listeners]
    try:
        await come(lambda: all(listener.connected for listener in listeners), "every connection")
        assert await present(str(second.url), acme) == CONNECTIONS
        sent = [await say(str(number)) for number in range(3)]
        await come(lambda: all_have(listeners, sent), "every message before the kill")
        sent.append(await say("on the way"))
        leaving = [task for listener, task in zip(listeners, tasks, strict=True) if listener.home == doomed][::10]
        stayed = [listener for listener, task in zip(listeners, tasks, strict=True) if task not in leaving]
        for task in leaving:
            task.cancel()
        homes.remove(doomed)
        first.kill()
        killed = time.monotonic()
        sent += [await say("meanwhile"), await say("later")]
        await come(lambda: all(listener.connected for listener in stayed), "every connection again")
        back = time.monotonic()
        await come_to(lambda: present(str(second.url), acme), len(stayed), PRESENT)
        right = time.monotonic()
        sent.append(await say("at last"))
        await come(lambda: all_have(stayed, sent), "every message")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert all(listener.heard == sent for listener in stayed)
    assert sum(listener.holes for listener in listeners) == 0
    tell(
        f"{CONNECTIONS:,} connections, {len(stayed) - CONNECTIONS // 2:,} of a killed process back after "
        f"{back - killed:.1f} s, presence right {right - back:.1f} s later"
    )


async def say(title: str) -> str:
    body = {"to": {"groups": [GROUP]}, "channels": ["websocket"], "content": {"title": title}}
    await asyncio.to_thread(accept, "acme", "live", body)
    return title


def all_have(listeners: Sequence[Listener], sent: Sequence[str]) -> bool:
    return all(len(listener.heard) >= len(sent) for listener in listeners)


async def present(url: str, tenant: TenantUnderTest) -> int:
    async with httpx.AsyncClient(base_url=url, headers=tenant.headers(), timeout=30, trust_env=False) as http:
        answer = await http.get(f"/api/v1/groups/{GROUP}/presence", params={"limit": 1})
    return int(answer.json()["connected"])


async def come(condition: Callable[[], bool], what: str) -> None:
    await asyncio.to_thread(wait_for, condition, LIMIT, what)


async def come_to(ask: Callable[[], Any], wanted: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while (found := await ask()) != wanted:
        assert time.monotonic() < deadline, f"{found} present after {seconds} s, not {wanted}"
        await asyncio.sleep(0.1)
