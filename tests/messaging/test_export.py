"""Deliveries as files: complete, streamed, harmless in a spreadsheet."""

import csv
import io
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from asgiref.sync import sync_to_async
from django.http import StreamingHttpResponse
from django.test import AsyncClient, Client

from feedback import export, search
from feedback import services as feedback
from feedback.events import DeliveryEvent, Status, delivery_id
from feedback.selectors import delivery
from feedback.serializers import row_body
from messaging.services import accept
from subscriptions import services as subscriptions
from tests.conftest import TenantUnderTest

pytestmark = [pytest.mark.services, pytest.mark.django_db]


def sent(count: int, receiver: str = "r", **fields: Any) -> str:
    """A message and its deliveries in the record."""
    subscriptions.put_receiver("acme", "ann")
    body = {"to": {"receivers": ["ann"]}, "channels": ["websocket"], "content": {"title": "Hello"}}
    message = accept("acme", "live", body).id
    now = datetime.now(UTC)
    values: dict[str, Any] = {"status": Status.DELIVERED, "attempt": 1} | fields
    events = [
        DeliveryEvent(
            tenant="acme",
            mode="live",
            message=message,
            delivery=delivery_id(message, f"{receiver}{number}", "websocket", None),
            receiver=f"{receiver}{number}",
            channel="websocket",
            at=now,
            **values,
        )
        for number in range(count)
    ]
    feedback.write(events)
    return message


def fetched(tenant: TenantUnderTest, path: str, key: str = "", **query: str) -> Any:
    return Client().get(f"/api/v1/{path}", query, headers=tenant.headers(key or tenant.key) | {"Accept": "text/csv"})


def content(answer: Any) -> str:
    assert answer.status_code == 200, answer.content
    assert answer.streaming
    return b"".join(answer.streaming_content).decode()


def test_every_row_of_several_pages_is_there_once(acme: TenantUnderTest) -> None:
    count = 2 * export.PAGE + 1
    message = sent(count)
    sent(1)
    lines = list(csv.DictReader(io.StringIO(content(fetched(acme, f"messages/{message}/deliveries.csv")))))
    assert len({line["id"] for line in lines}) == len(lines) == count
    assert {line["status"] for line in lines} == {"delivered"}
    objects = content(fetched(acme, f"messages/{message}/deliveries.ndjson")).splitlines()
    assert [json.loads(line)["id"] for line in objects] == [line["id"] for line in lines]


def test_a_line_is_what_the_api_answers(acme: TenantUnderTest) -> None:
    message = sent(1)
    (line,) = content(fetched(acme, f"messages/{message}/deliveries.ndjson")).splitlines()
    row = delivery("acme", "live", json.loads(line)["id"]).row
    assert json.loads(line) == json.loads(json.dumps(row_body(row)))
    (cells,) = csv.DictReader(io.StringIO(content(fetched(acme, f"messages/{message}/deliveries.csv"))))
    assert cells["delivered_at"] == json.loads(line)["times"]["delivered"] and cells["dead"] == "false"


@pytest.mark.parametrize("receiver", ["=cmd|'/c calc'!A", "+1", "-1", "@SUM(A1)", 'a"b,c'])
def test_no_cell_is_a_formula(acme: TenantUnderTest, receiver: str) -> None:
    message = sent(1, receiver=receiver, address_masked="+34*****001")
    (cells,) = csv.DictReader(io.StringIO(content(fetched(acme, f"messages/{message}/deliveries.csv"))))
    assert not [cell for cell in cells.values() if cell.startswith(("=", "+", "-", "@"))]
    assert cells["receiver"].removeprefix("'") == f"{receiver}0"
    assert cells["address"] == "'+34*****001"


def test_a_period_is_exported_with_filters(acme: TenantUnderTest) -> None:
    old, failed = sent(1), sent(1, "f", status=Status.FAILED, reason="gone")
    hour_ago = (datetime.now(UTC) - timedelta(hours=1)).isoformat()

    def messages(**query: str) -> list[str]:
        lines = content(fetched(acme, "deliveries/export", format="ndjson", **query)).splitlines()
        return [json.loads(line)["message"] for line in lines]

    assert messages(since=hour_ago) == [old, failed]
    assert messages(since=hour_ago, status="failed") == [failed]
    assert messages(since=hour_ago, until=hour_ago) == []
    assert content(fetched(acme, "deliveries/export", format="csv", since=hour_ago, until=hour_ago)).startswith("id,")


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"since": "2026-11-01T00:00:00Z"}, "?format"),
        ({"format": "xls", "since": "2026-11-01T00:00:00Z"}, "?format"),
        ({"format": "csv"}, "?since"),
        ({"format": "csv", "since": "2026-11-01T00:00:00Z", "status": "arrived"}, "?status"),
    ],
)
def test_what_is_asked_wrongly_is_said_before_anything_is_sent(
    acme: TenantUnderTest, query: dict[str, str], pointer: str
) -> None:
    answer = fetched(acme, "deliveries/export", **query)
    assert answer.status_code == 400 and answer.json()["errors"][0]["pointer"] == pointer


def test_another_tenant_and_the_other_mode_find_nothing(acme: TenantUnderTest, globex: TenantUnderTest) -> None:
    message = sent(1)
    for kind in ("csv", "ndjson"):
        assert fetched(globex, f"messages/{message}/deliveries.{kind}").status_code == 404
        assert fetched(acme, f"messages/{message}/deliveries.{kind}", acme.test_key).status_code == 404
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    assert content(fetched(globex, "deliveries/export", format="ndjson", since=since)) == ""


def test_a_page_is_read_when_the_one_before_has_left(acme: TenantUnderTest) -> None:
    message = sent(export.PAGE + 1)
    chunks = export.FORMATS["ndjson"].write(export.pages("acme", "live", search.Wanted(message=message), ["websocket"]))
    assert next(chunks).count(b"\n") == export.PAGE
    feedback.write([after_the_first_page(message)])
    assert next(chunks).count(b"\n") == 2


def after_the_first_page(message: str) -> DeliveryEvent:
    """A delivery with the last id that a message can have."""
    return DeliveryEvent(
        tenant="acme",
        mode="live",
        message=message,
        delivery=f"dlv_{message[4:]}{'f' * 16}",
        receiver="late",
        channel="websocket",
        status=Status.SENT,
        at=datetime.now(UTC),
    )


@pytest.mark.django_db(transaction=True)
async def test_under_asgi_the_answer_is_a_stream_too(acme: TenantUnderTest) -> None:
    message = await sync_to_async(sent)(export.PAGE + 1)
    path = f"/api/v1/messages/{message}/deliveries.ndjson"
    answer = cast(StreamingHttpResponse, await AsyncClient().get(path, headers=acme.headers()))
    assert answer.is_async
    chunks = [chunk async for chunk in cast(AsyncIterator[bytes], answer.streaming_content)]
    assert [chunk.count(b"\n") for chunk in chunks] == [export.PAGE, 1]


def test_the_console_exports_a_message(acme: TenantUnderTest, globex: TenantUnderTest) -> None:
    message = sent(2)
    client = Client()
    assert acme.viewer is not None
    client.force_login(acme.viewer)
    page = client.get(f"/t/acme/messages/{message}").content.decode()
    assert f"/t/acme/messages/{message}/deliveries.csv" in page
    answer: Any = client.get(f"/t/acme/messages/{message}/deliveries.csv")
    assert content(answer).count("\r\n") == 3
    assert answer["Content-Disposition"] == f'attachment; filename="{message}.csv"'
    client.force_login(globex.owner)
    assert client.get(f"/t/acme/messages/{message}/deliveries.csv").status_code == 404
