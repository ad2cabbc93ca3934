"""The console's pages of messages, through Django's test client; nothing is dispatched."""

from datetime import UTC, datetime, timedelta

import pytest
from django.http import QueryDict
from django.test import Client

from feedback import services as feedback
from feedback.events import DeliveryEvent, Status, delivery_id
from messaging import selectors
from messaging.documents import Message
from messaging.forms import MessageFilter
from messaging.services import accept, cancel
from subscriptions.services import put_receiver
from tenants.models import User
from tenants.selectors import audit_entries
from tests.conftest import TenantUnderTest

pytestmark = pytest.mark.services


def _as(user: User | None) -> Client:
    assert user is not None
    client = Client()
    client.force_login(user)
    return client


def _text(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, path
    return answer.content.decode()


def _message(tenant: str = "acme", title: str = "Goal", receiver: str = "ann") -> str:
    put_receiver(tenant, receiver)
    body = {"to": {"receivers": [receiver]}, "channels": ["websocket"], "content": {"title": title}}
    return accept(tenant, "test", body).id


def _delivery(message: str, status: Status, **changes: object) -> str:
    identifier = delivery_id(message, "ann", "sms", "h")
    event = DeliveryEvent(
        tenant="acme",
        mode="test",
        message=message,
        delivery=identifier,
        receiver="ann",
        channel="sms",
        status=status,
        at=datetime.now(UTC),
        attempt=1,
        address_hash="h",
        address_masked="+34*****001",
        expires_at=datetime.now(UTC) + timedelta(hours=1),
        **changes,  # type: ignore[arg-type]
    )
    feedback.write([event])
    return identifier


def test_an_empty_list_says_how_to_send(acme: TenantUnderTest) -> None:
    page = _text(_as(acme.owner), "/t/acme/messages")
    assert "No message yet" in page and "curl http" in page


def test_the_list_shows_a_tenants_messages(acme: TenantUnderTest) -> None:
    message = _message()
    page = _text(_as(acme.viewer), "/t/acme/messages")
    assert message in page and "Goal" in page and "Send a message" not in page


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("receiver=ann", True),
        ("receiver=bea", False),
        ("find=receiver&q=ann", True),
        ("find=group&q=ann", False),
        ("mode=live", False),
        ("status=cancelled", False),
        ("find=key&q=order-17", True),
        ("find=key&q=order-18", False),
        ("find=address&q=%2B1+202+555+0001", True),
        ("find=address&q=%2B12025550002", False),
        ("find=address&q=nowhere", False),
        ("q=msg_nothing", False),
    ],
)
def test_filters_narrow_the_list(acme: TenantUnderTest, query: str, found: bool) -> None:
    put_receiver("acme", "ann")
    to = {"receivers": ["ann"], "addresses": [{"channel": "sms", "address": "+12025550001"}]}
    message = accept("acme", "test", {"to": to, "content": {"title": "Goal"}}, "order-17").id
    assert (message in _text(_as(acme.viewer), f"/t/acme/messages?{query}")) is found


def test_an_id_that_is_looked_for_leads_to_its_page(acme: TenantUnderTest, globex: TenantUnderTest) -> None:
    message = _message()
    delivery = _delivery(message, Status.SENT)
    for query, place in (
        (f"q={message}", f"/t/acme/messages/{message}"),
        (f"find=id&q={delivery}", f"/t/acme/deliveries/{delivery}"),
    ):
        assert _as(acme.viewer).get(f"/t/acme/messages?{query}").headers["Location"] == place
        assert "No message fits" in _text(_as(globex.owner), f"/t/globex/messages?{query}")


def test_a_time_filter_is_in_the_viewers_zone(db: None) -> None:
    asked = QueryDict("since=2026-07-01T12:00&zone=Europe/Madrid")
    assert MessageFilter(asked, "acme").values()["since"] == datetime(2026, 7, 1, 10, 0, tzinfo=UTC)


def test_a_broken_cursor_is_a_bad_request(acme: TenantUnderTest) -> None:
    assert _as(acme.owner).get("/t/acme/messages?cursor=!!").status_code == 400


def test_older_messages_are_on_the_next_page(acme: TenantUnderTest) -> None:
    ids = [_message(title=f"n{number}") for number in range(26)]
    client = _as(acme.owner)
    first = _text(client, "/t/acme/messages")
    assert ids[0] not in first and ids[25] in first
    cursor = first.split("?cursor=")[1].split('"')[0]
    assert ids[0] in _text(client, f"/t/acme/messages?cursor={cursor}")


