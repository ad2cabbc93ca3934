"""From POST /messages to a receiver's connections and back to the record, through every process."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from feedback import selectors as feedback
from feedback.selectors import DeliveryRow
from subscriptions import services as subscriptions
from tests.conftest import TenantUnderTest
from tests.live import LiveSystem, wait_for
from tests.messaging.realtime.clients import client, http

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def everything(processes: LiveSystem) -> Iterator[LiveSystem]:
    """Inboxes hold three messages."""
    processes.start("dispatcher", "sweeper", env={"SPRAYER_INBOX_LENGTH": "3", "SPRAYER_SWEEP_INTERVAL": "0.2"})
    yield processes


class Sender:
    """acme, sending to alice."""

    def __init__(self, system: LiveSystem, acme: TenantUnderTest) -> None:
        self.system, self.acme = system, acme

    async def send(self, title: str, **more: Any) -> str:
        body = {"to": {"receivers": ["alice"]}, "channels": ["websocket"], "content": {"title": title}} | more
        async with httpx.AsyncClient(base_url=str(self.system["web"].url), trust_env=False) as requests:
            answer = await requests.post("/api/v1/messages", json=body, headers=self.acme.headers())
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    async def settled(self, message: str, status: str, reason: str = "") -> list[DeliveryRow]:
        """The message's only delivery, once the record says so of it."""

        def found() -> list[DeliveryRow]:
            rows = feedback.deliveries("acme", "live", message).data
            return [row for row in rows if (row.status, row.reason) == (status, reason)]

        return await asyncio.to_thread(wait_for, found, what=f"{status} {reason} in the record")


@pytest.fixture
def sender(everything: LiveSystem, web: LiveSystem, acme: TenantUnderTest) -> Sender:
    subscriptions.put_receiver("acme", "alice")
    return Sender(web, acme)


async def test_a_message_is_not_sent_to_the_connection_that_it_excludes(web: LiveSystem, sender: Sender) -> None:
    async with client(web) as writer, client(web) as other:
        connection = (await writer.hear("welcome"))["connection"]
        await other.hear("welcome")
        await sender.send("mine", exclude_connection=connection)
        assert (await other.hear("message"))["content"] == {"title": "mine"}
        await sender.send("for all")
        assert (await writer.hear("message"))["content"] == {"title": "for all"}
        assert (await other.hear("message"))["content"] == {"title": "for all"}
    async with http(web) as poller:
        answer = await poller.poll(connection=connection, wait=0)
    assert [frame["content"]["title"] for frame in answer["messages"]] == ["for all"]


async def test_a_newer_message_of_its_collapse_key_replaces_one_that_waits(web: LiveSystem, sender: Sender) -> None:
    old = await sender.send("1:0", collapse_key="score")
    await sender.settled(old, "sent")
    new = await sender.send("2:0", collapse_key="score")
    await sender.settled(old, "suppressed", "replaced")
    async with client(web) as alice:
        assert (await alice.hear("welcome"))["recovered"]
        frame = await alice.hear("message")
        assert (frame["id"], frame["collapse_key"]) == (new, "score")
        await alice.say("ack", offset=frame["offset"])
        await sender.settled(new, "delivered")
        newest = await sender.send("3:0", collapse_key="score")
        later = await alice.hear("message")
        assert later["id"] == newest
        assert later["version"] > frame["version"]
    await sender.settled(new, "delivered")


async def test_what_overflows_an_inbox_is_reported_and_its_receiver_told(web: LiveSystem, sender: Sender) -> None:
    sent = []
    for number in range(4):
        sent.append(await sender.send(str(number)))
        await sender.settled(sent[-1], "sent")
    await sender.settled(sent[0], "suppressed", "inbox_overflow")
    async with client(web) as alice:
        assert not (await alice.hear("welcome"))["recovered"]
        assert [(await alice.hear("message"))["id"] for _ in range(3)] == sent[1:]


async def test_what_nobody_fetches_in_time_expires(sender: Sender) -> None:
    assert len(await sender.settled(await sender.send("late", ttl=1), "expired", "expired")) == 1
