"""Redis emptied, restarted, or back from an old snapshot: nothing is lost and no place in an inbox is given twice."""

import asyncio
import json
import shutil
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from deploy.local.servers import Server
from deploy.local.stack import Stack
from feedback import selectors as feedback
from feedback import services
from feedback.events import DeliveryEvent, Status
from messaging import inbox, inbox_restore, sweeper
from messaging.channels.base import Outgoing
from messaging.documents import Message
from messaging.inbox import Appended, View
from messaging.realtime import tokens
from sprayer_project import redis
from subscriptions import memberships
from tests.conftest import TenantUnderTest
from tests.live import LiveSystem, wait_for
from tests.messaging.inboxes import message, send
from tests.resilience import sink
from tests.resilience.load import Load, Submission

pytestmark = pytest.mark.services

QUICK = {
    "SPRAYER_SWEEP_AGE": "2.5",
    "SPRAYER_SWEEP_INTERVAL": "0.3",
    "SPRAYER_CLAIM_LEASE": "5",
    "SPRAYER_REALTIME_CHECK": "1",
}
PROCESSES = ("sandbox", "web", "dispatcher", "feeder", "sweeper")
MESSAGES = 150


@dataclass(slots=True)
class Listener:
    """A receiver's client in a thread of its own. It acknowledges what it gets, and connects again when it has to."""

    web: str
    tenant: str
    receiver: str
    places: defaultdict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    """(epoch, offset) -> the ids of the messages that came with it"""
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> "Listener":
        self._thread = threading.Thread(target=self._run, name=f"listener-{self.receiver}")
        self._thread.start()
        return self

    def stop(self) -> None:
        self._over.set()
        if self._thread:
            self._thread.join(30)
            assert not self._thread.is_alive()

    @property
    def ids(self) -> set[str]:
        return {identifier for ids in list(self.places.values()) for identifier in ids}

    @property
    def epochs(self) -> set[str]:
        return {epoch for epoch, _ in list(self.places)}

    def _run(self) -> None:
        while not self._over.is_set():
            token, _ = tokens.issue(self.tenant, self.receiver, 600)
            with suppress(WebSocketException, OSError):
                self._listen(f"{self.web.replace('http', 'ws')}/api/v1/realtime?token={token}")
            self._over.wait(0.2)

    def _listen(self, url: str) -> None:
        epoch = ""
        with connect(url, open_timeout=5, close_timeout=2) as socket:
            while not self._over.is_set():
                try:
                    frame = json.loads(socket.recv(timeout=0.2))
                except TimeoutError:
                    continue
                if frame["type"] == "welcome":
                    epoch = frame["epoch"]
                elif frame["type"] == "message":
                    self.places[epoch, frame["offset"]].add(frame["id"])
                    socket.send(json.dumps({"type": "ack", "offset": frame["offset"]}))


@pytest.fixture
def listen(live_system: LiveSystem, acme: TenantUnderTest) -> Iterator[Callable[[str], Listener]]:
    started: list[Listener] = []

    def begin(receiver: str) -> Listener:
        started.append(Listener(str(live_system["web"].url), acme.slug, receiver).start())
        return started[-1]

    yield begin
    for listener in started:
        listener.stop()


@pytest.fixture
async def _clients_closed() -> AsyncIterator[None]:
    yield
    await redis.aclose()


def test_nothing_is_lost_when_redis_is_emptied_while_messages_are_in_flight(
    live_system: LiveSystem, acme: TenantUnderTest, listen: Callable[[str], Listener]
) -> None:
    connected, absent = sink.prepare(acme.slug, "ok", 2)
    live_system.start(*PROCESSES, env=QUICK)
    body = {"to": {"receivers": [connected, absent]}, "channels": ["http", "websocket"], "content": {"title": "Goal"}}
    url = str(live_system["web"].url)
    submissions = [Submission(url, acme.headers(), f"key-{number}", body) for number in range(MESSAGES)]
    listener = listen(connected)
    with Load(submissions, 4, limit=90) as load:
        wait_for(lambda: len(listener.ids) >= MESSAGES / 6, 30, "the first messages")
        redis.client(acme.slug).flushall()
        seen = len(load.accepted)
        wait_for(lambda: len(load.accepted) > seen + MESSAGES / 6, 30, "more messages")
        assert load.sending
        redis.client(acme.slug).flushall()
        load.finish()
    accepted = set(load.accepted.values())
    assert len(accepted) == MESSAGES
    wait_for(lambda: set(sink.arrived(acme.slug)) == accepted, 40, "every message at the sink")
    wait_for(lambda: listener.ids == accepted, 40, "every message at the connected receiver")
    late = listen(absent)
    wait_for(lambda: late.ids == accepted, 40, "every message in the inbox of the absent one")

    assert len(listener.epochs) >= 2
    for client in (listener, late):
        assert {len(ids) for ids in client.places.values()} == {1}


