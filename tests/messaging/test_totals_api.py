"""GET /api/v1/totals."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from feedback import rollups
from feedback import services as feedback
from feedback.events import DeliveryEvent, Status, delivery_id
from sprayer_project.ids import new_id
from tests.conftest import TenantUnderTest

pytestmark = [pytest.mark.services, pytest.mark.django_db]

NOW = datetime.now(UTC)
PAST = (NOW - timedelta(hours=3)).replace(minute=10, second=0, microsecond=0)


def deliver(receiver: str, mode: str = "live", channel: str = "sms", at: datetime = PAST) -> None:
    message = new_id("msg", at)
    feedback.write(
        [
            DeliveryEvent(
                tenant="acme",
                mode=mode,
                message=message,
                delivery=delivery_id(message, receiver, channel, None),
                receiver=receiver,
                channel=channel,
                status=Status.DELIVERED,
                at=at + timedelta(milliseconds=300),
            )
        ]
    )


def totals(tenant: TenantUnderTest, status: int = 200, key: str | None = None, **query: str) -> dict[str, Any]:
    answer = Client().get("/api/v1/totals", query, headers=tenant.headers(key))
    assert answer.status_code == status, answer.content
    return dict(answer.json())


def test_totals_over_time_are_the_tenants_own_by_mode_channel_and_period(
    acme: TenantUnderTest, globex: TenantUnderTest
) -> None:
    deliver("ann")
    deliver("bob", channel="email")
    deliver("ann", mode="test")
    while rollups.roll_up(100, NOW + timedelta(hours=1)):
        pass
    hour = PAST.replace(minute=0).isoformat().replace("+00:00", "Z")
    found = totals(acme)
    assert [(row["start"], row["channels"]) for row in found["data"]] == [
        (hour, {"sms": {"delivered": 1}, "email": {"delivered": 1}})
    ]
    assert found["channels"] == {"email": {"delivered": 1}, "sms": {"delivered": 1}}
    assert found["latency"]["sms"]["delivered"]["count"] == 1
    assert 180 < found["latency"]["sms"]["delivered"]["p99"] < 430
    since = (PAST - timedelta(minutes=1)).isoformat()
    minutes = totals(acme, interval="minute", since=since, channel="email")
    assert minutes["channels"] == {"email": {"delivered": 1}}
    assert totals(acme, key=acme.test_key)["channels"] == {"sms": {"delivered": 1}}
    assert totals(globex)["data"] == []


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"interval": "week"}, "?interval"),
        ({"since": "yesterday"}, "?since"),
        ({"interval": "minute", "since": "2026-01-01T00:00:00Z"}, "?since"),
    ],
)
def test_what_is_asked_wrongly_is_said(acme: TenantUnderTest, query: dict[str, str], pointer: str) -> None:
    assert [error["pointer"] for error in totals(acme, 400, **query)["errors"]] == [pointer]


def test_an_unknown_channel_is_refused(acme: TenantUnderTest) -> None:
    assert totals(acme, 400, channel="pigeon")["code"] == "unknown_channel"
