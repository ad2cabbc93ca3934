"""A newer message with the same collapse key replaces what is not yet sent, and nothing else."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from feedback import selectors as feedback
from feedback.events import OPEN, Status
from messaging import jobs, services, sweeper
from messaging.jobs import Deliver, Target
from sprayer_project import redis
from subscriptions import services as subscriptions
from subscriptions.inputs import AddressInput
from tenants import activity
from tests.conftest import TenantUnderTest
from tests.live import wait_for
from tests.messaging.dispatching import QuickHttp, dispatching, ended, handle, send
from tests.resilience import sink

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("acme", "sandbox")]

KEY = "score-17"


class SlowHttp(QuickHttp):
    """Tries again when a test says so."""

    retry = replace(QuickHttp.retry, delays=(600, 600))


@pytest.fixture
def alice() -> Iterator[list[str]]:
    yield sink.prepare("acme", "orders")


def bob() -> list[str]:
    subscriptions.put_receiver("acme", "bob", [AddressInput("http", sink.address("orders?receiver=bob"))])
    return ["bob"]


def job(message: str, receiver: str = "r0", **fields: Any) -> Deliver:
    values = {"tenant": "acme", "mode": "live", "channel": "http", "targets": (Target(receiver),)} | fields
    return Deliver(message=message, **values)


def replaced(message: str, number: int = 1) -> bool:
    return {row.reason for row in ended(message, Status.SUPPRESSED, number)} == {"replaced"}


def unavailable(receivers: int = 1) -> list[str]:
    """Receivers whose endpoints fail the first time."""
    return sink.prepare("acme", "flaky/1/x", receivers)


def deferred(message: str, number: int = 1) -> list[Deliver]:
    """The jobs by which the sweeper brings back what waits in the record, once their time has come."""
    rows = ended(message, Status.DEFERRED, number)
    found = [job for row in rows for job in jobs.decode(services.next_attempt(row, 2).body)]
    return [replace(one, due=0) for one in found if isinstance(one, Deliver)]


def test_of_three_messages_that_wait_the_newest_is_sent(alice: list[str]) -> None:
    first, second, third = (send(to=alice, collapse_key=KEY) for _ in range(3))
    with dispatching():
        ended(third, Status.DELIVERED)
        assert replaced(first) and replaced(second)
    assert sink.arrived("acme") == [third]


def test_what_was_sent_stays_sent(alice: list[str]) -> None:
    first = send(to=alice, collapse_key=KEY)
    with dispatching():
        ended(first, Status.DELIVERED)
        second = send(to=alice, collapse_key=KEY)
        ended(second, Status.DELIVERED)
        ended(first, Status.DELIVERED)
    handle(job(first), job(second))
    assert sink.arrived("acme") == [second, first]


def test_what_has_another_key_receiver_or_mode_or_none_is_left_alone(alice: list[str]) -> None:
    others = [send(to=alice, collapse_key="other"), send(to=bob(), collapse_key=KEY), send(to=alice)]
    test = send(to=alice, collapse_key=KEY, mode="test")
    newest = send(to=alice, collapse_key=KEY)
    with dispatching():
        for message in (*others, newest):
            ended(message, Status.DELIVERED)
        wait_for(lambda: test in sink.arrived("acme"), 10, "the test message")
    assert sorted(sink.arrived("acme")) == sorted([*others, newest, test])


def test_another_tenants_messages_are_left_alone(alice: list[str], globex: TenantUnderTest) -> None:
    first = send(to=alice, collapse_key=KEY)
    there = send("globex", to=sink.prepare("globex", "orders"), collapse_key=KEY)
    with dispatching():
        ended(first, Status.DELIVERED)
        wait_for(lambda: sink.arrived("globex"), 10, "the other tenant's")
    assert (sink.arrived("acme"), sink.arrived("globex")) == ([first], [there])


def test_another_channel_is_left_alone(alice: list[str]) -> None:
    first = send(to=alice, collapse_key=KEY)
    send(to=alice, collapse_key=KEY, channels=["websocket"])
    with dispatching():
        assert len(ended(first, Status.DELIVERED)) == 1


def test_a_retry_that_comes_back_after_a_newer_message_is_not_made() -> None:
    first = send(to=(names := unavailable()), collapse_key=KEY)
    with dispatching():
        ended(first, Status.DEFERRED)
        second = send(to=names, collapse_key=KEY)
        assert replaced(first)
        ended(second, Status.DELIVERED)
    assert sink.arrived("acme") == [second, second, first]


def test_what_the_sweeper_releases_is_not_sent_after_a_newer_message() -> None:
    first = send(to=(names := unavailable()), collapse_key=KEY)
    with dispatching(SlowHttp()):
        (again,) = deferred(first)
    second = send(to=names, collapse_key=KEY)
    handle(again)
    handle(again)
    handle(job(second))
    assert sink.arrived("acme") == [second, first]
    with dispatching():
        assert replaced(first)


def test_jobs_that_come_in_the_wrong_order_send_the_newest_alone(alice: list[str]) -> None:
    first, second = (send(to=alice, collapse_key=KEY) for _ in range(2))
    handle(job(second))
    handle(job(first))
    handle(job(first), job(second))
    assert sink.arrived("acme") == [second]


def test_two_dispatchers_send_the_newest_and_none_twice(alice: list[str]) -> None:
    with dispatching(), dispatching():
        messages = [send(to=alice, collapse_key=KEY) for _ in range(30)]
        ended(messages[-1], Status.DELIVERED)
        outcomes = wait_for(lambda: closed(messages), 20, "every outcome")
    arrived = sink.arrived("acme")
    assert sorted(arrived) == sorted(message for message, status in outcomes.items() if status is Status.DELIVERED)
    assert set(outcomes.values()) <= {Status.DELIVERED, Status.SUPPRESSED}


def closed(messages: list[str]) -> dict[str, Status]:
    """The status of each message's delivery, once all have come to an end."""
    found = {message: row.status for message in messages for row in rows(message)}
    return found if len(found) == len(messages) and not OPEN & set(found.values()) else {}


