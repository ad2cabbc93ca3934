"""Clients that do not behave, against real web processes."""

import asyncio
import os
import re
import time
from collections.abc import Callable, Iterator
from math import inf
from typing import Any

import httpx
import pytest
from channels.testing import WebsocketCommunicator
from django.conf import settings
from websockets.asyncio.client import connect

from messaging.realtime import hub, tokens
from messaging.realtime.bucket import Bucket, Buckets
from sprayer_project import asgi, redis
from tests.conftest import TenantUnderTest
from tests.live import LiveProcess, LiveSystem, wait_for
from tests.messaging.inboxes import message, send
from tests.messaging.realtime.clients import LIMIT, Client, Raw, client, http

pytestmark = pytest.mark.services

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def strict(processes: LiveSystem) -> Iterator[LiveProcess]:
    """A web process for pages of one origin, two connections of a receiver and three of a tenant."""
    limits = {
        "SPRAYER_REALTIME_RECEIVER_CONNECTIONS": "2",
        "SPRAYER_REALTIME_TENANT_CONNECTIONS": "3",
        "SPRAYER_REALTIME_ORIGINS": "https://app.example",
    }
    (process,) = processes.start("web", env=limits)
    yield process


def token(receiver: str = "alice") -> str:
    return tokens.issue("acme", receiver, 600)[0]


def open_files(process: LiveProcess) -> int:
    return len(os.listdir(f"/proc/{process.pid}/fd"))


def redis_clients() -> int:
    shards: list[Any] = [redis.shard(index) for index in range(len(settings.REDIS_URLS))]
    return sum(len(shard.client_list()) for shard in shards)


def connected(process: LiveProcess, transport: str) -> int:
    text = httpx.get(f"{process.url}/metrics", trust_env=False).text
    found = re.search(rf'^sprayer_connections\{{transport="{transport}"\}} (\d+)', text, re.MULTILINE)
    return int(found[1]) if found else 0


def cut_for_being_slow(process: LiveProcess) -> int:
    return process.log_text().count("too_slow")


async def offer_sixty_megabytes() -> None:
    for _ in range(300):
        await send(message(title="x" * 200_000), "alice")


def acknowledge_until_cut(raw: Raw) -> bool:
    """Whether the server cut the connection in time."""
    deadline = time.monotonic() + LIMIT
    try:
        while time.monotonic() < deadline:
            raw.say("ack", offset="1000000")
            time.sleep(0.002)
    except OSError:
        return True
    return False


async def test_a_socket_that_acknowledges_and_does_not_read_is_cut_and_not_buffered_for(web: LiveSystem) -> None:
    await offer_sixty_megabytes()
    before, cut = web["web"].resident, cut_for_being_slow(web["web"])
    with Raw.websocket(web, token()) as raw:
        assert await asyncio.to_thread(acknowledge_until_cut, raw)
        assert await asyncio.to_thread(raw.read_to_the_end) < 20 * MIB
    assert cut_for_being_slow(web["web"]) == cut + 1
    assert web["web"].resident - before < 20 * MIB


async def test_a_stream_that_is_not_read_is_cut_and_not_buffered_for(web: LiveSystem) -> None:
    await offer_sixty_megabytes()
    before, cut = web["web"].resident, cut_for_being_slow(web["web"])
    with Raw(web, f"/api/v1/inbox/stream?token={token()}") as raw:
        await asyncio.to_thread(wait_for, lambda: connected(web["web"], "sse") == 1, what="the stream")
        await asyncio.to_thread(wait_for, lambda: connected(web["web"], "sse") == 0, what="the end of the stream")
        assert await asyncio.to_thread(raw.read_to_the_end) < 20 * MIB
    assert cut_for_being_slow(web["web"]) == cut + 1
    assert web["web"].resident - before < 20 * MIB


async def test_a_socket_that_sends_too_many_frames_is_told_and_closed(web: LiveSystem) -> None:
    async with client(web) as alice:
        await alice.hear("welcome")
        for _ in range(400):
            await alice.say("ping")
        pongs = 0
        while (frame := await alice.hear_any())["type"] == "pong":
            pongs += 1
        assert (pongs >= 200, frame["code"]) == (True, "too_fast")
        assert await alice.end() == 1008


async def test_a_receiver_that_makes_too_many_requests_is_told_to_wait(web: LiveSystem) -> None:
    async with http(web, "mallory") as mallory, http(web, "alice") as alice:
        answers = [await mallory.post("/ack", epoch="0123456789abcdef", offset="1") for _ in range(200)]
        while answers[-1].status_code == 204:
            answers.append(await mallory.post("/ack", epoch="0123456789abcdef", offset="1"))
        assert (answers[-1].status_code, answers[-1].json()["code"]) == (429, "too_fast")
        assert answers[-1].headers["retry-after"] == "1"
        assert (await alice.poll(wait=0))["recovered"]


def test_buckets_are_kept_for_those_who_came_last() -> None:
    buckets = Buckets(most=2)
    assert [buckets.take("a", 0, 1), buckets.take("a", 0, 1), buckets.take("b", 0, 1)] == [True, False, True]
    assert not buckets.take("a", 0, 1)
    assert buckets.take("c", 0, 1)
    assert not buckets.take("a", 0, 1)
    assert buckets.take("b", 0, 1)


