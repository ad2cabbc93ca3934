import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from feedback import selectors, services, updates
from feedback.documents import ParkedEvent, collection
from feedback.events import Status
from feedback.updates import slot_of
from sprayer_project.errors import Conflict, NotFound
from sprayer_project.ids import new_id
from tests.feedback.stories import START, event, nameless, random_story, shuffled, winner

pytestmark = pytest.mark.services


def test_two_writers_of_shuffled_repeated_events_build_the_rows_of_the_model() -> None:
    chance, message = random.Random(7), new_id("msg")
    stories = [random_story(chance, f"r{number}", message) for number in range(150)]
    queue = shuffled(chance, [found for story in stories for found in story])[:2000]
    queue += [found for story in stories for found in story]
    batches = [queue[start : start + 100] for start in range(0, len(queue), 100)]
    with ThreadPoolExecutor(2) as writers:
        list(writers.map(services.write, batches))
    rows = selectors.states("acme", [story[0].delivery for story in stories])
    for story in stories:
        row, expected = rows[story[0].delivery], winner(story)
        assert (row.status, row.round, row.reason) == (expected.status, expected.round, expected.reason)
        assert row.attempts == len({(found.round, found.attempt) for found in story if found.attempt})
        detail = selectors.delivery("acme", "live", row.id)
        assert len(detail.timeline) == len({slot_of(found)[0] for found in story})
    counted = Counter(winner(story).status.value for story in stories)
    assert selectors.totals("acme", message).channels == {"sms": dict(counted)}


def test_the_row_of_a_first_attempt_is_the_one_that_an_upsert_makes() -> None:
    first = event(status=Status.SENT, attempt=1, group="news", provider="twilio", provider_id="SM1")
    (change,) = updates.merge([first]).values()
    assert change.first
    selectors.rows().bulk_write([updates.operation(change)])
    upserted = selectors.rows().find_one_and_delete({"_id": first.delivery})
    services.write([first])
    assert selectors.rows().find_one({"_id": first.delivery}) == upserted


def test_a_callback_that_comes_first_leaves_room_for_what_it_did_not_know() -> None:
    callback = event(status=Status.DELIVERED, receiver="alice", seconds=5)
    services.write([replace(callback, receiver="", address_hash="", address_masked="", expires_at=None)])
    services.write(
        [event(status=Status.SENT, seconds=1, attempt=1, group="news", provider="twilio", provider_id="SM1")]
    )
    row = selectors.states("acme", [callback.delivery])[callback.delivery]
    assert (row.receiver, row.group, row.address_masked) == ("alice", "news", "+34*****001")
    assert (row.status, row.attempts, row.provider_id) == (Status.DELIVERED, 1, "SM1")
    assert row.times == {"sent": START + timedelta(seconds=1), "delivered": START + timedelta(seconds=5)}


def test_an_event_of_another_tenant_never_touches_a_delivery() -> None:
    mine = event(status=Status.SENT)
    services.write([mine])
    services.write([event(status=Status.BOUNCED, tenant="globex", seconds=9), event("bob", status=Status.SENT)])
    assert selectors.states("acme", [mine.delivery])[mine.delivery].status is Status.SENT
    assert selectors.states("globex", [mine.delivery]) == {}
    assert selectors.deliveries("acme", "live", mine.message, receiver="bob").data != []
    with pytest.raises(NotFound):
        selectors.delivery("globex", "live", mine.delivery)


def test_totals_stay_exact_when_events_repeat() -> None:
    events = [event(f"r{number}", status=Status.SENT, group="news") for number in range(30)]
    services.write(events)
    services.write([*events, event("r1", status=Status.DELIVERED, seconds=3)])
    assert services.roll_up(10) == 1
    assert services.roll_up(10) == 0
    services.write(events)
    totals = selectors.totals("acme", events[0].message)
    assert totals.channels == {"sms": {"sent": 29, "delivered": 1}}
    assert (totals.total, totals.open) == (30, 0)


def test_a_callback_without_the_group_makes_stored_totals_stale() -> None:
    services.write([event(group="news")])
    services.roll_up(10)
    services.write([event(status=Status.DELIVERED, seconds=2)])
    stored = selectors.summaries().find_one({"_id": event().message})
    assert stored is not None and stored["stale"]
    assert selectors.totals("acme", event().message).channels == {"sms": {"delivered": 1}}


