"""Who is connected, as the API tells it, with several web processes."""

import asyncio
from typing import Any

import pytest
from django.test import AsyncClient

from messaging import holders, inbox
from messaging.realtime.holdings import Holdings
from sprayer_project import redis
from subscriptions import services as subscriptions
from tests.conftest import TenantUnderTest
from tests.live import LiveSystem, wait_for
from tests.messaging.realtime.clients import client, http

pytestmark = pytest.mark.services


async def ask(async_client: AsyncClient, tenant: TenantUnderTest, path: str) -> Any:
    answer = await async_client.get(f"/api/v1/{path}", headers=tenant.headers())
    return answer.json() | {"http": answer.status_code}


async def comes(receiver: str, present: bool, seconds: float = 10) -> None:
    what = f"{receiver} {'present' if present else 'gone'}"
    await asyncio.to_thread(wait_for, lambda: holders.present("acme", receiver) is present, seconds, what)


async def held_by(processes: int) -> None:
    what = f"alice at {processes} processes"
    await asyncio.to_thread(wait_for, lambda: len(holders.holders_of("acme", "alice")) == processes, what=what)


async def test_a_receiver_is_present_by_any_transport_and_gone_a_moment_after_the_last(
    web: LiveSystem, async_client: AsyncClient, acme: TenantUnderTest
) -> None:
    for name in ("alice", "bob", "carol", "dave"):
        await asyncio.to_thread(subscriptions.put_receiver, "acme", name)
    async with client(web, "alice") as socket, http(web, "bob") as streaming, http(web, "carol") as polling:
        await socket.hear("welcome")
        waiting = asyncio.create_task(polling.poll(wait=60))
        async with streaming.stream() as stream:
            await stream.hear("welcome")
            for name in ("alice", "bob", "carol"):
                await comes(name, True)
                path = f"receivers/{name}/presence"
                assert await ask(async_client, acme, path) == {"receiver": name, "connected": True, "http": 200}
        assert not (await ask(async_client, acme, "receivers/dave/presence"))["connected"]
        waiting.cancel()
        await comes("bob", False)
        await comes("carol", False)
        await comes("alice", True)
    await comes("alice", False)


async def test_the_present_members_of_a_group_are_counted_and_paged(
    web: LiveSystem, async_client: AsyncClient, acme: TenantUnderTest
) -> None:
    (other,) = web.start("web")
    await asyncio.to_thread(subscriptions.put_group, "acme", "news")
    for name in ("alice", "bob", "carol", "dave"):
        await asyncio.to_thread(subscriptions.put_receiver, "acme", name)
    for name in ("alice", "bob", "carol"):
        await asyncio.to_thread(subscriptions.subscribe, "acme", "news", name)
    await asyncio.to_thread(subscriptions.subscribe, "acme", "news", "dave", ["sms"])
    async with (
        client(web, "alice") as alice,
        client(web, "carol", web=other.name) as carol,
        client(web, "dave") as dave,
        client(web, "stranger") as stranger,
    ):
        for one in (alice, carol, dave, stranger):
            await one.hear("welcome")
        for name in ("alice", "carol", "dave", "stranger"):
            await comes(name, True)
        first = await ask(async_client, acme, "groups/news/presence?limit=1")
        assert (first["connected"], first["data"]) == (2, [{"receiver": "alice"}])
        second = await ask(async_client, acme, f"groups/news/presence?limit=1&cursor={first['next_cursor']}")
        assert (second["data"], second["next_cursor"]) == ([{"receiver": "carol"}], None)
        other.kill()
        await comes("carol", False)
        assert (await ask(async_client, acme, "groups/news/presence"))["data"] == [{"receiver": "alice"}]


async def test_presence_of_what_is_not_there_or_anothers_is_not_found(
    web: LiveSystem, async_client: AsyncClient, acme: TenantUnderTest, globex: TenantUnderTest
) -> None:
    await asyncio.to_thread(subscriptions.put_receiver, "acme", "alice")
    await asyncio.to_thread(subscriptions.put_group, "acme", "news")
    for tenant, receiver, group in ((acme, "nobody", "nothing"), (globex, "alice", "news")):
        assert (await ask(async_client, tenant, f"receivers/{receiver}/presence"))["http"] == 404
        assert (await ask(async_client, tenant, f"groups/{group}/presence"))["http"] == 404
    assert (await ask(async_client, acme, "groups/news/presence?cursor=7"))["http"] == 400


async def test_a_page_that_reloads_elsewhere_was_never_gone(web: LiveSystem) -> None:
    (other,) = web.start("web")
    async with client(web, "alice") as page:
        await page.hear("welcome")
        await comes("alice", True)
    async with client(web, "alice", web=other.name) as reloaded:
        assert holders.present("acme", "alice")
        await reloaded.hear("welcome")
        await held_by(2)
        await held_by(1)
        assert holders.present("acme", "alice")
    other.stop()
    assert not holders.present("acme", "alice")


async def test_a_receiver_that_comes_back_at_once_is_held_again_where_redis_was_emptied_meanwhile(
    clean_stores: None,
) -> None:
    holdings = Holdings()
    await holdings.take("acme", "alice")
    holdings.leave("acme", "alice")
    await redis.aclient("acme").delete(f"{inbox.stream_key('acme', 'alice')}:holders")
    await holdings.take("acme", "alice")
    assert holders.holders_of("acme", "alice") == [holdings.process]
    await holdings.comings.reported(5)
