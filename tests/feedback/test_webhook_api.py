"""Feedback webhooks over REST."""

import json
from typing import Any

import pytest
from django.test import Client
from standardwebhooks import Webhook as Verifier

from feedback import webhooks
from feedback.models import Webhook
from feedback.webhook_events import PATTERNS
from sprayer_project import signatures, worker
from tenants import encryption, selectors, services
from tests.conftest import TenantUnderTest
from tests.feedback.hooks import endpoint
from tests.feedback.stories import event

pytestmark = [pytest.mark.services, pytest.mark.django_db]

URL = "https://hooks.example.com/sprayer?token=abc"
PATH = "/api/v1/webhooks"


def call(who: TenantUnderTest, method: str, path: str = "", body: Any = None, key: str | None = None) -> Any:
    content = b"" if body is None else json.dumps(body).encode()
    return Client().generic(method, PATH + path, content, "application/json", headers=who.headers(key))


def created(who: TenantUnderTest, key: str | None = None, **values: Any) -> dict[str, Any]:
    answer = call(who, "POST", "", {"url": URL} | values, key)
    assert answer.status_code == 201, answer.content
    found: dict[str, Any] = answer.json()
    return found


def test_a_webhook_is_made_shown_without_its_secret_changed_and_removed(acme: TenantUnderTest) -> None:
    body = created(acme, events=["delivery.failed", "delivery.bounced", "delivery.failed"])
    secret = body.pop("secret")
    assert signatures.secret_key(secret)
    assert body["events"] == ["delivery.failed", "delivery.bounced"] and body["url"] == URL
    assert (body["mode"], body["enabled"], body["failing_since"], body["dropped"]) == ("live", True, None, 0)
    path = f"/{body['id']}"
    assert call(acme, "GET", path).json() == body
    assert call(acme, "GET").json() == {"data": [body], "next_cursor": None}
    changed = call(acme, "PATCH", path, {"events": ["delivery.*"], "enabled": False}).json()
    assert (changed["events"], changed["enabled"], changed["disabled_reason"]) == (["delivery.*"], False, "off")
    assert call(acme, "PATCH", path, {"enabled": True}).json()["disabled_at"] is None
    assert call(acme, "DELETE", path).status_code == 204
    assert call(acme, "GET", path).status_code == 404
    actions = list(selectors.audit_entries("acme").filter(target=body["id"]).values_list("action", "detail", "by_key"))
    assert [action for action, *_ in actions][::-1] == [
        *("webhook.created", "webhook.changed", "webhook.changed", "webhook.deleted")
    ]
    assert all(key and "token" not in str(detail) and secret not in str(detail) for _, detail, key in actions)


def test_the_secret_is_encrypted_at_rest_and_rotated_with_all_the_others(acme: TenantUnderTest) -> None:
    body = created(acme)
    stored = Webhook.objects.get(id=body["id"])
    assert body["secret"] not in stored.encrypted_values
    assert encryption.rotate_stored() >= 1
    again = Webhook.objects.get(id=body["id"])
    assert again.encrypted_values != stored.encrypted_values
    assert webhooks.target_of(again).secrets == (body["secret"],)


def test_a_new_secret_overlaps_with_the_old_one_as_long_as_asked(acme: TenantUnderTest) -> None:
    body = created(acme)
    path = f"/{body['id']}/rotate"
    first = call(acme, "POST", path, {}).json()
    assert first["previous_secret_until"] > first["created_at"]
    row = Webhook.objects.get(id=body["id"])
    assert webhooks.target_of(row).secrets == (first["secret"], body["secret"])
    second = call(acme, "POST", path, {"overlap": 0}).json()
    row.refresh_from_db()
    assert second["previous_secret_until"] is None and webhooks.target_of(row).secrets == (second["secret"],)
    assert call(acme, "POST", path, {"overlap": 604_801}).status_code == 400


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/url"),
        ({"url": "ftp://hooks.example.com/"}, "/url"),
        ({"url": "https://user:password@hooks.example.com/"}, "/url"),
        ({"url": "http://127.0.0.1:9/"}, "/url"),
        ({"url": "http://localhost/"}, "/url"),
        ({"url": "http://[::1]/"}, "/url"),
        ({"url": "http://169.254.169.254/latest"}, "/url"),
        ({"url": URL, "events": []}, "/events"),
        ({"url": URL, "events": ["delivery.*", "delivery.lost"]}, "/events/1"),
        ({"url": URL, "events": "delivery.*"}, "/events"),
        ({"url": URL, "mode": "test"}, "/mode"),
    ],
)
def test_bad_input_is_refused_at_its_field_and_makes_nothing(acme: TenantUnderTest, body: Any, pointer: str) -> None:
    answer = call(acme, "POST", "", body)
    assert answer.status_code == 400
    assert pointer in [found["pointer"] for found in answer.json()["errors"]]
    assert not Webhook.objects.exists()