def test_nothing_is_lost_and_nobody_comes_back_when_redis_returns_from_an_old_snapshot(
    live_system: LiveSystem,
    acme: TenantUnderTest,
    stack: Stack,
    listen: Callable[[str], Listener],
    tmp_path: Path,
) -> None:
    connected, absent, removed = sink.prepare(acme.slug, "ok", 3)
    memberships.put_group(acme.slug, "news")
    for name in (connected, absent, removed):
        memberships.subscribe(acme.slug, "news", name, None)
    live_system.start(*PROCESSES, env=QUICK)
    listener, server = listen(connected), stack.redis[redis.shard_of(acme.slug)]
    sent = [_to_news(live_system, acme)]
    wait_for(lambda: _reached(acme, sent[0]) == {connected, absent, removed}, 20, "the first message in the record")
    wait_for(lambda: sent[0] in listener.ids, 20, "the first message at the connected receiver")
    server.stop()
    shutil.copytree(server.data, tmp_path / "snapshot")
    server.start()

    memberships.unsubscribe(acme.slug, "news", removed)
    sent += [_to_news(live_system, acme) for _ in range(20)]
    wait_for(lambda: all(_reached(acme, one) == {connected, absent} for one in sent[1:]), 30, "the record")
    wait_for(lambda: listener.ids == set(sent), 20, "the messages at the connected receiver")
    _return_to(server, tmp_path / "snapshot")
    sent.append(_to_news(live_system, acme))
    late = listen(absent)
    wait_for(lambda: late.ids == set(sent), 30, "every message in the inbox of the absent one")
    wait_for(lambda: listener.ids == set(sent), 30, "the last message at the connected receiver")
    wait_for(lambda: _reached(acme, sent[-1]) == {connected, absent}, 20, "the last message in the record")

    assert set(sink.arrived(acme.slug)) == set(sent)
    assert len(listener.epochs) >= 2
    for client in (listener, late):
        assert {len(ids) for ids in client.places.values()} == {1}
    assert _reached(acme, sent[-1]) == {connected, absent}


@pytest.mark.parametrize("loss", ["emptied", "restarted"])
@pytest.mark.usefixtures("_clients_closed")
async def test_a_message_whose_record_comes_after_the_loss_of_its_inbox_is_put_back(loss: str, stack: Stack) -> None:
    outgoing, server = message(), stack.redis[redis.shard_of("acme")]
    (place,) = await send(outgoing, "alice")
    if loss == "emptied":
        await redis.aclient("acme").flushall()
    else:
        await redis.aclose()
        server.stop()
        shutil.rmtree(server.data)
        server.start()
    assert (await _look("alice")).entries == ()
    await asyncio.to_thread(_record, outgoing, "alice", place)
    assert await asyncio.to_thread(sweeper.put_back) == 1
    (entry,) = (await _look("alice")).entries
    assert (entry.message, entry.delivery) == (outgoing.id, place.delivery)
    assert await asyncio.to_thread(sweeper.put_back) == 0
    assert len((await _look("alice")).entries) == 1


@pytest.mark.usefixtures("_clients_closed")
async def test_what_lies_in_the_present_redis_is_not_touched() -> None:
    outgoing = message()
    (place,) = await send(outgoing, "alice")
    await asyncio.to_thread(_record, outgoing, "alice", place)
    assert await asyncio.to_thread(sweeper.put_back) == 0


@pytest.mark.usefixtures("_clients_closed")
async def test_a_lost_message_that_is_gone_from_the_record_is_looked_for_once() -> None:
    outgoing = message()
    (place,) = await send(outgoing, "alice")
    await asyncio.to_thread(_record, outgoing, "alice", replace(place, keeper=f"{redis.shard_of('acme')}/0:0"))
    await asyncio.to_thread(Message._get_collection().delete_many, {})
    await redis.aclient("acme").flushall()
    assert await asyncio.to_thread(sweeper.put_back) == 1
    assert await asyncio.to_thread(sweeper.put_back) == 0


async def _look(receiver: str) -> View:
    (view,) = await inbox_restore.whole(partial(inbox.read, "acme", [(receiver, 0)], 100))
    return view


def _record(outgoing: Outgoing, receiver: str, place: Appended) -> None:
    """What accept and, late, the status feeder write."""
    Message(
        id=outgoing.id,
        tenant=outgoing.tenant,
        mode=outgoing.mode,
        status="routed",
        created_at=outgoing.created_at,
        expires_at=outgoing.expires_at,
        to={"receivers": [receiver]},
        channels=["websocket"],
        content=dict(outgoing.content),
    ).save()
    event = DeliveryEvent(
        tenant=outgoing.tenant,
        mode=outgoing.mode,
        message=outgoing.id,
        delivery=place.delivery,
        receiver=receiver,
        channel="websocket",
        status=Status.SENT,
        at=datetime.now(UTC),
        attempt=1,
        expires_at=outgoing.expires_at,
        waiting=True,
        keeper=place.keeper,
    )
    services.write([event])


def _return_to(server: Server, snapshot: Path) -> None:
    server.kill()
    shutil.rmtree(server.data)
    shutil.copytree(snapshot, server.data)
    server.start()


def _to_news(system: LiveSystem, tenant: TenantUnderTest) -> str:
    body: dict[str, Any] = {"to": {"groups": ["news"]}, "channels": ["http", "websocket"], "content": {"title": "News"}}
    answer = httpx.post(f"{system['web'].url}/api/v1/messages", json=body, headers=tenant.headers(), timeout=10)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def _reached(tenant: TenantUnderTest, identifier: str) -> set[str]:
    """The receivers that have got a message on both channels, as far as the record knows."""
    got: defaultdict[str, set[str]] = defaultdict(set)
    for row in feedback.deliveries(tenant.slug, "live", identifier, limit=200).data:
        if row.status in (Status.SENT, Status.DELIVERED):
            got[row.receiver].add(row.channel)
    return {receiver for receiver, channels in got.items() if channels == {"http", "websocket"}}
