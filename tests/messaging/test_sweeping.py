"""What the sweeper makes of messages that were accepted: settled, under way, or published once more."""

from datetime import UTC, datetime, timedelta

import pytest
from pytest_django import Settings

from feedback.events import Status
from messaging import published, sweeper, unit_of_work
from messaging.documents import Message
from sprayer_project import amqp, redis
from tests.live import wait_for
from tests.messaging.dispatching import dispatching, ended, send
from tests.resilience import sink

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("acme", "sandbox")]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    """The sweeper looks at once; what it does not know of is young for a minute."""
    monkeypatch.setattr(unit_of_work, "FIRST_LOOK", timedelta())
    settings.SWEEP_AGE = 60


def status(message: str) -> str:
    record = Message._get_collection().find_one({"_id": message})
    return str(record and record["status"])


def jobs() -> int | None:
    return amqp.depth(amqp.job_queue("http", "single"))


def is_noted(message: str) -> bool:
    return bool(published.noted([("acme", message)]))


def make_old(message: str) -> None:
    old = datetime.now(UTC) - timedelta(seconds=61)
    Message._get_collection().update_one({"_id": message}, {"$set": {"progress_at": old, "look_at": old}})


def test_a_message_that_is_complete_at_the_first_look_is_settled_by_one_write() -> None:
    message = send(to=sink.prepare("acme", "orders"))
    with dispatching():
        ended(message, Status.DELIVERED)
    wait_for(lambda: is_noted(message), 5, "the note")
    assert sweeper.look_after_accepted() == 1
    assert status(message) == "settled"
    assert jobs() == 0


def test_a_message_whose_jobs_are_with_the_broker_is_under_way_and_not_published_again() -> None:
    message = send(to=sink.prepare("acme", "orders"))
    wait_for(lambda: is_noted(message), 5, "the note")
    assert sweeper.look_after_accepted() == 1
    assert (status(message), jobs(), is_noted(message)) == ("routed", 1, False)
    with dispatching():
        ended(message, Status.DELIVERED)
    sweeper.look_after_routed()
    assert status(message) == "settled"


def test_without_its_note_a_message_is_published_once_more_when_it_is_old_enough() -> None:
    message = send(to=sink.prepare("acme", "orders"))
    wait_for(lambda: is_noted(message), 5, "the note")
    redis.client("acme").flushdb()
    assert sweeper.look_after_accepted() == 0
    assert (status(message), jobs()) == ("accepted", 1)
    make_old(message)
    assert sweeper.look_after_accepted() == 1
    assert sweeper.look_after_accepted() == 0
    assert (status(message), jobs()) == ("routed", 2)
    with dispatching():
        ended(message, Status.DELIVERED)
    assert sink.arrived("acme") == [message]


def test_a_message_that_is_not_complete_is_not_settled() -> None:
    names = sink.prepare("acme", "status/500")
    message = send(to=names)
    with dispatching():
        ended(message, Status.DEFERRED)
        wait_for(lambda: is_noted(message), 5, "the note")
        sweeper.look_after_accepted()
        assert status(message) == "routed"
