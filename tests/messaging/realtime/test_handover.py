"""One cursor over every transport and process: each message once and in order, whatever ends on the way."""

import asyncio
from functools import partial
from typing import Any

import httpx
import pytest

from feedback import selectors as feedback
from messaging import inbox
from sprayer_project import redis
from subscriptions import services as subscriptions
from subscriptions.inputs import ReceiverInput
from tests.conftest import TenantUnderTest
from tests.live import LiveProcess, LiveSystem, wait_for
from tests.messaging.inboxes import message, send
from tests.messaging.realtime.clients import client, http

pytestmark = pytest.mark.services


class Cursor:
    """What a client has heard, and where it goes on."""

    def __init__(self) -> None:
        self.epoch = ""
        self.offset = ""
        self.heard: list[str] = []

    def welcomed(self, frame: dict[str, Any]) -> None:
        assert frame["recovered"]
        self.epoch, self.offset = frame["epoch"], frame["offset"]

    def hears(self, frame: dict[str, Any]) -> None:
        self.heard.append(frame["id"])
        self.offset = frame["offset"]


async def by_socket(web: LiveSystem, process: LiveProcess, cursor: Cursor, count: int) -> None:
    async with client(web, web=process.name) as socket:
        if cursor.epoch:
            await socket.say("resume", epoch=cursor.epoch, offset=cursor.offset)
        cursor.welcomed(await socket.hear("welcome"))
        for _ in range(count):
            cursor.hears(await socket.hear("message"))


async def by_stream(web: LiveSystem, process: LiveProcess, cursor: Cursor, count: int) -> None:
    last = f"{cursor.epoch}.{cursor.offset}"
    async with http(web, web=process.name) as requests, requests.stream(last=last) as stream:
        cursor.welcomed(await stream.hear("welcome"))
        for _ in range(count):
            cursor.hears(await stream.hear("message"))


async def by_poll(web: LiveSystem, process: LiveProcess, cursor: Cursor, count: int) -> None:
    async with http(web, web=process.name) as requests:
        left = count
        while left > 0:
            answer = await requests.poll(epoch=cursor.epoch, offset=cursor.offset, wait=10)
            assert answer["recovered"]
            for frame in answer["messages"]:
                cursor.hears(frame)
            left -= len(answer["messages"])


async def send_for_ever(sent: list[str]) -> None:
    while True:
        outgoing = message()
        sent.append(outgoing.id)
        await send(outgoing, "alice")
        await asyncio.sleep(0.01)


async def test_a_client_goes_over_all_transports_and_processes_with_one_cursor(web: LiveSystem) -> None:
    first, second = web.start("web", "web")
    third = web["web"]
    cursor, sent = Cursor(), list[str]()
    sending = asyncio.create_task(send_for_ever(sent))
    await by_socket(web, first, cursor, 30)
    first.kill()
    await by_stream(web, second, cursor, 30)
    await asyncio.to_thread(second.stop)
    await by_poll(web, third, cursor, 30)
    await by_socket(web, third, cursor, 10)
    await by_poll(web, third, cursor, 10)
    sending.cancel()
    assert len(cursor.heard) >= 110
    assert cursor.heard == sent[: len(cursor.heard)]


async def test_a_dispatcher_killed_in_the_middle_leaves_each_message_once_in_each_inbox(
    web: LiveSystem, acme: TenantUnderTest
) -> None:
    names = [f"r{number}" for number in range(100)]
    await asyncio.to_thread(subscriptions.put_receivers, "acme", [ReceiverInput(name) for name in names])
    quick = {"SPRAYER_CLAIM_LEASE": "2"}
    (dispatcher,) = web.start("dispatcher", env=quick)
    body = {"to": {"receivers": names}, "channels": ["websocket"], "content": {"title": "Goal"}}
    sent = []
    async with httpx.AsyncClient(base_url=str(web["web"].url), trust_env=False) as requests:
        for _ in range(10):
            answer = await requests.post("/api/v1/messages", json=body, headers=acme.headers())
            sent.append(answer.json()["id"])
    last = f"{inbox.stream_key('acme', names[-1])}"
    await asyncio.to_thread(wait_for, lambda: redis.client("acme").exists(last), what="the first appends")
    dispatcher.kill()
    web.start("dispatcher", "sweeper", env=quick)
    await asyncio.to_thread(wait_for, partial(_all_sent, sent, len(names)), 30, "sent in the record")
    views = await inbox.read("acme", [(name, 0) for name in names], 100)
    for view in views:
        assert sorted(entry.message for entry in view.entries) == sorted(sent)


def _all_sent(sent: list[str], each: int) -> bool:
    return all(feedback.count("acme", name).channels.get("websocket", {}).get("sent") == each for name in sent)
