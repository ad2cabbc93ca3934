"""Ids grow with the time at which they are made."""

from datetime import UTC, datetime, timedelta

from sprayer_project.ids import first_id, new_id, time_of

NOW = datetime(2026, 11, 29, 12, 0, 0, 345_000, UTC)


def test_ids_grow_within_a_millisecond_and_from_one_to_the_next() -> None:
    later = NOW + timedelta(milliseconds=1)
    ids = [new_id("msg", NOW) for _ in range(1000)] + [new_id("msg", later) for _ in range(1000)]
    assert ids == sorted(set(ids)) and len(ids) == 2000
    assert [time_of(one) for one in ids] == [NOW] * 1000 + [later] * 1000


def test_the_first_id_of_a_time_parts_what_was_made_before_from_what_comes_after() -> None:
    before, after = new_id("msg", NOW - timedelta(milliseconds=1)), new_id("msg", NOW)
    assert before < first_id("msg", NOW) <= after
    assert time_of(first_id("msg", NOW)) == NOW
