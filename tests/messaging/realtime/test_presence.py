"""Who is connected, as the API tells it, with several web processes."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from django.test import AsyncClient

from messaging import holders, inbox
from messaging.holders import Hold
from messaging.realtime.holdings import Holdings
from sprayer_project import redis
from sprayer_project.errors import StoreUnavailable
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


@pytest.fixture
def slow(clean_stores: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[], asyncio.Event]:
    """slow(): whoever is held from now on is held when the event that it answers is set."""
    hold = holders.hold

    def slowed() -> asyncio.Event:
        goes_on = asyncio.Event()

        async def late(*arguments: Any) -> list[Hold]:
            await goes_on.wait()
            return await hold(*arguments)

        monkeypatch.setattr(holders, "hold", late)
        return goes_on

    return slowed


async def test_whoever_leaves_while_a_hold_is_on_its_way_is_let_go(slow: Callable[[], asyncio.Event]) -> None:
    holdings, goes_on = Holdings(), slow()
    taking = asyncio.create_task(holdings.take("acme", "alice"))
    await asyncio.sleep(0)
    await left_meanwhile(holdings, taking, goes_on)
    await holdings.take("acme", "alice")
    assert holders.holders_of("acme", "alice") == [holdings.process]
    holdings.leave("acme", "alice")
    await holdings.released()


async def test_whoever_leaves_while_it_is_held_on_is_let_go(slow: Callable[[], asyncio.Event]) -> None:
    holdings = Holdings()
    await holdings.take("acme", "alice")
    goes_on = slow()
    renewing = asyncio.create_task(holdings.renew("acme", ["alice"]))
    await asyncio.sleep(0)
    await left_meanwhile(holdings, renewing, goes_on)
    assert not holders.present("acme", "alice")


async def left_meanwhile(holdings: Holdings, holding: "asyncio.Task[Any]", goes_on: asyncio.Event) -> None:
    """alice leaves for good; what lets her go too soon has half a second to do so."""
    holdings.leave("acme", "alice")
    letting_go = asyncio.create_task(holdings.released())
    await asyncio.wait([letting_go], timeout=0.5)
    goes_on.set()
    await asyncio.wait([holding, letting_go])
    assert not holders.holders_of("acme", "alice")
    assert holdings.leaving == 0
    await holdings.comings.reported(5)


async def test_one_who_cannot_be_let_go_now_is_let_go_later(
    clean_stores: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("messaging.realtime.holdings.GRACE", 0.01)
    release, answers = holders.release, [StoreUnavailable("Redis")]

    async def refused(*arguments: Any) -> list[bool]:
        if answers:
            raise answers.pop()
        return await release(*arguments)

    monkeypatch.setattr(holders, "release", refused)
    holdings = Holdings()
    await holdings.take("acme", "alice")
    holdings.leave("acme", "alice")
    await asyncio.to_thread(wait_for, lambda: not holdings.leaving, what="nobody leaving")
    assert not holders.holders_of("acme", "alice")
    await holdings.comings.reported(5)
