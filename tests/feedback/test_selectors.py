from datetime import timedelta
from typing import Any

import pytest

from feedback import dead as dead_letters
from feedback import selectors, services
from feedback.documents import DOCUMENTS
from feedback.events import Status
from sprayer_project.errors import Invalid, NotFound
from tests.feedback.stories import START, event

pytestmark = pytest.mark.services
MESSAGE = event().message


@pytest.fixture(autouse=True)
def _indexes(clean_stores: None) -> None:
    for document in DOCUMENTS:
        document.ensure_indexes()


def test_paging_neither_skips_nor_repeats_while_rows_arrive() -> None:
    first = [event(f"r{number}") for number in range(0, 40, 2)]
    services.write(first)
    page = selectors.deliveries("acme", "live", MESSAGE, limit=7)
    seen = [row.id for row in page.data]
    services.write([event(f"r{number}") for number in range(1, 40, 2)])
    while page.next_cursor:
        page = selectors.deliveries("acme", "live", MESSAGE, limit=7, cursor=page.next_cursor)
        seen += [row.id for row in page.data]
    assert seen == sorted(set(seen))
    assert {found.delivery for found in first} <= set(seen)


def test_a_list_can_be_narrowed_by_channel_status_and_receiver() -> None:
    services.write([event("alice"), event("bob", status=Status.FAILED), event("carol", channel="email")])

    def receivers(**filters: Any) -> list[str]:
        return [row.receiver for row in selectors.deliveries("acme", "live", MESSAGE, **filters).data]

    assert receivers(status="failed") == ["bob"]
    assert receivers(channel="email") == ["carol"]
    assert receivers(receiver="alice") == ["alice"]
    assert receivers(receiver="alice", status="failed") == []


def test_a_status_that_does_not_exist_is_refused() -> None:
    with pytest.raises(Invalid):
        selectors.deliveries("acme", "live", MESSAGE, status="arrived")


def test_a_cursor_of_another_kind_is_refused() -> None:
    with pytest.raises(Invalid):
        selectors.deliveries("acme", "live", MESSAGE, cursor="WzFd")


def test_the_other_modes_deliveries_are_not_seen() -> None:
    services.write([event()])
    assert selectors.deliveries("acme", "test", MESSAGE).data == []
    with pytest.raises(NotFound):
        selectors.delivery("acme", "test", event().delivery)


def test_a_timeline_tells_every_event_in_order_with_the_providers_answer() -> None:
    busy: dict[str, Any] = {"provider": "twilio", "detail": {"http_status": 503}, "reason": "busy"}
    services.write(
        [
            event(status=Status.DELIVERED, seconds=9),
            event(status=Status.SENT, seconds=7, attempt=2, provider="twilio", provider_id="SM2"),
            event(status=Status.DEFERRED, seconds=1, attempt=1, due_at=START + timedelta(seconds=6), **busy),
        ]
    )
    detail = selectors.delivery("acme", "live", event().delivery)
    assert [(entry.status.value, entry.attempt) for entry in detail.timeline] == [
        ("deferred", 1),
        ("sent", 2),
        ("delivered", 0),
    ]
    assert detail.timeline[0].detail == {"http_status": 503} and detail.timeline[0].reason == "busy"
    assert (detail.row.attempts, detail.row.provider_id) == (2, "SM2")


def test_what_is_due_is_found_once_and_not_while_it_is_leased() -> None:
    due_at = START + timedelta(seconds=60)
    services.write([event("alice", status=Status.DEFERRED, due_at=due_at, attempt=1), event("bob")])
    assert selectors.due(due_at - timedelta(seconds=1), 10) == []
    (row,) = selectors.due(due_at, 10)
    assert (row.receiver, row.attempt, row.due_at) == ("alice", 1, due_at)
    services.lease([row], due_at + timedelta(seconds=30))
    assert selectors.due(due_at + timedelta(seconds=29), 10) == []
    assert len(selectors.due(due_at + timedelta(seconds=30), 10)) == 1


def test_a_repeated_event_does_not_end_a_lease() -> None:
    deferred = event(status=Status.DEFERRED, due_at=START + timedelta(seconds=60))
    services.write([deferred])
    services.lease(selectors.due(START + timedelta(seconds=60), 10), START + timedelta(seconds=120))
    services.write([deferred])
    assert selectors.due(START + timedelta(seconds=61), 10) == []


def test_what_is_open_or_waits_in_an_inbox_expires_and_nothing_else() -> None:
    open_statuses = [Status.SCHEDULED, Status.QUEUED, Status.DEFERRED]
    services.write([event(status.value, status=status, due_at=None) for status in Status])
    services.write([event("inbox", status=Status.SENT, waiting=True)])
    assert selectors.open_expired(START + timedelta(hours=23), 50) == []
    expired = selectors.open_expired(START + timedelta(days=1), 50)
    assert {row.receiver for row in expired} == {*open_statuses, "inbox"}
    services.write([event("inbox", status=Status.EXPIRED, waiting=True)])
    assert "inbox" not in {row.receiver for row in selectors.open_expired(START + timedelta(days=1), 50)}
    assert selectors.due(START + timedelta(days=2), 50) == []


def test_dead_letters_are_listed_newest_first_paged_and_dropped() -> None:
    dead = [event(f"r{number}", status=Status.FAILED, dead=True) for number in range(5)]
    services.write([*dead, event("other", status=Status.FAILED, dead=True, tenant="acme2"), event("fine")])
    page = selectors.dead("acme", "live", limit=3)
    rest = selectors.dead("acme", "live", limit=3, cursor=page.next_cursor)
    listed = [row.id for row in page.data + rest.data]
    assert listed == sorted((found.delivery for found in dead), reverse=True)
    assert dead_letters.drop("acme", "live", listed[:1]) == 1
    services.write(dead)
    assert listed[0] not in [row.id for row in selectors.dead("acme", "live").data]
    assert selectors.states("acme", listed[:1])[listed[0]].status is Status.FAILED
    assert dead_letters.drop("acme", "live", listed[:1]) == 0


@pytest.mark.parametrize(
    "query",
    [
        {"tenant": "acme", "message": MESSAGE},
        {"tenant": "acme", "message": MESSAGE, "_id": {"$gt": "dlv_01"}},
        {"tenant": "acme", "receiver": "alice"},
        {"state.wake_at": {"$lte": START}},
        {"state.dead": {"$gt": "acme/live/", "$lt": "acme/live/~"}},
        {"provider_ids": {"$in": ["acme/sms/SM1"]}},
    ],
)
def test_what_a_list_begins_with_is_in_an_index(query: dict[str, Any]) -> None:
    services.write([event(f"r{number}") for number in range(20)])
    plan = selectors.rows().find(query).explain()["queryPlanner"]["winningPlan"]
    assert "IXSCAN" in str(plan)


def test_a_large_messages_totals_are_answered_as_stored_until_the_next_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selectors, "LIVE_ROWS", 2)
    services.write([event("alice", group="news"), event("bob", group="news")])
    services.roll_up(10)
    stored = selectors.totals("acme", MESSAGE)
    services.write([event("carol", group="news")])
    assert selectors.totals("acme", MESSAGE) == stored
    services.store_totals(MESSAGE, "acme", "live", 2)
    assert selectors.totals("acme", MESSAGE).total == 3