def test_patching_to_a_private_address_is_refused_and_changes_nothing(acme: TenantUnderTest) -> None:
    body = created(acme)
    assert call(acme, "PATCH", f"/{body['id']}", {"url": "http://10.0.0.1/", "enabled": False}).status_code == 400
    stored = Webhook.objects.get(id=body["id"])
    assert stored.url == URL and stored.enabled


def test_a_key_sees_and_makes_webhooks_of_its_own_tenant_and_mode(
    acme: TenantUnderTest, globex: TenantUnderTest
) -> None:
    live, test = created(acme), created(acme, acme.test_key)
    assert test["mode"] == "test"
    for who, key, own in ((acme, acme.key, live["id"]), (acme, acme.test_key, test["id"]), (globex, globex.key, None)):
        assert [row["id"] for row in call(who, "GET", key=key).json()["data"]] == ([own] if own else [])
        for strange in {live["id"], test["id"]} - {own}:
            asked = [
                ("GET", ""),
                ("PATCH", ""),
                ("DELETE", ""),
                ("POST", "/rotate"),
                ("POST", "/test"),
                ("GET", "/log"),
            ]
            for method, more in asked:
                assert call(who, method, f"/{strange}{more}", {}, key).status_code == 404
    assert Webhook.objects.count() == 2


def test_webhooks_need_the_scope_admin(acme: TenantUnderTest) -> None:
    _, plain = services.create_api_key("acme", "live", ["messages:send", "messages:read"])
    assert call(acme, "GET", key=plain).status_code == 403
    assert call(acme, "POST", "", {"url": URL}, plain).status_code == 403


def test_there_is_a_most_and_a_cursor(acme: TenantUnderTest) -> None:
    ids = [created(acme)["id"] for _ in range(webhooks.MOST)]
    answer = call(acme, "POST", "", {"url": URL})
    assert (answer.status_code, answer.json()["code"]) == (409, "too_many_webhooks")
    first = call(acme, "GET", "?limit=15").json()
    second = call(acme, "GET", f"?limit=15&cursor={first['next_cursor']}").json()
    assert [row["id"] for row in first["data"] + second["data"]] == ids[::-1] and second["next_cursor"] is None
    assert call(acme, "GET", "?cursor=x").status_code == 400


@pytest.mark.django_db(transaction=True)
async def test_the_test_button_answers_what_came_back_and_logs_it(acme: TenantUnderTest) -> None:
    async with endpoint() as opened:
        opened.answers = [(418, {})]
        body = await worker.in_thread(created, acme, url=opened.url)
        answer = (await worker.in_thread(call, acme, "POST", f"/{body['id']}/test")).json()
        (got,) = opened.got
    assert (answer["status"], answer["error"], answer["events"], answer["id"]) == (418, None, 0, got.id)
    assert Verifier(body["secret"]).verify(got.body, got.headers)["type"] == "webhook.test"
    log = (await worker.in_thread(call, acme, "GET", f"/{body['id']}/log")).json()
    assert log == {"data": [answer], "next_cursor": None}
    shown = (await worker.in_thread(call, acme, "GET", f"/{body['id']}")).json()
    assert shown["failing_since"] is None
    gone = (await worker.in_thread(call, acme, "POST", f"/{body['id']}/test")).json()
    assert (gone["status"], gone["error"]) == (None, "blocked_address")


def test_every_status_and_fact_has_a_pattern() -> None:
    assert "delivery.*" in PATTERNS and "delivery.opened" in PATTERNS
    assert {f"delivery.{status}" for status in type(event().status)} <= set(PATTERNS)
