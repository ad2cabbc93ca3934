"""What is nested too deep, or too far away in time, is refused as any bad input: no answer is a failure of ours."""

from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client

from messaging.channels.android import Android
from sprayer_project import json_text, paging
from sprayer_project.errors import Invalid
from subscriptions.services import put_receiver
from tests.conftest import TenantUnderTest
from tests.pages import client_of

pytestmark = pytest.mark.services

DEEP = '{"":' + "[" * 3_000
FORM = {"mode": "test", "receivers": "ann", "channels": ["webpush"], "idempotency_key": "once"}


def test_what_is_nested_too_deep_is_no_json() -> None:
    with pytest.raises(ValueError):
        json_text.parse(DEEP)


def test_a_cursor_that_is_nested_too_deep_is_none() -> None:
    with pytest.raises(Invalid):
        paging.decode(paging.base64.urlsafe_b64encode(DEEP.encode()).decode())


def test_credentials_that_are_nested_too_deep_are_refused_at_the_field() -> None:
    form = Android.Config({"service_account": DEEP})
    assert "This is not JSON" in str(form.errors["service_account"])


@pytest.mark.parametrize(
    ("path", "query"),
    [
        (f"suppressions/webpush/{quote(DEEP)}", {}),
        ("deliveries", {"channel": "webpush", "address": DEEP}),
        ("messages", {"since": "0001-01-01T00:00:00+09:00"}),
        ("deliveries", {"until": "9999-12-31T23:59:30-09:00"}),
        ("totals", {"since": "0001-01-01T00:00:00+09:00"}),
        ("totals", {"until": "0001-01-01T00:00:00Z"}),
        ("totals", {"until": "9999-12-31T23:59:30Z"}),
        ("totals", {"until": "9999-12-31T23:59:30Z", "since": "9999-12-31T20:00:00Z", "interval": "day"}),
    ],
)
def test_the_api_refuses_it(acme: TenantUnderTest, client: Client, path: str, query: dict[str, str]) -> None:
    answer = client.get(f"/api/v1/{path}", query, headers=acme.headers())
    assert answer.status_code == 400, answer.content


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("messages", {"find": "address", "q": DEEP}),
        ("messages", {"since": "0001-01-01T00:00", "zone": "Asia/Tokyo"}),
        ("messages", {"until": "9999-12-31T23:59", "zone": "America/New_York"}),
        ("receivers", {"find": "address", "q": DEEP}),
        ("suppressions", {"channel": "webpush", "address": DEEP}),
    ],
)
def test_a_filter_of_the_console_finds_nothing_by_it(acme: TenantUnderTest, path: str, query: dict[str, str]) -> None:
    assert client_of(acme.owner).get(f"/t/acme/{path}", query).status_code == 200


@pytest.mark.parametrize(
    ("path", "form", "said"),
    [
        ("send/preview", FORM | {"json_data": DEEP}, "This is not JSON"),
        ("send/preview", FORM | {"addresses": DEEP, "address_channel": "webpush"}, "This is not JSON"),
        ("send/preview", FORM | {"send_at": "0001-01-01T00:00", "zone": "Asia/Tokyo"}, "greater than or equal to"),
        ("send/preview", FORM | {"send_at": "9999-12-31T23:59", "zone": "America/New_York"}, "less than or equal to"),
        ("receiver/address/add/ann", {"channel": "webpush", "address": DEEP}, "subscription object"),
        ("suppressions", {"channel": "webpush", "address": DEEP, "reason": "bounced"}, "nested too deep"),
        ("channels/webpush/test", {"to": DEEP, "idempotency_key": "once"}, "subscription object"),
    ],
)
def test_a_form_of_the_console_says_so(acme: TenantUnderTest, path: str, form: dict[str, Any], said: str) -> None:
    put_receiver("acme", "ann")
    answer = client_of(acme.owner).post(f"/t/acme/{path}", form, follow=True)
    assert answer.status_code < 500
    assert said in answer.content.decode()
