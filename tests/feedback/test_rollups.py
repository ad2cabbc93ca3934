"""Totals over time are those of the record, whatever happened meanwhile."""

import json
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from feedback import counting, pruning, rollups, services
from feedback.documents import Delivery, PeriodTotals
from feedback.events import DeliveryEvent, Status
from feedback.periods import Interval
from feedback.series import Series, series
from sprayer_project.errors import Invalid
from sprayer_project.ids import first_id, new_id
from tenants.models import Tenant
from tests.conftest import TenantUnderTest
from tests.feedback.stories import event, random_story, shuffled, winner

pytestmark = [pytest.mark.services, pytest.mark.django_db]

NOW = datetime.now(UTC)
NOON = (NOW - timedelta(days=1)).replace(hour=12, minute=0, second=0, microsecond=0)
"""Of yesterday: its minutes are kept."""
YESTERDAY = {"since": NOON - timedelta(hours=12), "until": NOON + timedelta(hours=12)}


def sent(at: datetime, status: Status = Status.SENT, took: float = 1.0, **values: Any) -> DeliveryEvent:
    """An event of a message that was accepted at this time, and so many seconds later."""
    message = values.pop("message", None) or new_id("msg", at)
    return replace(event(status=status, message=message, **values), at=at + timedelta(seconds=took))


def roll_up() -> None:
    """Everything that is marked, however long it would have waited."""
    while rollups.roll_up(100, NOW + timedelta(hours=4)):
        pass


def read(interval: Interval, **filters: Any) -> Series:
    return series("acme", "live", interval, NOW, **(filters if "since" in filters else YESTERDAY | filters))


def starts(interval: Interval) -> dict[str, Any]:
    return {f"{row.start:%H:%M}": row.channels for row in read(interval).rows}


def test_minutes_hours_and_days_are_the_sums_of_what_is_in_the_record(acme: TenantUnderTest) -> None:
    services.write(
        [
            sent(NOON),
            sent(NOON + timedelta(seconds=59), Status.FAILED),
            sent(NOON + timedelta(minutes=1), channel="email"),
            sent(NOON + timedelta(hours=1)),
            sent(NOON, mode="test"),
            sent(NOON, tenant="globex"),
        ]
    )
    roll_up()
    first = {"sms": {"sent": 1, "failed": 1}}
    assert starts(Interval.MINUTE) == {
        "12:00": first,
        "12:01": {"email": {"sent": 1}},
        "13:00": {"sms": {"sent": 1}},
    }
    assert starts(Interval.HOUR) == {"12:00": first | {"email": {"sent": 1}}, "13:00": {"sms": {"sent": 1}}}
    assert starts(Interval.DAY) == {"00:00": {"sms": {"sent": 2, "failed": 1}, "email": {"sent": 1}}}
    assert read(Interval.DAY, channel="email").channels == {"email": {"sent": 1}}


def test_late_and_repeated_events_change_the_period_of_their_message(acme: TenantUnderTest) -> None:
    events = [sent(NOON, receiver=f"r{number}") for number in range(20)]
    services.write(events)
    roll_up()
    late = sent(NOON, Status.DELIVERED, took=7200, message=events[3].message, receiver="r3")
    for _ in range(2):
        services.write([late, *events])
        roll_up()
    for interval in Interval:
        assert read(interval).channels == {"sms": {"sent": 19, "delivered": 1}}


def test_a_period_that_cannot_be_counted_waits_and_holds_up_no_other(
    acme: TenantUnderTest, globex: TenantUnderTest
) -> None:
    Tenant.objects.filter(slug="globex").update(retention_days=1_000_000)
    services.write([sent(NOON, tenant="globex"), sent(NOON)])
    roll_up()
    assert read(Interval.DAY).channels == {"sms": {"sent": 1}}
    Tenant.objects.filter(slug="globex").update(retention_days=None)
    while rollups.roll_up(100, NOW + timedelta(hours=8)):
        pass
    assert series("globex", "live", Interval.DAY, NOW, **YESTERDAY).channels == {"sms": {"sent": 1}}


def test_two_writers_and_two_sweepers_at_once_give_the_totals_of_the_model(acme: TenantUnderTest) -> None:
    chance = random.Random(11)
    messages = [new_id("msg", NOON + timedelta(minutes=minute)) for minute in range(3)]
    stories = [random_story(chance, f"r{number}", chance.choice(messages)) for number in range(90)]
    queue = shuffled(chance, [found for story in stories for found in story])[:1500]
    queue += [found for story in stories for found in story]
    batches = [queue[start : start + 150] for start in range(0, len(queue), 150)]

    def work(batch: list[DeliveryEvent]) -> None:
        services.write(batch)
        rollups.roll_up(100, NOW + timedelta(hours=4))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, batches))
    while services.roll_up(100):
        pass
    roll_up()
    counted = Counter(winner(story).status.value for story in stories)
    for interval in Interval:
        assert read(interval).channels == {"sms": dict(counted)}


