"""What every REST view does, shown on one that counts its calls."""

import re
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import RequestFactory
from pytest_django.fixtures import Settings
from rest_framework.request import Request
from rest_framework.response import Response

from sprayer_project import redis
from tenants import limiter, services
from tenants.api import ApiView
from tenants.models import Tenant
from tests.conftest import TenantUnderTest
from tests.live import wait_for

NOWHERE = ["redis://127.0.0.1:1/0"]


class CountingView(ApiView):
    scopes = {"GET": "messages:read", "POST": "messages:send"}
    max_body = 1000
    calls: list[str] = []

    def get(self, request: Request) -> Response:
        self.calls.append("GET")
        return Response({"tenant": request.auth.tenant, "user": request.user})  # type: ignore[union-attr]

    def post(self, request: Request) -> Response:
        self.calls.append("POST")
        return Response(request.data)


@pytest.fixture(autouse=True)
def _nothing_called() -> None:
    CountingView.calls.clear()


@pytest.fixture
def no_redis(settings: Settings) -> None:
    settings.REDIS_URLS = NOWHERE


def _call(method: str, key: str | None, body: bytes = b"", **headers: str) -> Response:
    request = RequestFactory().generic(method, "/", body, "application/json", headers=_authorization(key) | headers)
    response = CountingView.as_view()(request)
    assert isinstance(response, Response)
    response.render()
    return response


def _authorization(key: str | None) -> dict[str, str]:
    if key is None:
        return {}
    return {"Authorization": key if " " in key else f"Bearer {key}"}


def _slow_rate(rate: str) -> None:
    Tenant.objects.filter(slug="acme").update(rate_limit=rate)


def test_a_key_with_the_scope_is_served(acme: TenantUnderTest, no_redis: None) -> None:
    response = _call("GET", acme.key)
    assert (response.status_code, response.data) == (200, {"tenant": "acme", "user": None})


@pytest.mark.parametrize("header", [None, "Basic abc", "Bearer ", "spr_live_x y"])
def test_a_request_without_a_key_is_401_and_tells_how(acme: TenantUnderTest, header: str | None) -> None:
    response = _call("GET", header)
    assert (response.status_code, response.data["code"]) == (401, "missing_key")
    assert response["WWW-Authenticate"] == "Bearer"
    assert response["Content-Type"] == "application/problem+json"


def test_a_wrong_key_is_401(acme: TenantUnderTest) -> None:
    response = _call("GET", "spr_live_wrong")
    assert (response.status_code, response.data["code"]) == (401, "invalid_key")
    assert CountingView.calls == []


def test_a_missing_scope_is_403_and_named(acme: TenantUnderTest, no_redis: None) -> None:
    _, reader = services.create_api_key("acme", "live", ["messages:read"])
    assert _call("GET", reader).status_code == 200
    refused = _call("POST", reader, b"{}")
    assert (refused.status_code, refused.data["code"]) == (403, "missing_scope")
    assert "messages:send" in refused.data["detail"]
    assert CountingView.calls == ["GET"]


def test_head_needs_the_scope_of_get(acme: TenantUnderTest, no_redis: None) -> None:
    _, sender = services.create_api_key("acme", "live", ["messages:send"])
    assert _call("HEAD", sender).status_code == 403


def test_a_method_that_the_view_has_not_is_405(acme: TenantUnderTest, no_redis: None) -> None:
    response = _call("DELETE", acme.key)
    assert (response.status_code, response.data["code"]) == (405, "method_not_allowed")


def test_a_view_that_forgets_a_scope_does_not_load() -> None:
    with pytest.raises(ImproperlyConfigured, match="POST"):
        type("Forgetful", (ApiView,), {"post": lambda self, request: Response()})


def test_a_body_that_is_too_large_is_413_before_it_is_read(acme: TenantUnderTest, no_redis: None) -> None:
    response = _call("POST", acme.key, b'"' + b"x" * 1000 + b'"')
    assert (response.status_code, response.data["code"]) == (413, "too_large")
    assert CountingView.calls == []


def test_a_body_of_unknown_length_is_411(acme: TenantUnderTest, no_redis: None) -> None:
    response = _call("POST", acme.key, b"{}", **{"Transfer-Encoding": "chunked"})
    assert (response.status_code, response.data["code"]) == (411, "length_required")


def test_without_redis_requests_are_served_with_headers_and_soon(acme: TenantUnderTest, no_redis: None) -> None:
    _slow_rate("1/day")
    for _ in range(3):
        response = _call("GET", acme.key)
        assert response.status_code == 200
        assert response["RateLimit-Policy"] == '"default";q=1;w=86400'


@pytest.mark.services
def test_every_answer_says_what_is_left(acme: TenantUnderTest) -> None:
    _slow_rate("10/day")
    answers = [_call("GET", acme.key), _call("POST", acme.key, b"nonsense"), _call("DELETE", acme.key)]
    assert [answer.status_code for answer in answers] == [200, 400, 405]
    assert all(answer["RateLimit-Policy"] == '"default";q=10;w=86400' for answer in answers)
    found = [re.fullmatch(r'"default";r=(\d+);t=(\d+)', answer["RateLimit"]) for answer in answers]
    assert [match[1] for match in found if match] == ["9", "8", "7"]
    assert all(match and 0 < int(match[2]) <= 86400 for match in found)


@pytest.mark.services
def test_over_the_limit_is_429_with_retry_after_and_the_view_is_not_called(acme: TenantUnderTest) -> None:
    _slow_rate("2/day")
    assert [_call("GET", acme.key).status_code for _ in range(3)] == [200, 200, 429]
    refused = _call("GET", acme.key)
    assert refused.data["code"] == "rate_limited"
    assert 0 < int(refused["Retry-After"]) <= 86400
    assert refused["RateLimit"].startswith('"default";r=0;t=')
    assert CountingView.calls == ["GET", "GET"]


@pytest.mark.services
def test_live_and_test_and_other_tenants_have_windows_of_their_own(
    acme: TenantUnderTest, globex: TenantUnderTest
) -> None:
    _slow_rate("1/day")
    assert [_call("GET", acme.key).status_code for _ in range(2)] == [200, 429]
    assert _call("GET", acme.test_key).status_code == 200
    assert _call("GET", globex.key).status_code == 200


@pytest.mark.services
def test_a_new_window_starts_afresh(acme: TenantUnderTest) -> None:
    _slow_rate("1/second")
    wait_for(lambda: _call("GET", acme.key).status_code == 429, 5.0, "a refusal")
    assert wait_for(lambda: _call("GET", acme.key).status_code == 200, 5.0, "the next window")


@pytest.mark.services
def test_a_request_costs_one_command_to_redis_and_the_key_expires(acme: TenantUnderTest) -> None:
    limiter.take("acme", "live", "100/hour")
    client: Any = redis.client("acme")
    before = client.info("commandstats")
    limiter.take("acme", "live", "100/hour")
    after = client.info("commandstats")
    calls = {name: after[name]["calls"] - before.get(name, {"calls": 0})["calls"] for name in after}
    assert calls["cmdstat_evalsha"] == 1
    assert calls.get("cmdstat_eval", 0) == 0
    (key,) = client.keys("limits:{acme:0}:*")
    assert 0 < client.ttl(key) <= 3600
