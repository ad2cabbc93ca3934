import re
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from drf_spectacular.drainage import GENERATOR_STATS, reset_generator_stats
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema

from messaging.realtime.routing import http_endpoints
from tenants.rights import SCOPES

NOT_OF_TENANTS = {
    "/api/v1/openapi.json",
    "/api/v1/docs",
    # Providers call it, with a signature instead of a key.
    "/api/v1/callbacks/{tenant}/{channel}/{provider}",
    "/api/v1/unsubscribe/{tenant}",
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    answer = Client().get("/api/v1/openapi.json")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield f"{method.upper()} {path}", operation


def _routes(resolver: URLResolver, start: str = "/") -> Iterator[str]:
    for entry in resolver.url_patterns:
        route = start + str(entry.pattern)
        if isinstance(entry, URLPattern):
            yield re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route)
        else:
            yield from _routes(entry, route)


def test_the_document_is_valid_and_made_without_a_warning() -> None:
    reset_generator_stats()
    with warnings.catch_warnings():
        # The validator's library speaks of its own next version.
        warnings.simplefilter("ignore", DeprecationWarning)
        validate_schema(SchemaGenerator().get_schema(request=None, public=True))  # type: ignore[no-untyped-call]
    assert not GENERATOR_STATS._warn_cache
    assert not GENERATOR_STATS._error_cache


def test_every_api_path_is_in_the_document(document: dict[str, Any]) -> None:
    routes = {route for route in _routes(get_resolver()) if route.startswith("/api/v1/")}
    assert (routes - NOT_OF_TENANTS) | set(http_endpoints) == set(document["paths"])


def test_every_operation_says_what_it_does_and_which_scope_it_needs(document: dict[str, Any]) -> None:
    for name, operation in _operations(document):
        assert operation["summary"], name
        if operation["security"] == [{"receiverToken": []}]:
            assert name.split()[1] in http_endpoints
            continue
        assert operation["security"] == [{"apiKey": []}], name
        scopes = re.findall(r"Needs the scope `([a-z:]+)`", operation["description"])
        assert len(scopes) == 1 and scopes[0] in SCOPES, name


def test_operation_ids_are_unique(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, operation in _operations(document)]
    assert len(ids) == len(set(ids))


def test_every_operation_answers_errors_as_problem_documents(document: dict[str, Any]) -> None:
    for name, operation in _operations(document):
        assert set(operation["responses"]["default"]["content"]) == {"application/problem+json"}, name
    assert set(document["components"]["schemas"]["Problem"]["required"]) == {"type", "status", "code", "detail"}


def test_every_parameter_is_described(document: dict[str, Any]) -> None:
    for name, operation in _operations(document):
        for parameter in operation.get("parameters", []):
            assert parameter["description"], f"{name}: {parameter['name']}"


def test_every_list_is_described_with_its_rows_and_its_cursor(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    lists = [
        operation for name, operation in _operations(document) if name.startswith("GET") and "list" in _id(operation)
    ]
    assert len(lists) == 9
    for operation in lists:
        reference = operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
        page = schemas[reference.rpartition("/")[2]]
        assert set(page["properties"]) == {"data", "next_cursor"}
        assert "$ref" in page["properties"]["data"]["items"]
        assert {"cursor", "limit"} <= {parameter["name"] for parameter in operation["parameters"]}


def test_the_document_and_its_page_need_no_key(client: Client) -> None:
    page = client.get("/api/v1/docs")
    assert page.status_code == 200
    assert "unsafe-inline" not in page["Content-Security-Policy"].partition("style-src")[0]


def _id(operation: dict[str, Any]) -> str:
    return str(operation["operationId"])
