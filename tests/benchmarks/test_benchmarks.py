"""Benchmarks run, whatever the machine makes of their figures."""

import json
from pathlib import Path

import pytest

from benchmarks import (
    accept,
    accept_batch,
    broadcast,
    connection,
    dispatch_http,
    dispatch_push,
    expand,
    fairness,
    feedback,
    growth,
    inbox,
    latency,
    outage,
    slow_hosts,
    table,
    totals,
)
from benchmarks.system import Bench, Sizes, prepare
from tests.live import LiveSystem

TINY = Sizes(
    rounds=1,
    seconds=0.2,
    receivers=20,
    subscribers=20,
    groups=(5, 10, 20),
    events=250,
    deliveries=40,
    webhooks=40,
    pushes=20,
    inboxes=20,
    connected=5,
    broadcasts=2,
    idle=5,
    singles=3,
)


@pytest.fixture
def bench(live_system: LiveSystem) -> Bench:
    return prepare(live_system, TINY)


@pytest.mark.services
def test_accept_measures_granian_and_daphne_beside_bare_writes(bench: Bench) -> None:
    granian, daphne = accept.run(bench)
    assert (granian.name, granian.target) == ("accept", accept.FLOOR)
    assert granian.reference == daphne.reference > 0
    assert "load generator used" in granian.note


@pytest.mark.services
def test_accept_batch_measures_batches_beside_bulk_writes(bench: Bench) -> None:
    (row,) = accept_batch.run(bench)
    assert row.figure > 0 < row.reference
    assert "batches of 100" in row.note


@pytest.mark.services
def test_expand_measures_the_resolving_of_a_group_beside_bare_pipelines(bench: Bench) -> None:
    (row,) = expand.run(bench)
    assert row.figure > 0 < row.reference
    assert "a group of 20" in row.note


@pytest.mark.services
def test_totals_measures_a_large_message_beside_a_small_one(bench: Bench) -> None:
    (row,) = totals.run(bench)
    assert row.figure > 0 < row.reference and row.at_most
    assert "40 deliveries beside 10" in row.note


@pytest.mark.services
def test_fairness_measures_single_messages_with_and_without_another_tenant_s_load(bench: Bench) -> None:
    rows = fairness.run(bench)
    assert [row.name for row in rows] == ["fairness (broadcast)", "fairness (singles)"]
    assert all(row.figure > 0 < row.reference and row.at_most for row in rows)


@pytest.mark.services
def test_growth_measures_larger_groups_beside_the_smallest(bench: Bench) -> None:
    rows = growth.run(bench)
    assert [row.name for row in rows] == ["growth (10)", "growth (20)"]
    assert all(row.figure > 0 < row.reference for row in rows)


@pytest.mark.services
def test_dispatch_http_measures_a_group_message_beside_a_bare_client(bench: Bench) -> None:
    (row,) = dispatch_http.run(bench)
    assert row.figure > 0 < row.reference
    assert "the sink" in row.note


@pytest.mark.services
def test_dispatch_push_measures_both_push_services_beside_bare_clients(bench: Bench) -> None:
    rows = dispatch_push.run(bench)
    assert [row.name for row in rows] == ["dispatch-push (APNs)", "dispatch-push (FCM)"]
    assert all(row.figure > 0 < row.reference and "of one core nginx used" in row.note for row in rows)


@pytest.mark.services
def test_inbox_measures_the_channel_s_adapter_beside_bare_writes(bench: Bench) -> None:
    (row,) = inbox.run(bench)
    assert row.figure > 0 < row.reference
    assert "20 receivers" in row.note


@pytest.mark.services
def test_broadcast_measures_a_web_process_beside_nchan(bench: Bench) -> None:
    row = broadcast.run(bench)[0]
    assert row.name == "broadcast (daphne)"
    assert row.figure > 0 < row.reference
    assert "5 connections" in row.note and "its clients" in row.note


@pytest.mark.services
def test_connection_measures_a_web_process_s_memory_beside_nchan(bench: Bench) -> None:
    row = connection.run(bench)[0]
    assert (row.name, row.unit, row.at_most) == ("connection (daphne)", "KiB", True)
    assert "5 idle connections" in row.note


@pytest.mark.services
def test_latency_measures_the_whole_way_beside_a_bare_one(bench: Bench) -> None:
    rows = latency.run(bench)
    assert [row.name for row in rows] == ["latency (p50)", "latency (p99)"]
    assert all(row.figure > 0 < row.reference and row.at_most for row in rows)


@pytest.mark.services
def test_feedback_measures_a_feeder_beside_bare_upserts(bench: Bench) -> None:
    (row,) = feedback.run(bench)
    assert row.figure > 0 < row.reference
    assert "250 events" in row.note


@pytest.mark.services
def test_slow_hosts_measures_those_that_answer_with_and_without_the_others(bench: Bench) -> None:
    pages, singles = slow_hosts.run(bench)
    assert min(pages.figure, pages.reference, singles.figure, singles.reference) > 0
    assert "40 webhooks in messages of 1,000 to 20 hosts" in pages.note
    assert "40 webhooks in messages of 1 to 20 hosts" in singles.note


@pytest.mark.services
def test_outage_measures_others_while_deliveries_wait_for_a_host_that_is_down(bench: Bench) -> None:
    (row,) = outage.run(bench)
    assert row.figure > 0 < row.reference
    assert "20 webhooks at a time while 20 wait" in row.note


def test_a_row_compares_medians_with_its_target(tmp_path: Path) -> None:
    met = table.row("some", "x/s", [3, 1, 2], [4, 4, 100], 0.5, "a note")
    missed = table.row("other", "x/s", [1], [4], 0.5, "a note")
    assert (met.figure, met.reference, met.ratio, met.verdict, missed.verdict) == (2, 4, 0.5, "met", "missed")
    table.write([met, missed], tmp_path / "bench.json")
    assert [row["name"] for row in json.loads((tmp_path / "bench.json").read_text())] == ["some", "other"]
    line = table.rendered([met, missed]).splitlines()[2]
    assert line.split() == ["other", "1", "x/s", "4", "x/s", "0.25", "0.5", "missed"]


def test_a_row_may_have_a_ratio_that_must_not_be_exceeded() -> None:
    met = table.row("some", "ms", [3.24], [1.2], 3, "a note", at_most=True)
    missed = table.row("other", "ms", [5], [1], 3, "a note", at_most=True)
    assert (met.verdict, missed.verdict) == ("met", "missed")
    line = table.rendered([met, missed]).splitlines()[1]
    assert line.split() == ["some", "3.24", "ms", "1.2", "ms", "2.70", "at", "most", "3", "met"]
