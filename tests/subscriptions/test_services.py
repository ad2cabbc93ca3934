"""The dual write, the rebuild, and what Redis may do to us."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest
from django.conf import settings

from deploy.local.servers import Server
from deploy.local.stack import Stack
from sprayer_project import redis
from sprayer_project.errors import Invalid, NotFound
from subscriptions import changes, documents, index, record, selectors, services, syncing
from subscriptions.inputs import AddressInput, ReceiverInput

pytestmark = pytest.mark.services
T = TypeVar("T")
PHONE = AddressInput("sms", "+34600000001")


def run(work: Coroutine[Any, Any, T]) -> T:
    async def main() -> T:
        try:
            return await work
        finally:
            await redis.aclient("acme").aclose()

    return asyncio.run(main())


def receivers(names: list[str]) -> None:
    results = services.put_receivers("acme", [ReceiverInput(name, [PHONE]) for name in names])
    assert [row for row in results if isinstance(row, Exception)] == []


async def members(group: str, channel: str = "sms", limit: int = 500) -> list[str]:
    found, cursor = list[str](), None
    while True:
        names, cursor = await selectors.expand_page("acme", group, channel, cursor, limit)
        found += names
        if cursor is None:
            return found


def subscribed(group: str, channel: str = "sms") -> list[str]:
    return run(members(group, channel))


def indexed_only(group: str, channel: str = "sms") -> list[str]:
    """What Redis says, without anything that looks after pending changes."""
    return run(index.expand("acme", group, channel, None, 10_000))


def resolved(names: list[str], channel: str = "sms", group: str | None = None) -> dict[str, selectors.Resolved]:
    return run(selectors.addresses_of("acme", channel, names, group))[0]


def pending() -> int:
    collections = (documents.receivers(), documents.groups(), documents.subscriptions())
    return sum(collection.count_documents({"index_pending": True}) for collection in collections)


@pytest.fixture
def news() -> Iterator[None]:
    """alice, bob and carol, subscribed to news, and a valid index."""
    receivers(["alice", "bob", "carol"])
    services.put_group("acme", "news")
    services.subscribe_many("acme", "news", [("alice", None), ("bob", ["sms"]), ("carol", ["websocket"])])
    services.ensure_index("acme")
    yield


def server_of_acme(stack: Stack) -> Server:
    url = urlsplit(settings.REDIS_URLS[redis.shard_of("acme")])
    return next(server for server in stack.servers if server.port == url.port)


def test_a_subscription_without_channels_reaches_every_channel_of_the_receiver(news: None) -> None:
    assert subscribed("news", "sms") == ["alice", "bob"]
    assert subscribed("news", "websocket") == ["alice", "carol"]
    assert subscribed("news", "email") == []


def test_putting_the_same_receiver_again_writes_nothing(news: None) -> None:
    before = services.put_receiver("acme", "alice", [PHONE])
    assert services.put_receiver("acme", "alice", [PHONE]) == before


def test_subscribing_twice_and_unsubscribing_twice_are_harmless(news: None) -> None:
    first = services.subscribe("acme", "news", "alice")
    assert services.subscribe("acme", "news", "alice") == first
    services.unsubscribe("acme", "news", "alice")
    services.unsubscribe("acme", "news", "alice")
    assert subscribed("news") == ["bob"]
    assert documents.subscriptions().count_documents({"receiver": "alice"}) == 0


def test_subscribers_with_any_names_page_in_the_order_of_their_bytes() -> None:
    names = [f"{prefix}{number}" for number in range(50) for prefix in ("a", "é/", "日本", "👩‍👧", "z:", "Ω{}")]
    services.put_group("acme", "grüße:all")
    for start in range(0, len(names), 150):
        receivers(names[start : start + 150])
        items = [(name, None) for name in names[start : start + 150]]
        assert not [row for row in services.subscribe_many("acme", "grüße:all", items) if isinstance(row, Exception)]
    ordered = sorted(names, key=str.encode)
    assert run(members("grüße:all", limit=120)) == ordered
    assert run(selectors.expand_page("acme", "grüße:all", "sms", None, 300)) == (ordered, None)
    services.rebuild("acme")
    assert subscribed("grüße:all") == ordered


def test_a_new_address_brings_the_receiver_into_its_groups_on_that_channel(news: None) -> None:
    services.patch_receiver("acme", "alice", addresses=[AddressInput("email", "alice@acme.example")])
    assert subscribed("news", "email") == ["alice"]
    assert subscribed("news", "sms") == ["bob"]


def test_a_group_that_allows_one_channel_reaches_nobody_on_another(news: None) -> None:
    services.put_group("acme", "news", channels=["sms"])
    assert subscribed("news", "websocket") == []
    assert not resolved(["alice"], "websocket", "news")["alice"].subscribed
    with pytest.raises(Invalid, match="channel_not_in_group"):
        services.subscribe("acme", "news", "alice", ["websocket"])
    services.put_group("acme", "news")
    assert subscribed("news", "websocket") == ["alice", "carol"]


def test_addresses_say_who_is_known_subscribed_and_retired(news: None) -> None:
    (address,) = services.put_receiver("acme", "bob", [PHONE]).addresses
    services.retire_address("acme", "sms", address.hash, "unregistered", datetime.now(UTC))
    found = resolved(["alice", "bob", "carol", "nobody"], group="news")
    assert found["bob"].addresses == () and found["bob"].retired == ((address.hash, "unregistered"),)
    assert found["bob"].subscribed and not found["carol"].subscribed
    assert [found[name].known for name in ("alice", "bob", "carol", "nobody")] == [True, True, True, False]


def test_putting_a_retired_address_uses_it_again_and_older_news_do_not_retire_it(news: None) -> None:
    (address,) = services.put_receiver("acme", "alice", [PHONE]).addresses
    retired_at = datetime.now(UTC) + timedelta(milliseconds=5)
    services.retire_address("acme", "sms", address.hash, "unregistered", retired_at)
    assert [row.status for row in selectors.receiver("acme", "alice").addresses] == ["retired"]
    services.put_receiver("acme", "alice", [PHONE])
    services.retire_address("acme", "sms", address.hash, "unregistered", retired_at - timedelta(hours=1))
    assert [row.status for row in selectors.receiver("acme", "alice").addresses] == ["active"]
    assert resolved(["alice"])["alice"].addresses != ()


@pytest.mark.parametrize("others", [[], [ReceiverInput("dora", [PHONE])]])
def test_an_opt_out_while_a_receiver_is_put_is_kept(
    others: list[ReceiverInput], monkeypatch: pytest.MonkeyPatch
) -> None:
    mail = AddressInput("email", "alice@acme.example")
    (address,) = services.put_receiver("acme", "alice", [mail]).addresses
    write, times = services._bulk, iter([True])

    def opted_out_before(operations: Any) -> Any:
        """The moment between reading a receiver and writing it."""
        if next(times, False):
            services.retire_address("acme", "email", address.hash, "opted_out", datetime.now(UTC))
        return write(operations)

    monkeypatch.setattr(services, "_bulk", opted_out_before)
    wanted = ReceiverInput("alice", [mail, PHONE], {"plan": "gold"})
    answer = services.put_receivers("acme", [*others, wanted])[-1]
    for alice in (answer, selectors.receiver("acme", "alice")):
        assert isinstance(alice, record.ReceiverRow) and alice.attributes == {"plan": "gold"}
        assert [(row.channel, row.reason) for row in alice.addresses] == [("email", "opted_out"), ("sms", None)]
    assert pending() == 0


def test_a_deleted_receiver_that_comes_back_has_no_subscriptions(news: None) -> None:
    services.delete_receiver("acme", "alice")
    assert subscribed("news") == ["bob"] and not resolved(["alice"])["alice"].known
    receivers(["alice"])
    assert subscribed("news") == ["bob"] and resolved(["alice"])["alice"].known
    assert documents.receivers().count_documents({"name": "alice"}) == 1


def test_a_deleted_group_that_comes_back_has_no_subscribers(news: None) -> None:
    services.delete_group("acme", "news")
    assert selectors.unknown_groups("acme", ["news"]) == ["news"]
    services.put_group("acme", "news")
    assert subscribed("news") == []
    assert documents.subscriptions().count_documents({}) == 0


def test_unknown_names_are_told_in_their_order(news: None) -> None:
    assert selectors.unknown_receivers("acme", ["x", "alice", "y"]) == ["x", "y"]
    assert selectors.unknown_receivers("globex", ["alice"]) == ["alice"]
    assert selectors.unknown_groups("acme", ["x", "news"]) == ["x"]
    assert selectors.receiver_channels("acme", ["alice", "x"]) == {"alice": frozenset({"sms", "websocket"})}
    assert selectors.group_channels("acme", ["news", "x"]) == {"news": frozenset({"sms", "websocket"})}
    with pytest.raises(NotFound):
        services.subscribe("acme", "news", "x")


def test_a_death_between_record_and_index_is_made_good_by_the_sweeper(news: None) -> None:
    rows = record.find_subscriptions({"receiver": "alice"})
    syncing.delete_subscriptions(row.id for row in rows)
    assert indexed_only("news") == ["alice", "bob"]
    assert services.finish_pending(100) > 0
    assert indexed_only("news") == ["bob"]
    assert pending() == 0 and documents.subscriptions().count_documents({"receiver": "alice"}) == 0


def test_a_first_page_does_not_wait_for_the_sweeper(news: None) -> None:
    syncing.delete_subscriptions(row.id for row in record.find_subscriptions({"receiver": "alice"}))
    assert subscribed("news") == ["bob"]


def test_a_death_before_the_mark_is_cleared_is_repeated_without_harm(news: None) -> None:
    documents.receivers().update_many({}, {"$set": {"index_pending": True}})
    documents.groups().update_many({}, {"$set": {"index_pending": True}})
    services.finish_pending(100)
    assert pending() == 0 and indexed_only("news") == ["alice", "bob"]


def test_an_older_state_that_arrives_late_changes_nothing(news: None) -> None:
    late = record.receiver_entries(record.find_receivers({"name": "alice"}))
    services.unsubscribe("acme", "news", "alice")
    assert index.apply("acme", late)[0] > 0
    services.delete_receiver("acme", "bob")
    gone = index.ReceiverEntry("bob", 1, False, {}, late[0].memberships)
    assert index.apply("acme", [gone])[0] > 0
    assert subscribed("news") == []


def test_an_index_from_a_faster_clock_is_outgrown(news: None) -> None:
    ahead = index.ReceiverEntry("dora", 9_000_000_000_000, True, {}, ())
    index.apply("acme", [ahead])
    receivers(["dora"])
    assert resolved(["dora"])["dora"].addresses and pending() == 0


def test_an_emptied_redis_is_filled_again_by_the_first_read(news: None) -> None:
    services.unsubscribe("acme", "news", "bob")
    redis.client("acme").flushall()
    receivers(["dora"])
    services.subscribe("acme", "news", "dora")
    assert subscribed("news") == ["alice", "dora"]
    assert resolved(["alice", "dora"], group="news")["dora"].subscribed


def test_an_empty_tenant_has_a_valid_index() -> None:
    assert run(selectors.expand_page("acme", "none", "sms", None, 10)) == ([], None)
    assert index.is_valid("acme")


def test_a_redis_that_comes_back_older_is_not_believed(news: None, stack: Stack) -> None:
    server = server_of_acme(stack)
    server.stop()
    old = {path: path.read_bytes() for path in server.data.rglob("*") if path.is_file()}
    server.start()
    assert subscribed("news") == ["alice", "bob"]
    services.unsubscribe("acme", "news", "alice")
    receivers(["dora"])
    services.subscribe("acme", "news", "dora")
    server.stop()
    for path in server.data.rglob("*"):
        if path.is_file() and path not in old:
            path.unlink()
    for path, content in old.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    server.start()
    assert redis.client("acme").get(index.marker_key("acme")), "the old data came back"
    assert subscribed("news") == ["bob", "dora"]
    assert not resolved(["alice"], group="news")["alice"].subscribed


def test_writes_succeed_without_redis_and_reach_the_index_later(news: None, stack: Stack) -> None:
    server = server_of_acme(stack)
    server.kill()
    services.unsubscribe("acme", "news", "bob")
    receivers(["dora"])
    services.subscribe("acme", "news", "dora")
    assert pending() > 0
    assert selectors.unknown_receivers("acme", ["dora", "x"]) == ["x"]
    assert services.finish_pending(100) == 0
    server.start()
    services.finish_pending(100)
    assert pending() == 0
    assert subscribed("news") == ["alice", "dora"]


def test_a_rebuild_keeps_every_write_that_happens_meanwhile(news: None) -> None:
    receivers([f"r{number:03}" for number in range(60)])
    services.subscribe_many("acme", "news", [(f"r{number:03}", None) for number in range(60)])
    stop, failures = threading.Event(), list[BaseException]()

    def write() -> None:
        try:
            for number in range(0, 20, 2):
                services.unsubscribe("acme", "news", f"r{number:03}")
                receivers([f"new{number:03}"])
                services.subscribe("acme", "news", f"new{number:03}")
        except BaseException as error:
            failures.append(error)
        finally:
            stop.set()

    writer = threading.Thread(target=write)
    writer.start()
    rebuilt = 0
    while not stop.is_set() or not rebuilt:
        services.rebuild("acme")
        rebuilt += 1
    writer.join()
    assert failures == []
    expected = {"alice", "bob"} | {f"new{number:03}" for number in range(0, 20, 2)}
    expected |= {f"r{number:03}" for number in range(60) if number >= 20 or number % 2}
    assert set(indexed_only("news")) == expected
    services.rebuild("acme")
    assert set(indexed_only("news")) == expected


def test_a_rebuild_leaves_no_key_of_an_older_generation(news: None) -> None:
    services.rebuild("acme")
    marker = str(redis.client("acme").get(index.marker_key("acme")))
    generation = marker.split(":")[1]
    registry = {index.base("acme") + name for name in ("at", "generations")}
    keys: set[Any] = set(redis.client("acme").scan_iter(index.base("acme") + "*"))
    assert {key for key in keys - registry if not key.startswith(index.base("acme") + generation)} == set()


def test_many_readers_of_a_lost_index_build_it_once(news: None) -> None:
    redis.client("acme").flushall()
    threads = [threading.Thread(target=services.ensure_index, args=("acme",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert index.is_valid("acme")
    assert redis.client("acme").scard(index.base("acme") + "generations") == 1


def test_a_rebuild_whose_server_was_emptied_does_not_make_its_half_the_valid_one(news: None) -> None:
    client = redis.client("acme")
    client.set(index.building_key("acme"), "other")
    with pytest.raises(index.NotBuilding):
        index.apply("acme", record.receiver_entries(record.find_receivers({})), "mine")


def test_whoever_listens_hears_once_of_an_address_that_is_retired_and_of_its_return(
    news: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = AddressInput("sms", "+34600000009")
    heard: list[changes.AddressChange] = []
    monkeypatch.setattr(changes, "_listeners", [heard.extend])
    (address,) = services.put_receiver("acme", "alice", [own]).addresses
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1)
    for _ in range(2):
        services.retire_address("acme", "sms", address.hash, "unregistered", at)
    (retired,) = heard
    assert (retired.receiver, retired.channel, retired.active) == ("alice", "sms", False)
    assert (retired.reason, retired.at, retired.address_masked) == ("unregistered", at, "+34*****009")
    services.patch_receiver("acme", "alice", addresses=[own])
    services.retire_address("acme", "sms", address.hash, "unregistered", at + timedelta(minutes=1))
    services.put_receiver("acme", "alice", [own, AddressInput("sms", "+34600000002")])
    assert [change.active for change in heard] == [False, True, False, True]
    assert len({change.fact for change in heard}) == 4