def test_a_bucket_refills_with_time() -> None:
    now = [0.0]
    bucket = Bucket(rate=2, burst=4, clock=lambda: now[0])
    assert [bucket.take() for _ in range(5)] == [True] * 4 + [False]
    now[0] = 1.0
    assert [bucket.take() for _ in range(3)] == [True, True, False]
    now[0] = 100.0
    assert [bucket.take() for _ in range(5)] == [True] * 4 + [False]


async def test_a_peer_that_answers_no_ping_is_cut(web: LiveSystem) -> None:
    with Raw.websocket(web, token()) as raw:
        assert await asyncio.to_thread(raw.read_to_the_end) > 0


async def test_more_connections_than_a_receiver_may_have_are_refused(web: LiveSystem, strict: LiveProcess) -> None:
    async with client(web, web=strict.name) as first, http(web, web=strict.name) as requests:
        await first.hear("welcome")
        async with requests.stream() as second:
            await second.hear("welcome")
            async with client(web, web=strict.name) as third:
                assert (await third.hear("error"))["code"] == "too_many_connections"
                assert await third.end() == 4029
            refused = await requests.get("/stream")
            assert (refused.status_code, refused.json()["code"]) == (429, "too_many_connections")
            assert int(refused.headers["retry-after"]) > 0
    await asyncio.to_thread(wait_for, lambda: connected(strict, "sse") == 0, what="the end of the stream")
    async with client(web, web=strict.name) as again:
        await again.hear("welcome")


async def test_more_connections_than_a_tenant_may_have_are_refused(web: LiveSystem, strict: LiveProcess) -> None:
    async with (
        client(web, "a", web=strict.name) as first,
        client(web, "b", web=strict.name) as second,
        client(web, "c", web=strict.name) as third,
    ):
        for one in (first, second, third):
            await one.hear("welcome")
        async with client(web, "d", web=strict.name) as fourth:
            assert (await fourth.hear("error"))["code"] == "too_many_connections"
            assert await fourth.end() == 4029


async def test_a_page_of_another_origin_is_told_and_closed_with_4003(web: LiveSystem, strict: LiveProcess) -> None:
    url = f"ws{str(strict.url).removeprefix('http')}/api/v1/realtime?token={token()}"
    async with connect(url, origin="https://evil.example", proxy=None) as socket:  # type: ignore[arg-type]
        stranger = Client(socket)
        assert (await stranger.hear("error"))["code"] == "origin_not_allowed"
        assert await stranger.end() == 4003
    async with connect(url, origin="https://app.example", proxy=None) as socket:  # type: ignore[arg-type]
        await Client(socket).hear("welcome")


def flood(system: LiveSystem, passes: list[str], connections: int) -> None:
    """Every second connection is dropped before its handshake is answered."""
    for number in range(connections):
        with Raw.websocket(system, passes[number % len(passes)]) as raw:
            if number % 2:
                raw.socket.recv(1)


async def test_a_flood_of_connects_and_drops_leaves_nothing_behind(
    web: LiveSystem, tell: Callable[[str], None]
) -> None:
    passes = [token(f"r{number}") for number in range(100)]
    process = web["web"]
    # What the first connections take, the process keeps for the next: its memory stands still after some thousands.
    await asyncio.to_thread(flood, web, passes, 4_000)
    await asyncio.to_thread(wait_for, lambda: connected(process, "websocket") == 0, what="the end of the first")
    files, clients, memory = open_files(process), redis_clients(), process.resident
    await asyncio.to_thread(flood, web, passes, 6_000)
    await asyncio.to_thread(wait_for, lambda: connected(process, "websocket") == 0, what="the end of the flood")
    await asyncio.to_thread(wait_for, lambda: open_files(process) <= files + 20, what="closed sockets")
    assert redis_clients() <= clients + 20
    grown = process.resident - memory
    tell(f"6,000 connections after 4,000: {grown / MIB:.1f} MiB above {memory / MIB:.0f} MiB")
    assert grown < 20 * MIB


async def test_connections_that_are_over_leave_no_task_behind(transactional_db: None, acme: TenantUnderTest) -> None:
    async def connect_and_drop(number: int) -> None:
        socket = WebsocketCommunicator(asgi.websocket, f"/api/v1/realtime?token={token(f'r{number}')}")
        assert (await socket.connect(LIMIT))[0]
        if number % 2:
            await socket.send_json_to({"type": "ping"})
            await socket.receive_json_from(LIMIT)
        await socket.disconnect(timeout=LIMIT)

    async def settle(connections: int, most: float) -> int:
        """The tasks that are left of so many connections, once there are not more than `most`."""
        await asyncio.gather(*(connect_and_drop(number) for number in range(connections)))
        async with asyncio.timeout(LIMIT):
            while hub.current().connections or hub.current().leaving or len(asyncio.all_tasks()) > most:
                await asyncio.sleep(0.05)
        return len(asyncio.all_tasks())

    await settle(200, most=await settle(20, most=inf))
