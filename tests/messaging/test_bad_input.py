"""What cannot be read, kept or reckoned with is refused as any bad input: no answer is a failure of ours."""

import base64
import re
from collections.abc import Iterator
from itertools import product
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
HALF = '"\\ud800"'
FORM = {"mode": "test", "receivers": "ann", "channels": ["webpush"], "idempotency_key": "once"}


def cursor(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


ODD = ["9" * 5_000, "²", "\0", cursor(HALF), cursor(DEEP), cursor("17"), '{"endpoint": ' + HALF + "}"]


@pytest.mark.parametrize(
    "text",
    ["", "{", "NaN", "[Infinity]", "-Infinity", "1e999", '{"a": [-1e999]}', "9" * 5_000, HALF, '{"\\uDFFF": 1}', DEEP],
)
def test_what_cannot_be_kept_is_no_json(text: str) -> None:
    for given in (text, text.encode()):
        with pytest.raises(ValueError):
            json_text.parse(given)


def test_all_other_json_is_read_as_it_is() -> None:
    found = json_text.parse(r'{"pair": "\ud83d\ude00", "word": "\\ud800", "most": 1.5e300, "least": 1e-999}')
    assert found == {"pair": "\N{GRINNING FACE}", "word": r"\ud800", "most": 1.5e300, "least": 0.0}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        *((text, str) for text in (DEEP, HALF, "17", "null", "[1]", "", "é")),
        *((text, int) for text in ('"a"', "-1", "true", "1.0", str(2**63), "9" * 5_000)),
    ],
)
def test_a_cursor_that_was_never_given_is_refused(text: str, kind: type[str] | type[int]) -> None:
    with pytest.raises(Invalid):
        paging.decode(cursor(text) or "!", kind)


def test_no_parameter_of_the_api_is_a_failure_of_ours(acme: TenantUnderTest, client: Client) -> None:
    asked = [*odd_requests(client.get("/api/v1/openapi.json").json()["paths"])]
    answers = [client.get(path, query, headers=acme.headers()) for path, query in asked]
    assert len(asked) > 300
    assert [request for request, answer in zip(asked, answers, strict=True) if answer.status_code >= 500] == []


def odd_requests(paths: dict[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    """Each parameter of each GET as each of ODD: a path and its query."""
    del paths["/api/v1/events"]  # a stream: run_web alone has it
    for path, operations in paths.items():
        parts = dict.fromkeys(re.findall(r"{(\w+)}", path), "x")
        for given, odd in product(operations.get("get", {}).get("parameters", ()), ODD):
            if given["in"] == "path":
                yield path.format_map(parts | {given["name"]: quote(odd, safe="")}), {}
            else:
                yield path.format_map(parts), {"channel": "webpush", given["name"]: odd}


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
        ("receivers", {"address": DEEP}),
        ("suppressions", {"channel": "webpush", "address": DEEP}),
    ],
)
def test_a_filter_of_the_console_finds_nothing_by_it(acme: TenantUnderTest, path: str, query: dict[str, str]) -> None:
    assert client_of(acme.owner).get(f"/t/acme/{path}", query).status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"requests?cursor={cursor('1' + '0' * 30)}", 400),
        (f"messages?cursor={cursor(HALF)}", 400),
        (f"settings/members/{'9' * 5_000}/remove", 404),
        (f"settings/members/{'9' * 40}/remove", 404),
    ],
)
def test_a_page_of_the_console_says_so(acme: TenantUnderTest, path: str, status: int) -> None:
    assert client_of(acme.owner).get(f"/t/acme/{path}").status_code == status


@pytest.mark.parametrize(
    ("path", "form", "said"),
    [
        ("send/preview", FORM | {"json_data": DEEP}, "This is not JSON"),
        ("send/preview", FORM | {"json_data": HALF}, "This is not JSON"),
        ("send/preview", FORM | {"attributes": '{"a": NaN}'}, "This is not JSON"),
        ("send/preview", FORM | {"addresses": DEEP, "address_channel": "webpush"}, "This is not JSON"),
        ("send/preview", FORM | {"addresses": '{"a": ' + HALF + "}", "address_channel": "webpush"}, "This is not JSON"),
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
