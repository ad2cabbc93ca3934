"""What is kept of a tenant's API requests, and the console's page of them."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from sprayer_project import redis, tail
from sprayer_project.tail import Tail
from subscriptions.services import put_receiver
from tenants import activity
from tenants.activity import Request
from tenants.models import User
from tests.conftest import TenantUnderTest

pytestmark = [pytest.mark.services, pytest.mark.django_db]

MESSAGE = {"channels": ["websocket"], "content": {"title": "a-secret-title"}}


def any_of(row: Request) -> bool:
    return True


def kept(tenant: str = "acme", wanted: Callable[[Request], bool] = any_of) -> list[Request]:
    assert activity.flush()
    return activity.requests(tenant, wanted, None, 100).data


def stored(wanted: Tail | None = None) -> list[str]:
    """Oldest first, as it is in Redis."""
    return [str(entry) for entry in reversed(tail.newest(wanted or activity.requests_of("acme"), None, 1_000))]


def send(client: Client, tenant: TenantUnderTest, receiver: str = "ann", idempotency_key: str = "") -> Any:
    body = json.dumps(MESSAGE | {"to": {"receivers": [receiver]}})
    headers = tenant.headers() | ({"Idempotency-Key": idempotency_key} if idempotency_key else {})
    return client.post("/api/v1/messages", body, content_type="application/json", headers=headers)


def browser(user: User | None) -> Client:
    assert user is not None
    client = Client()
    client.force_login(user)
    return client


def page(client: Client, path: str = "") -> str:
    assert activity.flush()
    answer = client.get(f"/t/acme/requests{path}")
    assert answer.status_code == 200
    return answer.content.decode()


def test_a_request_is_kept_under_the_id_that_its_answer_had(client: Client, acme: TenantUnderTest) -> None:
    put_receiver("acme", "ann")
    answer = send(client, acme, idempotency_key="order-17")
    (row,) = kept()
    assert (row.id, row.method, row.path) == (answer["X-Request-Id"], "POST", "/api/v1/messages")
    assert (row.status, row.mode, row.code, row.idempotency_key) == (202, "live", "", "order-17")
    assert (row.message, row.messages) == (answer.json()["id"], 1)
    assert acme.key.startswith(row.key_prefix) and row.key_name == "first key" and row.ms > 0
    assert kept("globex") == []


def test_nothing_of_a_body_nor_a_name_or_secret_is_kept(client: Client, acme: TenantUnderTest) -> None:
    put_receiver("acme", "ann")
    identifier = send(client, acme).json()["id"]
    client.get(f"/api/v1/messages/{identifier}/explain?receiver=a-secret-receiver", headers=acme.headers())
    client.get("/api/v1/receivers/a-secret-receiver/presence", headers=acme.headers())
    client.get("/api/v1/messages/a-secret-message", headers=acme.headers())
    paths = [row.path for row in kept()]
    assert paths == [
        "/api/v1/messages/{message}",
        "/api/v1/receivers/{receiver}/presence",
        f"/api/v1/messages/{identifier}/explain",
        "/api/v1/messages",
    ]
    everything = stored() + stored(activity.messages_of("acme"))
    assert len(everything) == 5
    assert not any("a-secret" in text or acme.key in text for text in everything)


def test_a_refusal_is_kept_with_its_code_and_who_has_no_key_leaves_nothing(
    client: Client, acme: TenantUnderTest
) -> None:
    assert send(client, acme, "nobody").status_code == 400
    assert client.get("/api/v1/messages", headers={"Authorization": "Bearer spr_live_nonsense"}).status_code == 401
    (row,) = kept()
    assert (row.status, row.code, row.message) == (400, "unknown_target", "")


def test_a_failure_of_ours_is_kept_as_one(acme: TenantUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **more: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("messaging.api.selectors.messages", broken)
    answer = Client(raise_request_exception=False).get("/api/v1/messages", headers=acme.headers())
    assert answer.status_code == 500
    assert [row.status for row in kept()] == [500]


def test_only_the_newest_stay(client: Client, acme: TenantUnderTest, settings: Settings) -> None:
    settings.REQUEST_LOG = 100
    for number in range(450):
        activity.note_request("acme", {"id": str(number), "method": "GET"})
    assert activity.flush()
    # Redis cuts whole nodes of a hundred entries.
    assert 100 <= len(stored()) <= 200
    settings.REQUEST_LOG = 0
    activity.note_request("acme", {"id": "451", "method": "GET"})
    assert activity.flush()
    assert "449" in stored()[-1]


def test_pages_follow_one_another_whatever_arrives_meanwhile(acme: TenantUnderTest, client: Client) -> None:
    for _ in range(5):
        client.get("/api/v1/messages", headers=acme.headers())
    names = [row.id for row in kept()]
    first = activity.requests("acme", any_of, None, 2)
    client.get("/api/v1/groups", headers=acme.headers())
    assert activity.flush()
    second = activity.requests("acme", any_of, first.next_cursor, 2)
    third = activity.requests("acme", any_of, second.next_cursor, 2)
    assert [row.id for found in (first, second, third) for row in found.data] == names
    assert third.next_cursor is None


def test_the_page_shows_the_tenants_requests_to_its_people_alone(
    client: Client, acme: TenantUnderTest, globex: TenantUnderTest
) -> None:
    alice = browser(acme.owner)
    assert "No request yet" in page(alice)
    put_receiver("acme", "ann")
    message = send(client, acme).json()["id"]
    client.get("/api/v1/groups", headers=acme.headers(acme.test_key))
    for member in (alice, browser(acme.viewer)):
        text = page(member)
        assert f"/t/acme/messages/{message}" in text and "/api/v1/groups" in text and acme.key not in text
    charlie = browser(globex.owner)
    for path in ("", "/rows"):
        assert charlie.get(f"/t/acme/requests{path}").status_code == 404
        assert charlie.get(f"/t/globex/requests{path}").status_code == 200
    assert message not in charlie.get("/t/globex/requests").content.decode()


def test_requests_are_found_by_every_filter(client: Client, acme: TenantUnderTest) -> None:
    put_receiver("acme", "ann")
    sent = send(client, acme, idempotency_key="order-17")
    client.get("/api/v1/groups", headers=acme.headers(acme.test_key))
    send(client, acme, "nobody")
    alice = browser(acme.owner)
    keys = {row.mode: row.key for row in kept()}
    ids = {row.status: row.id for row in kept()}
    for query, shown in (
        ("status=4", {400}),
        ("status=2&method=GET", {200}),
        (f"key={keys['test']}", {200}),
        ("path=messages", {202, 400}),
        (f"id={sent['X-Request-Id']}", {202}),
        ("idempotency_key=order-17", {202}),
        ("status=5", set()),
    ):
        text = page(alice, f"?{query}")
        assert {status for status, identifier in ids.items() if f">{identifier}<" in text} == shown, query
        assert bool(shown) is ("No request fits" not in text)


def test_an_idempotency_key_leads_to_its_message_also_without_a_request(acme: TenantUnderTest, client: Client) -> None:
    put_receiver("acme", "ann")
    message = send(client, acme, idempotency_key="order-17").json()["id"]
    assert activity.flush()
    redis.client("acme").delete(activity.requests_of("acme").keys[0])
    alice = browser(acme.owner)
    assert f'href="/t/acme/messages/{message}"' in page(alice, "?idempotency_key=order-17")
    assert "No message holds the idempotency key" in page(alice, "?idempotency_key=order-18")