def test_a_message_page_shows_totals_and_the_masked_address(acme: TenantUnderTest) -> None:
    message = _message()
    _delivery(message, Status.DELIVERED)
    page = _text(_as(acme.owner), f"/t/acme/messages/{message}")
    assert 'aria-label="1 delivered"' in page and "+34*****001" in page


def test_a_settled_message_asks_for_no_more_news(acme: TenantUnderTest) -> None:
    message = _message()
    moving = f"/t/acme/messages/{message}/live"
    client = _as(acme.owner)
    assert "hx-trigger" in _text(client, moving)
    cancel("acme", "test", message)
    assert "hx-trigger" not in _text(client, moving)


def test_cancelling_stops_what_is_not_yet_sent(acme: TenantUnderTest) -> None:
    message = _message()
    client = _as(acme.owner)
    assert "Cancel this message?" in _text(client, f"/t/acme/messages/{message}")
    answer = client.post(f"/t/acme/messages/{message}/cancel", follow=True).content.decode()
    assert "what was not yet sent stays unsent" in answer and "Cancel this message?" not in answer
    assert selectors.message("acme", "test", message).status == "cancelled"
    assert [entry.action for entry in audit_entries("acme").filter(target=message)] == ["message.cancelled"]


def test_what_is_over_is_not_cancelled(acme: TenantUnderTest) -> None:
    message = _message()
    Message.objects(id=message).update(status="expired")
    answer = _as(acme.owner).post(f"/t/acme/messages/{message}/cancel", follow=True)
    assert "nothing is left to cancel" in answer.content.decode()


def test_a_viewer_neither_cancels_nor_sends_again(acme: TenantUnderTest) -> None:
    message = _message()
    client = _as(acme.viewer)
    page = _text(client, f"/t/acme/messages/{message}")
    assert "Cancel the message" not in page and "Send again" not in page
    assert client.post(f"/t/acme/messages/{message}/cancel").status_code == 403
    assert selectors.message("acme", "test", message).status != "cancelled"


def test_a_delivery_under_way_asks_for_news_until_it_is_over(acme: TenantUnderTest) -> None:
    message = _message()
    delivery = _delivery(message, Status.DEFERRED, due_at=datetime.now(UTC) + timedelta(minutes=5))
    client, moving = _as(acme.viewer), f"/t/acme/deliveries/{delivery}/live"
    assert "hx-trigger" in _text(client, moving)
    _delivery(message, Status.FAILED, reason="invalid_address")
    assert "hx-trigger" not in _text(client, moving)


def test_a_timeline_shows_the_providers_answer(acme: TenantUnderTest) -> None:
    delivery = _delivery(_message(), Status.FAILED, reason="invalid_address", detail={"code": 21211})
    page = _text(_as(acme.owner), f"/t/acme/deliveries/{delivery}")
    assert "invalid_address" in page and "21211" in page and "Retry" in page


def test_a_viewer_may_not_retry(acme: TenantUnderTest) -> None:
    delivery = _delivery(_message(), Status.FAILED)
    client = _as(acme.viewer)
    assert "Retry" not in _text(client, f"/t/acme/deliveries/{delivery}")
    assert client.post(f"/t/acme/deliveries/{delivery}/retry").status_code == 403


def test_a_retry_opens_a_round(acme: TenantUnderTest) -> None:
    delivery = _delivery(_message(), Status.FAILED)
    client = _as(acme.owner)
    client.post(f"/t/acme/deliveries/{delivery}/retry")
    assert "round 2" in _text(client, f"/t/acme/deliveries/{delivery}")
    entry = audit_entries("acme")[0]
    assert (entry.action, entry.target, entry.by) == ("delivery.retried", delivery, acme.owner)


def test_a_delivered_delivery_is_not_retried(acme: TenantUnderTest) -> None:
    delivery = _delivery(_message(), Status.DELIVERED)
    answer = _as(acme.owner).post(f"/t/acme/deliveries/{delivery}/retry", follow=True)
    assert "nothing to retry" in answer.content.decode()


def test_a_stranger_finds_nothing(acme: TenantUnderTest, globex: TenantUnderTest) -> None:
    message = _message()
    delivery = _delivery(message, Status.FAILED)
    client = _as(globex.owner)
    paths = ["messages", "messages/rows", f"messages/{message}", f"messages/{message}/live", "send"]
    for tenant in ("acme", "globex"):
        for path in [*paths[2:4], f"deliveries/{delivery}"]:
            assert client.get(f"/t/{tenant}/{path}").status_code == 404
    assert [client.get(f"/t/acme/{path}").status_code for path in paths] == [404] * len(paths)
    assert client.post(f"/t/globex/deliveries/{delivery}/retry").status_code == 404
