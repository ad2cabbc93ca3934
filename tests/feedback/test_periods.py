from datetime import UTC, datetime, timedelta

import pytest

from feedback.periods import Interval, finest, period_of
from feedback.speeds import LAST, bucket, percentile

AT = datetime(2026, 11, 1, 12, 34, 56, tzinfo=UTC)


@pytest.mark.parametrize(
    ("age", "interval"),
    [
        (timedelta(0), Interval.MINUTE),
        (timedelta(days=2), Interval.MINUTE),
        (timedelta(days=2, hours=2), Interval.HOUR),
        (timedelta(days=60), Interval.HOUR),
        (timedelta(days=60, hours=13), Interval.DAY),
        (timedelta(days=1100), Interval.DAY),
        (timedelta(days=1101), None),
    ],
)
def test_a_late_event_marks_the_shortest_period_whose_siblings_are_all_kept(
    age: timedelta, interval: Interval | None
) -> None:
    found = finest("acme", "live", AT, AT + age)
    assert (found.interval if found else None) == interval


def test_a_period_knows_its_parent() -> None:
    minute = period_of("acme", "live", Interval.MINUTE, AT)
    assert minute.id == "acme/live/minute/2026-11-01T12:34"
    assert minute.parent and minute.parent.id == "acme/live/hour/2026-11-01T12:00"
    assert minute.parent.parent and minute.parent.parent.id == "acme/live/day/2026-11-01T00:00"
    assert minute.parent.parent.parent is None


@pytest.mark.parametrize("milliseconds", [1.5, 10, 33, 250, 1000, 59_999, 3_600_000])
def test_a_bucket_holds_its_time_and_is_at_most_a_root_of_two_wide(milliseconds: float) -> None:
    found = bucket(AT + timedelta(milliseconds=milliseconds), AT)
    assert 2 ** ((found - 1) / 2) < milliseconds <= 2 ** (found / 2)


def test_clocks_that_disagree_and_endless_times_fall_into_the_outer_buckets() -> None:
    assert bucket(AT - timedelta(seconds=3), AT) == 0
    assert bucket(AT + timedelta(days=900), AT) == LAST


def test_percentiles_lie_in_the_bucket_of_the_one_that_they_name() -> None:
    counts = {"10": 90, "20": 9, "30": 1}
    assert 2**4.5 < percentile(counts, 0.5) < 2**5
    assert 2**9.5 < percentile(counts, 0.95) < 2**10
    assert percentile(counts, 1) == 2**15
