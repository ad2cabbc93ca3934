"""Connect and disconnect events, as they leave web processes for feedback."""

import asyncio
import json
from collections.abc import Iterator

import pika
import pytest
from django.conf import settings

from feedback import feeder
from sprayer_project import amqp
from tests.live import LiveSystem, wait_for
from tests.messaging.realtime.clients import client

pytestmark = pytest.mark.services


class Heard:
    """(event, receiver) of everything about connections on the feedback exchange, in its order."""

    def __init__(self) -> None:
        self.broker = pika.BlockingConnection(pika.URLParameters(settings.AMQP_URL))
        self._channel = self.broker.channel()
        self._queue = self._channel.queue_declare("", exclusive=True).method.queue
        self._channel.queue_bind(self._queue, amqp.EVENTS)
        self.events: list[tuple[str, str]] = []
        self.bodies: list[bytes] = []

    def listen(self) -> list[tuple[str, str]]:
        while (body := self._channel.basic_get(self._queue, auto_ack=True)[2]) is not None:
            self.bodies.append(body)
            self.events += [(event["type"], event["receiver"]) for event in json.loads(body)]
        return self.events

    async def come(self, *events: tuple[str, str]) -> None:
        """All that there is of these receivers is these events; an earlier test's receivers may still go."""
        names = {name for _, name in events}

        def heard() -> bool:
            return [event for event in self.listen() if event[1] in names] == list(events)

        await asyncio.to_thread(wait_for, heard, 15, f"{events}")


@pytest.fixture
def heard(web: LiveSystem) -> Iterator[Heard]:
    found = Heard()
    yield found
    found.broker.close()


COMES, GOES = "connection.connected", "connection.disconnected"


async def test_a_receiver_comes_once_and_goes_once_whatever_it_reloads(web: LiveSystem, heard: Heard) -> None:
    (other,) = web.start("web")
    async with client(web) as tab, client(web) as second:
        await tab.hear("welcome")
        await second.hear("welcome")
        await heard.come((COMES, "alice"))
    async with client(web, web=other.name) as reloaded:
        await reloaded.hear("welcome")
    async with client(web, "bob") as bob:
        await bob.hear("welcome")
        await heard.come((COMES, "alice"), (COMES, "bob"), (GOES, "alice"))
    assert [feeder.decode(body) for body in heard.bodies] == [([], "")] * len(heard.bodies)
    other.stop()


async def test_whom_a_killed_process_held_goes_unless_he_came_back_elsewhere(web: LiveSystem, heard: Heard) -> None:
    (doomed,) = web.start("web")
    async with client(web, "carol", web=doomed.name) as carol, client(web, "dave", web=doomed.name) as dave:
        await carol.hear("welcome")
        await heard.come((COMES, "carol"))
        await dave.hear("welcome")
        await heard.come((COMES, "carol"), (COMES, "dave"))
        doomed.kill()
    async with client(web, "carol") as carol:
        await carol.hear("welcome")
        await heard.come((COMES, "carol"), (COMES, "dave"), (GOES, "dave"))
        assert (GOES, "carol") not in heard.events
