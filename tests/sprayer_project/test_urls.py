import re
from collections.abc import Iterator

import pytest
from django.contrib.staticfiles import finders
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from tenants.api import ApiView
from tenants.models import User
from tests.conftest import TenantUnderTest


def _patterns(resolver: URLResolver, start: str = "") -> Iterator[tuple[str, URLPattern]]:
    for entry in resolver.url_patterns:
        route = start + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from _patterns(entry, route)
        else:
            yield route, entry


def test_an_unknown_api_path_is_a_problem_document(client: Client) -> None:
    response = client.get("/api/v1/nothing")
    assert (response.status_code, response["Content-Type"]) == (404, "application/problem+json")
    assert response.json()["code"] == "not_found"


def test_an_unknown_page_is_html(client: Client, db: None) -> None:
    response = client.get("/nothing")
    assert response.status_code == 404
    assert response["Content-Type"].startswith("text/html")


def test_a_request_to_another_host_is_a_problem_document(client: Client) -> None:
    response = client.get("/api/v1/messages", headers={"host": "evil.example"})
    assert (response.status_code, response["Content-Type"]) == (400, "application/problem+json")


def test_the_openapi_document_needs_no_key_and_names_the_security_scheme(client: Client) -> None:
    response = client.get("/api/v1/openapi.json")
    document = response.json()
    assert response.status_code == 200
    assert document["openapi"].startswith("3.")
    assert document["components"]["securitySchemes"]["apiKey"]["scheme"] == "bearer"
    assert {"apiKey": []} in document["paths"]["/api/v1/messages"]["post"]["security"]


def test_the_docs_page_loads_nothing_from_outside_and_runs_no_inline_script(client: Client) -> None:
    response = client.get("/api/v1/docs")
    page = response.content.decode()
    assert "script-src 'self';" in response["Content-Security-Policy"]
    assert re.findall(r"<script(?![^>]*\bsrc=)", page) == []
    sources = re.findall(r"(?:src|href)=\"([^\"]+)\"", page)
    assert sources
    for source in sources:
        assert source.startswith("/")
        if source.startswith("/static/"):
            assert finders.find(source.removeprefix("/static/"))


def test_the_docs_start_up_script_names_our_document(client: Client) -> None:
    page = client.get("/api/v1/docs").content.decode()
    (script,) = [source for source in re.findall(r"src=\"([^\"]+)\"", page) if not source.startswith("/static/")]
    response = client.get(script.replace("&amp;", "&"))
    assert response["Content-Type"].startswith("application/javascript")
    assert "/api/v1/openapi.json" in response.content.decode()


def test_every_path_of_the_openapi_document_asks_for_a_key(client: Client) -> None:
    paths = client.get("/api/v1/openapi.json").json()["paths"]
    for path, operations in paths.items():
        for method, operation in operations.items():
            if operation["security"] != [{"apiKey": []}]:
                continue
            url = re.sub(r"\{\w+\}", "x", path)
            response = client.generic(method.upper(), url, content_type="application/json")
            assert response.status_code == 401, f"{method} {url}"


def test_every_rest_view_takes_keys_and_limits() -> None:
    views = [getattr(pattern.callback, "view_class", getattr(pattern.callback, "cls", None)) for _, pattern in _api()]
    named = [view for view in views if view and "api" in view.__module__.split(".") and view.permission_classes]
    assert named
    assert [view.__name__ for view in named if not issubclass(view, ApiView)] == []


def _api() -> list[tuple[str, URLPattern]]:
    return [found for found in _patterns(get_resolver()) if found[0].startswith("api/v1/")]


def test_no_path_is_routed_twice() -> None:
    routes = [route for route, _ in _patterns(get_resolver())]
    assert len(routes) == len(set(routes))


@pytest.fixture
def operator(client: Client, db: None) -> Client:
    client.force_login(User.objects.create_superuser("root@sprayer.example", "correct horse battery"))
    return client


@pytest.mark.parametrize("model", ["user", "tenant", "apikey", "channelconfig", "auditentry"])
def test_operators_read_every_list_and_no_one_else_does(
    operator: Client, acme: TenantUnderTest, client: Client, model: str
) -> None:
    url = f"/operators/tenants/{model}/"
    assert operator.get(url).status_code == 200
    stranger = Client()
    stranger.force_login(acme.owner)
    assert stranger.get(url).status_code in (302, 404)
