import pytest
from django.test import Client

from feedback import services
from feedback.events import Status
from tests.conftest import TenantUnderTest
from tests.feedback.stories import event

pytestmark = [pytest.mark.services]


def test_a_delivery_shows_its_row_and_its_timeline(client: Client, acme: TenantUnderTest) -> None:
    sent = event(status=Status.SENT, attempt=1, provider="twilio", provider_id="SM1", detail={"http_status": 201})
    services.write([sent, event(status=Status.DELIVERED, seconds=2.5)])
    answer = client.get(f"/api/v1/deliveries/{sent.delivery}", headers=acme.headers())
    assert answer.status_code == 200
    body = answer.json()
    timeline = body.pop("timeline")
    assert body == {
        "id": sent.delivery,
        "message": sent.message,
        "receiver": "alice",
        "channel": "sms",
        "group": None,
        "status": "delivered",
        "reason": None,
        "round": 1,
        "address": "+34*****001",
        "attempts": 1,
        "provider": "twilio",
        "provider_id": "SM1",
        "due_at": None,
        "expires_at": "2026-11-02T12:00:00.000Z",
        "dead": False,
        "times": {"sent": "2026-11-01T12:00:00.000Z", "delivered": "2026-11-01T12:00:02.500Z"},
    }
    assert [(entry["status"], entry["attempt"]) for entry in timeline] == [("sent", 1), ("delivered", None)]
    assert timeline[0]["event_id"] == sent.event and timeline[0]["answer"] == {"http_status": 201}


def test_a_stranger_gets_404_for_a_delivery(client: Client, acme: TenantUnderTest, globex: TenantUnderTest) -> None:
    services.write([event()])
    path = f"/api/v1/deliveries/{event().delivery}"
    assert client.get(path, headers=globex.headers()).status_code == 404
    assert client.get(path).status_code == 401


def test_a_test_key_sees_test_deliveries_only(client: Client, acme: TenantUnderTest) -> None:
    services.write([event("live"), event("test", mode="test")])
    headers = acme.headers(acme.test_key)
    assert client.get(f"/api/v1/deliveries/{event('live').delivery}", headers=headers).status_code == 404
    assert client.get(f"/api/v1/deliveries/{event('test').delivery}", headers=headers).status_code == 200