def test_a_plain_address_is_a_receiver_of_its_own(alice: list[str]) -> None:
    to = {"addresses": [{"channel": "http", "address": sink.address("orders?receiver=plain")}]}
    first, third = send(to=to, collapse_key=KEY), send(to=alice, collapse_key=KEY)
    second = send(to=to, collapse_key=KEY)
    with dispatching():
        ended(second, Status.DELIVERED)
        ended(third, Status.DELIVERED)
        assert replaced(first)


def test_each_address_of_a_receiver_gets_the_newest_alone(alice: list[str]) -> None:
    paths = [sink.address(f"orders?receiver={name}") for name in ("one", "two")]
    subscriptions.put_receiver("acme", alice[0], [AddressInput("http", path) for path in paths])
    first, second = (send(to=alice, collapse_key=KEY) for _ in range(2))
    with dispatching():
        ended(second, Status.DELIVERED, 2)
        assert replaced(first, 2)
    assert sink.arrived("acme") == [second, second]


def news(*names: str, group: str = "news") -> dict[str, list[str]]:
    subscriptions.put_group("acme", group)
    for name in names:
        subscriptions.subscribe("acme", group, name)
    return {"groups": [group]}


def test_a_groups_older_message_is_replaced_by_its_newer_one() -> None:
    to = news(*unavailable(2))
    first = send(to=to, collapse_key=KEY)
    with dispatching(SlowHttp()):
        waiting = deferred(first, 2)
    second = send(to=to, collapse_key=KEY)
    handle(*waiting)
    with dispatching():
        ended(second, Status.DELIVERED, 2)
        assert replaced(first, 2)
    assert sorted(sink.arrived("acme")) == [first] * 2 + [second] * 4


def test_a_message_to_one_replaces_the_groups_older_one_for_that_one_alone() -> None:
    names = sink.prepare("acme", "orders", 2)
    first, second = send(to=news(*names), collapse_key=KEY), send(to=names[:1], collapse_key=KEY)
    with dispatching():
        ended(second, Status.DELIVERED)
        wait_for(lambda: {row.status for row in rows(first)} == {Status.DELIVERED, Status.SUPPRESSED}, 10, "both")
    assert {row.receiver: row.reason for row in rows(first)} == {"r0": "replaced", "r1": ""}


