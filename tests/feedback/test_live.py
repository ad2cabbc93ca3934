"""The live feed, from the event to the reader, with the processes and servers that are between them."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from pytest_django import Settings

from deploy.local.stack import Stack
from feedback import live, services
from feedback.events import ConnectionEvent, DeliveryEvent, Status
from sprayer_project import amqp, following, redis, worker
from sprayer_project.ids import new_id
from tenants.services import create_api_key, revoke_api_key
from tests.conftest import TenantUnderTest
from tests.feedback.hooks import happen, until
from tests.feedback.live import LIMIT, PATH, reading
from tests.feedback.stories import event
from tests.live import LiveSystem
from tests.messaging.realtime.clients import Raw
from tests.pages import client_of

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True)]


@pytest.fixture(scope="module")
def processes(
    stack: Stack, indexes: None, django_db_setup: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveSystem]:
    system = LiveSystem(tmp_path_factory.mktemp("live"))
    system.start("web", "live", env={"SPRAYER_REALTIME_SLOW": "1"})
    yield system
    system.close()


@pytest.fixture
async def system(
    processes: LiveSystem, clean_stores: None, acme: TenantUnderTest, settings: Settings
) -> AsyncIterator[LiveSystem]:
    """The feed is there: its queue is bound, and its daemon said so since Redis was emptied."""
    await worker.in_thread(amqp.depth, amqp.LIVE_QUEUE)
    await until(lambda: redis.client("acme").exists("sprayer:live:beat"), "the daemon's sign of life")
    await until(lambda: redis.client("globex").exists("sprayer:live:beat"), "the daemon's sign of life")
    yield processes
    for index in range(len(settings.REDIS_URLS)):
        await redis.ashard(index).aclose()


def made(receiver: str = "alice", status: Status = Status.SENT, **values: Any) -> DeliveryEvent:
    return event(receiver, status, event=new_id("evt"), **values)


async def test_events_of_all_kinds_arrive_as_they_happen_in_the_form_of_webhooks(
    system: LiveSystem, acme: TenantUnderTest
) -> None:
    async with reading(system, acme.key) as feed:
        found = made(status=Status.FAILED, reason="gone", metadata={"order": "17"})
        await happen(found)
        assert await feed.hear() == {
            "event_id": found.event,
            "type": "delivery.failed",
            "message": found.message,
            "delivery": found.delivery,
            "receiver": "alice",
            "channel": "sms",
            "status": "failed",
            "at": "2026-11-01T12:00:00.000Z",
            "reason": "gone",
            "metadata": {"order": "17"},
            "mode": "live",
        }
        come = ConnectionEvent(tenant="acme", receiver="bob", channel="websocket", connected=True, at=datetime.now(UTC))
        await services.areport([come])
        heard = await feed.hear()
        assert (heard["type"], heard["receiver"], heard["mode"]) == ("connection.connected", "bob", None)


async def test_filters_choose_and_may_be_combined(system: LiveSystem, acme: TenantUnderTest) -> None:
    other = "msg_01hzzzzzzzzzzzzzzzzzzzzzz0"
    asked: list[dict[str, Any]] = [
        {"channel": "email,ios"},
        {"status": "failed"},
        {"message": other},
        {"type": "delivery.failed,connection.*"},
        {"receiver": "carol", "channel": "sms"},
    ]
    events = [
        made("a", channel="email"),
        made("b", Status.FAILED),
        made("c", message=other),
        made("carol", channel="ios"),
        made("carol"),
        made("last", Status.FAILED, channel="email", message=other),
    ]
    for filters, names in zip(asked, ["a,carol,last", "b,last", "c,last", "b,last", "carol"], strict=True):
        async with reading(system, acme.key, **filters) as feed:
            await happen(*events)
            wanted = names.split(",")
            assert [found["receiver"] for found in await feed.hear_all(len(wanted))] == wanted, filters


async def test_strangers_and_test_keys_see_what_is_theirs_alone(
    system: LiveSystem, acme: TenantUnderTest, globex: TenantUnderTest
) -> None:
    async with (
        reading(system, acme.key) as ours,
        reading(system, acme.test_key) as tests,
        reading(system, globex.key) as theirs,
    ):
        await happen(made("live"), made("test", mode="test"), made("globex", tenant="globex"))
        await happen(made("live2"), made("test2", mode="test"), made("globex2", tenant="globex"))
        for feed, names in ((ours, ["live", "live2"]), (tests, ["test", "test2"]), (theirs, ["globex", "globex2"])):
            assert [found["receiver"] for found in await feed.hear_all(2)] == names


async def test_who_comes_back_misses_nothing_wherever_it_left_off(system: LiveSystem, acme: TenantUnderTest) -> None:
    names = [f"r{number}" for number in range(40)]
    async with reading(system, acme.key) as feed:
        await happen(*(made(name) for name in names))
        heard = [found["receiver"] for found in await feed.hear_all(7)]
    await happen(made("meanwhile"))
    (second,) = await asyncio.to_thread(system.start, "web")
    async with reading(system, acme.key, feed.last, web=second.name) as feed:
        await happen(made("after"))
        heard += [found["receiver"] for found in await feed.hear_all(35)]
    assert heard == [*names, "meanwhile", "after"]
    await asyncio.to_thread(second.stop)


async def test_a_hole_is_told_when_the_feed_began_anew_meanwhile(system: LiveSystem, acme: TenantUnderTest) -> None:
    async with reading(system, acme.key) as feed:
        await happen(made())
        await feed.hear()
    await asyncio.to_thread(redis.client("acme").delete, *live.tail_of("acme").keys)
    async with reading(system, acme.key, feed.last, recovered=False) as feed:
        await happen(made("bob"))
        assert (await feed.hear())["receiver"] == "bob"


async def test_a_hole_is_told_where_the_queue_overflowed(system: LiveSystem, acme: TenantUnderTest) -> None:
    big = "x" * 900
    async with reading(system, acme.key) as feed:
        await asyncio.to_thread(system["live"].stop)
        await happen(made("lost"))
        for _ in range(90):
            await happen(*(made(tenant="globex", metadata={"big": big}) for _ in range(200)))
        await asyncio.to_thread(system["live"].launch)
        assert await feed.hear() == {"type": "welcome", "recovered": False}
        await asyncio.to_thread(system["live"].wait_ready)
        await happen(made("end"))
        while (await feed.hear()).get("receiver") != "end":
            continue
    await until(lambda: not amqp.depth(amqp.LIVE_LOST_QUEUE), "what was lost")


async def test_a_reader_that_does_not_read_is_cut_and_delays_nobody(system: LiveSystem, acme: TenantUnderTest) -> None:
    headers = {"Authorization": f"Bearer {acme.key}", "Accept": "text/event-stream"}
    with Raw(system, PATH, **headers) as lazy:
        await asyncio.to_thread(lazy.socket.recv, 4096)
        async with reading(system, acme.key) as feed:
            for start in range(0, 12_000, 400):
                await happen(*(made(f"r{number}", metadata={"pad": "x" * 300}) for number in range(start, start + 400)))
                heard = await feed.hear_all(400)
                assert [found["receiver"] for found in heard] == [f"r{number}" for number in range(start, start + 400)]
            await until(lambda: "reader cut" in system["web"].log_text(), "the cut")
            await happen(made("still"))
            assert (await feed.hear())["receiver"] == "still"
        assert await asyncio.to_thread(lazy.read_to_the_end) < 4_000_000


async def test_a_revoked_key_ends_its_stream(system: LiveSystem, acme: TenantUnderTest) -> None:
    key, plain = await worker.in_thread(create_api_key, "acme", "live", ["messages:read"])
    async with reading(system, plain) as feed:
        await worker.in_thread(revoke_api_key, "acme", key.id)
        heard = await feed.hear()
        assert (heard["type"], heard["code"]) == ("error", "revoked_key")
        with pytest.raises(EOFError):
            await feed.hear()


async def test_one_stream_too_many_is_refused_before_it_begins(system: LiveSystem, acme: TenantUnderTest) -> None:
    browser = await worker.in_thread(client_of, acme.owner)
    cookie = {"Cookie": f"sessionid={browser.cookies['sessionid'].value}"}
    async with AsyncExitStack() as streams:
        for _ in range(following.MOST_READERS):
            await streams.enter_async_context(reading(system, acme.key))
        async with httpx.AsyncClient(base_url=str(system["web"].url), timeout=LIMIT, trust_env=False) as client:
            asked = [
                await client.get(PATH, headers=acme.headers()),
                await client.get("/t/acme/live/events", headers=cookie),
            ]
    for answer in asked:
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_streams")
        assert answer.headers["retry-after"] == "10"


async def test_a_web_process_that_ends_sends_its_readers_away(system: LiveSystem, acme: TenantUnderTest) -> None:
    (second,) = await asyncio.to_thread(system.start, "web")
    async with reading(system, acme.key, web=second.name) as feed:
        os.kill(second.pid, 15)
        heard = await feed.hear()
        assert (heard["type"], heard["code"]) == ("error", "restarting")
    await asyncio.to_thread(second.stop)


async def test_refusals_are_problem_documents(system: LiveSystem, acme: TenantUnderTest) -> None:
    _, sender = await worker.in_thread(create_api_key, "acme", "live", ["messages:send"])
    async with httpx.AsyncClient(base_url=str(system["web"].url), trust_env=False) as client:
        for key, last, status, code in (
            ("nonsense", "", 401, "invalid_key"),
            (sender, "", 403, "missing_scope"),
            (acme.key, "1.2", 400, "bad_event_id"),
        ):
            headers = {"Authorization": f"Bearer {key}", "Accept": "text/event-stream", "Last-Event-ID": last}
            answer = await client.get(PATH, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_nothing_is_kept_of_tenants_of_whom_nobody_looks(system: LiveSystem, acme: TenantUnderTest) -> None:
    async with reading(system, acme.key) as feed:
        await happen(*(made(tenant="globex") for _ in range(50)), made("after"))
        assert (await feed.hear())["receiver"] == "after"
    assert redis.client("globex").exists(*live.tail_of("globex").keys) == 0