def test_an_older_count_never_replaces_a_newer_one() -> None:
    services.write([event("alice", group="news")])
    services.write([event("bob", group="news")])
    message = event().message
    assert services.store_totals(message, "acme", "live", 2)
    assert not services.store_totals(message, "acme", "live", 1)
    stored = selectors.summaries().find_one({"_id": message})
    assert stored is not None and stored["stored_version"] == 2 and "stale" not in stored


def test_totals_stay_stale_when_events_come_while_they_are_counted() -> None:
    services.write([event("alice", group="news")])
    services.write([event("bob", group="news")])
    assert services.store_totals(event().message, "acme", "live", 1)
    stored = selectors.summaries().find_one({"_id": event().message})
    assert stored is not None and stored["stale"] and stored["stored_version"] == 1


@pytest.mark.parametrize("status", [Status.FAILED, Status.EXPIRED, Status.SUPPRESSED])
def test_another_round_opens_for_what_did_not_arrive(status: Status) -> None:
    failed = event(status=status, attempt=1, dead=status is Status.FAILED)
    services.write([failed])
    row = services.open_round("acme", "live", failed.delivery, START + timedelta(hours=1))
    assert (row.status, row.round, row.attempt, row.attempts, row.dead) == (Status.QUEUED, 2, 0, 1, False)
    services.write([failed, event(status=Status.SENT, round=2, attempt=1, seconds=4000)])
    assert selectors.states("acme", [row.id])[row.id].status is Status.SENT


@pytest.mark.parametrize(
    "status", [status for status in Status if status not in (Status.FAILED, Status.EXPIRED, Status.SUPPRESSED)]
)
def test_no_round_opens_for_what_is_open_or_arrived(status: Status) -> None:
    found = event(status=status)
    services.write([found])
    with pytest.raises(Conflict):
        services.open_round("acme", "live", found.delivery, START)
    assert selectors.states("acme", [found.delivery])[found.delivery].round == 1


def test_of_two_retries_at_once_one_opens_the_round() -> None:
    failed = event(status=Status.FAILED)
    services.write([failed])

    def retry(_: int) -> str:
        try:
            return str(services.open_round("acme", "live", failed.delivery, START + timedelta(hours=1)).round)
        except Conflict as conflict:
            return conflict.code

    with ThreadPoolExecutor(4) as people:
        answers = sorted(people.map(retry, range(4)))
    assert answers[0] == "2" and set(answers[1:]) <= {"delivery_changed", "delivery_open"}


def test_a_test_keys_retry_does_not_find_a_live_delivery() -> None:
    failed = event(status=Status.FAILED)
    services.write([failed])
    with pytest.raises(NotFound):
        services.open_round("acme", "test", failed.delivery, START)


def test_a_delivery_that_is_delivered_late_overrules_failed_and_its_retry() -> None:
    failed = event(status=Status.FAILED)
    services.write([failed])
    services.open_round("acme", "live", failed.delivery, START + timedelta(seconds=9))
    services.write([event(status=Status.DELIVERED, seconds=5)])
    assert selectors.states("acme", [failed.delivery])[failed.delivery].status is Status.DELIVERED


@pytest.mark.parametrize("sent_first", [True, False])
def test_an_event_with_only_the_providers_id_finds_its_delivery(sent_first: bool) -> None:
    sent = event(status=Status.SENT, attempt=1, provider="twilio", provider_id="SM77")
    answer = nameless(event(status=Status.DELIVERED, seconds=3, provider_id="SM77"))
    for events in ([sent], [answer]) if sent_first else ([answer], [sent]):
        services.write(events)
    assert selectors.states("acme", [sent.delivery])[sent.delivery].status is Status.DELIVERED
    assert parked() == 0


def test_a_parked_event_of_another_tenant_is_not_matched() -> None:
    answer = nameless(event(status=Status.DELIVERED, tenant="globex", provider_id="SM77"))
    sent = event(status=Status.SENT, attempt=1, provider_id="SM77")
    services.write([sent, answer])
    assert selectors.states("acme", [sent.delivery])[sent.delivery].status is Status.SENT
    assert parked() == 1


def test_a_batch_of_events_is_published_in_arrays_of_at_most_two_hundred() -> None:
    sizes = [len(found.body.split(b'"tenant"')) - 1 for found in services.publications([event().encoded()] * 450)]
    assert sizes == [200, 200, 50]


def parked() -> int:
    return collection(ParkedEvent).count_documents({})
