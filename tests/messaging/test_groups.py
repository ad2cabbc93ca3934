"""Messages to groups: pages, totals, one copy a receiver."""

import httpx
import pytest
from pytest_django import Settings

from feedback import selectors as feedback
from feedback import services as feedback_services
from feedback.events import Status
from messaging import jobs, payloads, routing, selectors, sweeper
from messaging.documents import Message
from messaging.jobs import Expand
from sprayer_project import amqp, redis
from subscriptions import services as subscriptions
from tests.live import wait_for
from tests.messaging.dispatching import QuickHttp, dispatching, ended, send
from tests.resilience import sink
from tests.resilience.load import run

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("acme", "sandbox")]

MANY = 250


def test_a_group_expands_in_pages_and_settles_with_exact_totals(settings: Settings) -> None:
    settings.PAGE_SIZE = 20
    members(sink.prepare("acme", "count", receivers=MANY), "news")
    message = send(to={"groups": ["news"]})
    with dispatching(QuickHttp()):
        wait_for(lambda: feedback.count("acme", message).total == MANY, 60, "every delivery")
    row = settled(message)
    assert row.totals.channels == {"http": {"delivered": MANY}}
    assert httpx.get(sink.address("count")).json() == {"count": MANY}
    record = Message._get_collection().find_one({"_id": message})
    assert record is not None and record["routed"] == {"http/0": MANY}


def test_a_step_resolves_four_pages_and_names_where_the_next_one_begins(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.PAGE_SIZE = 2
    names = sink.prepare("acme", "orders", receivers=10)
    members(names, "news")
    published: list[jobs.Job] = []
    message = send(to={"groups": ["news"]})

    async def apublish(items: list[amqp.Publication]) -> None:
        published.extend(job for item in items for job in jobs.decode(item.body))

    monkeypatch.setattr(amqp, "apublish", apublish)
    run(expand(message))
    *pages, chain = published
    resolved = [[target.receiver for target in page.targets] for page in pages if isinstance(page, jobs.Deliver)]
    ordered = sorted(names)
    assert resolved == [ordered[0:2], ordered[2:4], ordered[4:6], ordered[6:8]]
    assert isinstance(chain, Expand) and (chain.cursor, chain.count) == (ordered[7], 8)


def test_a_receiver_in_two_groups_gets_one_copy() -> None:
    names = sink.prepare("acme", "orders", receivers=3)
    members(names, "news")
    members(names[:2], "sports")
    message = send(to={"groups": ["news", "sports"], "receivers": names[:1]})
    with dispatching():
        ended(message, Status.DELIVERED, 3)
        row = settled(message)
    assert row.totals.total == 3
    assert sink.arrived("acme") == [message] * 3


def test_whoever_unsubscribes_before_the_delivery_gets_nothing() -> None:
    members(sink.prepare("acme", "orders", receivers=2), "news")
    message = send(to={"groups": ["news"]})
    run(expand(message))
    subscriptions.unsubscribe("acme", "news", "r1")
    with dispatching():
        rows = wait_for(lambda: (found := deliveries(message)) and len(found) == 2 and found, 10, "both outcomes")
    assert rows == {"r0": (Status.DELIVERED, ""), "r1": (Status.SUPPRESSED, "unsubscribed")}
    assert sink.arrived("acme") == [message]


def test_a_message_to_an_empty_group_settles_with_nothing() -> None:
    sink.prepare("acme", "orders")
    subscriptions.put_group("acme", "news")
    message = send(to={"groups": ["news"]})
    with dispatching():
        row = settled(message)
    assert row.totals.total == 0


def test_expanding_a_group_again_sends_nothing_twice() -> None:
    members(sink.prepare("acme", "orders", receivers=5), "news")
    message = send(to={"groups": ["news"]})
    run(expand(message))
    run(expand(message))
    with dispatching():
        ended(message, Status.DELIVERED, 5)
        settled(message)
    assert sink.arrived("acme") == [message] * 5


def members(names: list[str], group: str) -> None:
    subscriptions.put_group("acme", group)
    subscriptions.subscribe_many("acme", group, [(name, None) for name in names])


def settled(message: str) -> selectors.MessageRow:
    """The message once the sweeper's looks have settled it."""

    def found() -> selectors.MessageRow | None:
        feedback_services.roll_up(sweeper.FULL)
        sweeper.look_after_routed()
        row = selectors.message("acme", "live", message)
        return row if row.status == "settled" else None

    row = wait_for(found, 10, "settled")
    assert row is not None
    return row


def deliveries(message: str) -> dict[str, tuple[Status, str]]:
    rows = feedback.deliveries("acme", "live", message, limit=200).data
    return {row.receiver: (row.status, row.reason) for row in rows}


async def expand(message: str) -> None:
    """What a dispatcher does with the message's Expand job."""
    found = await payloads.load("acme", [message])
    await routing.expand(
        Expand(tenant="acme", message=message, mode="live", channel="http", group="news"), found[message]
    )
    await redis.aclose()