def test_a_large_message_is_counted_once_for_itself_and_its_minute(
    acme: TenantUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "LARGE", 10)
    monkeypatch.setattr(counting, "STEP", 5)
    large, small = new_id("msg", NOON + timedelta(seconds=30)), sent(NOON)
    events = [sent(NOON, receiver=f"r{number}", message=large, group="news") for number in range(40)]
    services.write([*events, small, sent(NOON + timedelta(seconds=45))])
    services.roll_up(10)
    roll_up()
    assert read(Interval.MINUTE).channels == {"sms": {"sent": 42}}
    services.write([sent(NOON, Status.DELIVERED, message=large, receiver="r7")])
    services.store_totals(large, "acme", "live", 2)
    roll_up()
    assert read(Interval.DAY).channels == {"sms": {"sent": 41, "delivered": 1}}


def test_what_is_older_than_minutes_and_hours_is_counted_from_the_record(acme: TenantUnderTest) -> None:
    for days in (5, 80):
        at = NOON - timedelta(days=days)
        services.write([sent(at), sent(at + timedelta(hours=2), Status.FAILED)])
    roll_up()
    assert not read(Interval.MINUTE, since=NOON - timedelta(days=5), until=NOON - timedelta(days=4.5)).rows
    assert [row.start for row in read(Interval.HOUR, since=NOON - timedelta(days=60)).rows] == [
        NOON - timedelta(days=5),
        NOON - timedelta(days=5, hours=-2),
    ]
    assert [row.channels for row in read(Interval.DAY, since=NOON - timedelta(days=90)).rows] == [
        {"sms": {"sent": 1, "failed": 1}}
    ] * 2


def test_totals_outlive_the_deliveries_that_they_were_counted_from(acme: TenantUnderTest) -> None:
    at = NOON - timedelta(days=100)
    events = [sent(at), sent(at)]
    services.write(events)
    rollups.roll_up(100, at + timedelta(days=70))
    pruning.prune_message("acme", events[0].message, 100)
    services.write([sent(at, Status.DELIVERED, took=99, message=events[1].message)])
    roll_up()
    assert read(Interval.DAY, since=at).channels == {"sms": {"sent": 2}}
    assert not rollups.totals().count_documents({"stale": True})


def test_periods_go_when_their_kind_is_over(acme: TenantUnderTest) -> None:
    services.write([sent(NOON), sent(NOON - timedelta(days=30))])
    roll_up()

    def left(**passed: float) -> list[str]:
        rollups.prune(NOON + timedelta(**passed))
        return sorted(found["interval"] for found in rollups.totals().find({}, {"interval": 1}))

    assert left(days=1) == ["day", "day", "hour", "hour", "minute"]
    assert left(days=3) == ["day", "day", "hour", "hour"]
    assert left(days=40) == ["day", "day", "hour"]
    assert left(days=1080) == ["day"]


def test_the_time_that_deliveries_took_is_told_without_scheduled_ones_and_later_rounds(acme: TenantUnderTest) -> None:
    quick = [sent(NOON, took=0.1, receiver=f"r{number}") for number in range(98)]
    slow = [sent(NOON, took=60, receiver=f"s{number}") for number in range(2)]
    later = [sent(NOON, took=9999, scheduled=True), sent(NOON, took=9999, round=2, receiver="bob")]
    services.write(
        [*quick, *slow, *later, sent(NOON, Status.DELIVERED, took=4, message=quick[0].message, receiver="r0")]
    )
    services.write([sent(NOON, Status.DELIVERED, took=9, message=quick[0].message, receiver="r0")])
    roll_up()
    latency = read(Interval.DAY).latency["sms"]
    assert (latency["sent"].count, latency["delivered"].count) == (100, 1)
    assert 70 < latency["sent"].p50 < 142
    assert 42_000 < latency["sent"].p99 < 85_000
    assert 2_800 < latency["delivered"].p50 < 5_700


def test_more_periods_than_an_answer_holds_are_refused() -> None:
    with pytest.raises(Invalid, match="1500"):
        read(Interval.MINUTE, since=NOON - timedelta(days=2), until=NOON)


def test_minutes_and_series_are_read_by_an_index() -> None:
    ids = {"$gte": first_id("dlv", NOON), "$lt": first_id("dlv", NOW)}
    place = {"tenant": "acme", "mode": "live"}
    for document, query in (
        (Delivery, place | {"_id": ids}),
        (Delivery, {"tenant": "acme", "message": "msg_x", "_id": ids}),
        (PeriodTotals, place | {"interval": "hour", "start": {"$gte": NOON, "$lt": NOW}}),
        (PeriodTotals, {"interval": "hour", "start": {"$lt": NOW}}),
    ):
        told = json.dumps(document._get_collection().find(query).explain(), default=str)
        assert "IXSCAN" in told and "COLLSCAN" not in told, query