def test_a_newer_message_to_a_group_counts_before_it_is_expanded() -> None:
    names = sink.prepare("acme", "orders", 2)
    to = news(names[0])
    older = [send(to=[name], collapse_key=KEY) for name in names]
    elsewhere = send(to=news(*names, group="elsewhere"), collapse_key=KEY)
    newest = send(to=to, collapse_key=KEY)
    handle(*(job(message, name) for message, name in zip(older, names, strict=True)))
    handle(job(elsewhere, "r0", group="elsewhere"), job(elsewhere, "r1", group="elsewhere"))
    assert sink.arrived("acme") == [elsewhere]
    with dispatching():
        ended(newest, Status.DELIVERED)
        assert replaced(older[0]) and replaced(older[1])


def test_whoever_left_the_group_of_a_newer_message_gets_the_older_one(alice: list[str]) -> None:
    to = news(*alice)
    first = send(to=alice, collapse_key=KEY)
    send(to=to, collapse_key=KEY)
    subscriptions.unsubscribe("acme", "news", alice[0])
    with dispatching():
        assert len(ended(first, Status.DELIVERED)) == 1


def test_a_scheduled_message_counts_from_its_start() -> None:
    names = unavailable()
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    scheduled = send(to=names, collapse_key=KEY, send_at=soon)
    first = send(to=names, collapse_key=KEY)
    handle(job(first), channel=SlowHttp())
    assert sink.arrived("acme") == [first]
    wait_for(sweeper.release_scheduled, 5, "the start")
    handle(job(first, attempt=2))
    assert sink.arrived("acme") == [first]
    with dispatching():
        assert replaced(first)
        ended(scheduled, Status.DELIVERED)
    assert sink.arrived("acme") == [scheduled, scheduled, first]


def test_a_cancelled_message_does_not_bring_the_older_one_back(alice: list[str]) -> None:
    first, second = (send(to=alice, collapse_key=KEY) for _ in range(2))
    services.cancel("acme", "live", second)
    with dispatching():
        assert replaced(first)
        ended(second, Status.CANCELLED)
    assert sink.arrived("acme") == []


@pytest.mark.parametrize("target", ["receiver", "group"])
def test_what_an_emptied_redis_knew_is_asked_of_the_record(target: str) -> None:
    names = unavailable()
    to = news(*names) if target == "group" else {"receivers": names}
    first = send(to=to, collapse_key=KEY)
    with dispatching(SlowHttp()):
        (waiting,) = deferred(first)
    second = send(to=to, collapse_key=KEY)
    redis.client("acme").flushall()
    send(to=bob(), collapse_key=KEY)
    handle(waiting)
    assert sink.arrived("acme") == [first]
    with dispatching():
        assert replaced(first)
        ended(second, Status.DELIVERED)


def test_a_redis_that_came_back_older_is_not_believed(alice: list[str]) -> None:
    first = send(to=alice, collapse_key=KEY)
    client: Any = redis.client("acme")
    older = {key: client.dump(key) for key in client.keys("*")}
    second = send(to=alice, collapse_key=KEY)
    assert activity.flush()
    client.flushall()
    for key, value in older.items():
        client.restore(key, 60_000, value)
    client.set(redis.key("acme", "collapse", "live", KEY), "0123abcd 0")
    handle(job(first))
    assert sink.arrived("acme") == []
    handle(job(second))
    assert sink.arrived("acme") == [second]


def test_a_message_that_could_not_be_entered_when_it_was_accepted_counts_from_its_first_claim(alice: list[str]) -> None:
    first, second = (send(to=alice, collapse_key=KEY) for _ in range(2))
    assert redis.client("acme").delete(redis.key("acme", "collapse", "live", KEY, "http", alice[0])) == 1
    handle(job(second))
    handle(job(first))
    assert sink.arrived("acme") == [second]


def test_without_a_collapse_key_nothing_is_kept(alice: list[str]) -> None:
    handle(job(send(to=alice)))
    assert redis.client("acme").keys("*:collapse:*") == []


def test_what_is_kept_of_a_key_ends(alice: list[str]) -> None:
    send(to=news(*alice), collapse_key=KEY, ttl=200_000)
    handle(job(send(to=alice, collapse_key=KEY, ttl=5)))
    client: Any = redis.client("acme")
    found = {key: client.ttl(key) for key in client.keys("*:collapse:*")}
    assert len(found) == 3
    assert all(0 < seconds <= 203_600 for seconds in found.values())
    assert found[redis.key("acme", "collapse", "live", KEY, "http")] > 200_000


def rows(message: str) -> list[feedback.DeliveryRow]:
    return list(feedback.deliveries("acme", "live", message, limit=200).data)
