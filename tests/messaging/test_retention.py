"""What is over for longer than a tenant keeps it goes, and nothing else does."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from pytest_django import Settings

from feedback import pruning, selectors
from feedback import services as feedback
from feedback.documents import ParkedEvent
from feedback.events import DeliveryEvent, Status, delivery_id
from messaging import retention, sweeper
from messaging.documents import Message, UndecodableJob
from messaging.services import accept
from sprayer_project.ids import new_id
from subscriptions import services as subscriptions
from tenants.models import Tenant
from tests.conftest import TenantUnderTest

pytestmark = [pytest.mark.services, pytest.mark.django_db]


def over(days: float, tenant: str = "acme", mode: str = "live", rows: int = 1) -> str:
    """A message whose time to live was over so many days ago, and its deliveries by way of a group."""
    subscriptions.put_receiver(tenant, "ann")
    body = {"to": {"receivers": ["ann"]}, "channels": ["websocket"], "content": {}}
    message = accept(tenant, mode, body).id
    ended = datetime.now(UTC) - timedelta(days=days)
    Message._get_collection().update_one({"_id": message}, {"$set": {"expires_at": ended}})
    feedback.write([event(message, number, tenant, mode) for number in range(rows)])
    return message


def event(message: str, number: int = 0, tenant: str = "acme", mode: str = "live") -> DeliveryEvent:
    return DeliveryEvent(
        tenant=tenant,
        mode=mode,
        message=message,
        delivery=delivery_id(message, f"r{number}", "websocket", None),
        receiver=f"r{number}",
        channel="websocket",
        group="news",
        status=Status.SENT,
        at=datetime.now(UTC),
    )


def left() -> tuple[int, int, int]:
    """Messages, deliveries, summaries."""
    counted: Any = (Message._get_collection(), selectors.rows(), selectors.summaries())
    messages, rows, summaries = (collection.count_documents({}) for collection in counted)
    return messages, rows, summaries


def test_a_message_goes_with_its_rows_and_totals_when_its_days_are_over(
    acme: TenantUnderTest, settings: Settings
) -> None:
    settings.RETENTION_DAYS = 30
    young = over(29)
    over(31, rows=3)
    over(31, mode="test")
    assert left() == (3, 5, 3)
    while retention.prune():
        pass
    assert left() == (1, 1, 1)
    assert Message._get_collection().find_one({"_id": young})


def test_a_tenant_has_days_of_its_own(acme: TenantUnderTest, globex: TenantUnderTest, settings: Settings) -> None:
    settings.RETENTION_DAYS = 30
    Tenant.objects.filter(slug="acme").update(retention_days=7)
    Tenant.objects.filter(slug="globex").update(retention_days=0)
    over(8)
    kept = over(1000, "globex")
    retention.prune()
    assert left() == (1, 1, 1)
    assert Message._get_collection().find_one({"_id": kept})


def test_a_tenant_of_which_nothing_can_be_removed_holds_up_no_other(
    acme: TenantUnderTest, globex: TenantUnderTest, settings: Settings
) -> None:
    settings.RETENTION_DAYS = 30
    Tenant.objects.filter(slug="acme").update(retention_days=1_000_000)
    over(31, "globex")
    assert retention.prune()
    assert left() == (0, 0, 0)


def test_a_message_that_waits_for_its_time_stays(acme: TenantUnderTest, settings: Settings) -> None:
    settings.RETENTION_DAYS = 1
    old = new_id("msg", datetime.now(UTC) - timedelta(days=300))
    record = {"_id": old, "tenant": "acme", "mode": "live", "status": "scheduled"}
    later = {"expires_at": datetime.now(UTC) + timedelta(days=60)}
    Message._get_collection().insert_one(record | later)
    feedback.write([event(old)])
    retention.prune()
    assert left() == (1, 1, 1)


def test_a_large_message_goes_in_bounded_steps_and_itself_last(
    acme: TenantUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_ROWS", 4)
    over(100, rows=10)
    now = datetime.now(UTC)
    steps = [(retention.prune_tenant("acme", now), left()) for _ in range(4)]
    assert steps == [(4, (1, 6, 1)), (4, (1, 2, 1)), (3, (0, 0, 0)), (0, (0, 0, 0))]


def test_a_row_without_its_message_goes_when_no_message_of_its_time_can_be_left(
    acme: TenantUnderTest, settings: Settings
) -> None:
    settings.RETENTION_DAYS = 30
    now = datetime.now(UTC)
    orphan, may_be_scheduled = (new_id("msg", now - timedelta(days=days)) for days in (30 + 394, 30 + 390))
    feedback.write([event(orphan), event(may_be_scheduled)])
    assert retention.prune() == 1
    assert [row.message for row in map(selectors.row_of, selectors.rows().find())] == [may_be_scheduled]
    assert pruning.prune_older("globex", new_id("msg"), 10) == 0


def test_the_sweeper_prunes_and_what_nobody_prunes_has_a_limit_of_its_own(acme: TenantUnderTest) -> None:
    assert retention.prune in sweeper.EVERY_MINUTE
    for document in (ParkedEvent, UndecodableJob):
        indexes: Any = document._get_collection().index_information()
        assert [index for index in indexes.values() if "expireAfterSeconds" in index]


def test_the_models_and_the_migrations_agree(db: None) -> None:
    told = io.StringIO()
    call_command("makemigrations", "--check", "--dry-run", stdout=told)
    assert told.getvalue() == "No changes detected\n"
