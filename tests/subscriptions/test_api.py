"""The REST contract of receivers, groups and subscriptions."""

from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client

from subscriptions import documents
from tests.conftest import TenantUnderTest

pytestmark = pytest.mark.services
PHONE = {"channel": "sms", "address": "+34600000001"}


def call(tenant: TenantUnderTest, method: str, path: str, body: Any = None) -> Any:
    return (
        Client().generic(method, f"/api/v1/{path}", body, "application/json", headers=tenant.headers())
        if isinstance(body, str)
        else getattr(Client(), method.lower())(
            f"/api/v1/{path}", data=body, content_type="application/json", headers=tenant.headers()
        )
    )


def stored() -> int:
    return sum(
        collection.count_documents({})
        for collection in (documents.receivers(), documents.groups(), documents.subscriptions())
    )


def test_a_receiver_is_put_read_changed_and_deleted(acme: TenantUnderTest) -> None:
    body = {"addresses": [PHONE], "attributes": {"league": "second"}, "locale": "es", "timezone": "Europe/Madrid"}
    answer = call(acme, "PUT", "receivers/alice", body)
    assert answer.status_code == 200, answer.content
    assert answer.json()["addresses"][0]["status"] == "active"
    assert call(acme, "PUT", "receivers/alice", body).json() == answer.json()
    changed = call(acme, "PATCH", "receivers/alice", {"attributes": {"league": None, "age": 7}, "locale": None}).json()
    assert changed["attributes"] == {"age": 7} and changed["locale"] is None and changed["timezone"] == "Europe/Madrid"
    assert call(acme, "GET", "receivers/alice").json() == changed
    assert [call(acme, "DELETE", "receivers/alice").status_code for _ in range(2)] == [204, 204]
    assert call(acme, "GET", "receivers/alice").status_code == 404


@pytest.mark.parametrize("name", ["a/b", "batch", "日本 語", "a%2Fb", "?#&=", "x" * 256])
def test_any_name_works_percent_encoded_in_the_path(acme: TenantUnderTest, name: str) -> None:
    path = quote(name, safe="")
    assert call(acme, "PUT", f"receivers/{path}", {}).json()["receiver"] == name
    assert call(acme, "PUT", f"groups/{path}", {}).json()["group"] == name
    assert call(acme, "PUT", f"groups/{path}/subscriptions/{path}", {}).status_code == 200
    listed = call(acme, "GET", f"receivers/{path}/subscriptions").json()["data"]
    assert [(row["group"], row["receiver"]) for row in listed] == [(name, name)]
    assert call(acme, "DELETE", f"groups/{path}/subscriptions/{path}").status_code == 204


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("receivers/a", "{", ""),
        ("receivers/a", "[]", ""),
        ("receivers/a", {"phone": "1"}, "/phone"),
        ("receivers/a", {"addresses": "x"}, "/addresses"),
        ("receivers/a", {"addresses": [{"channel": "pigeon", "address": "x"}]}, "/addresses/0/channel"),
        ("receivers/a", {"addresses": [PHONE, {"channel": "sms", "address": "12"}]}, "/addresses/1/address"),
        ("receivers/a", {"addresses": [{"channel": "sms", "address": 7}]}, "/addresses/0/address"),
        ("receivers/a", {"addresses": [{"channel": "websocket", "address": "x"}]}, "/addresses/0/address"),
        ("receivers/a", {"attributes": []}, "/attributes"),
        ("receivers/a", {"attributes": {"a": {}}}, "/attributes/a"),
        ("receivers/a", {"attributes": {"$a.b": 1}}, "/attributes"),
        ("receivers/a", '{"attributes": {"a": "\\ud800"}}', "/attributes/a"),
        ("receivers/a", {"attributes": {"a": 2**70}}, "/attributes/a"),
        ("receivers/a", {"locale": 5}, "/locale"),
        ("receivers/a", {"locale": "not a locale"}, "/locale"),
        ("receivers/a", {"timezone": "Mars/Olympus"}, "/timezone"),
        (f"receivers/{'x' * 257}", {}, "/receiver"),
        ("receivers/a%0Ab", {}, "/receiver"),
        ("groups/g", {"channels": ["pigeon"]}, "/channels/0"),
        ("groups/g", {"channels": []}, "/channels"),
        ("groups/g", {"name": 7}, "/name"),
    ],
)
def test_bad_input_is_refused_with_a_pointer_and_nothing_is_stored(
    acme: TenantUnderTest, path: str, body: Any, pointer: str
) -> None:
    answer = call(acme, "PUT", path, body)
    assert answer.status_code == 400, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    assert pointer in [error["pointer"] for error in answer.json()["errors"]]
    assert stored() == 0


def test_a_batch_answers_for_each_item(acme: TenantUnderTest) -> None:
    items = [{"receiver": "a", "addresses": [PHONE]}, {"receiver": "b", "addresses": [{"channel": "sms"}]}, 7]
    items += [{"receiver": "a"}, {"receiver": "c\n"}, {"receiver": "d"}]
    answer = call(acme, "POST", "receivers/batch", {"receivers": items})
    assert [item["status"] for item in answer.json()["data"]] == [200, 400, 400, 400, 400, 200]
    call(acme, "PUT", "groups/g", {"channels": ["sms"]})
    items = [{"receiver": "a"}, {"receiver": "x"}, {"receiver": "d", "channels": ["email"]}]
    answer = call(acme, "POST", "groups/g/subscriptions/batch", {"subscriptions": items})
    assert [item["status"] for item in answer.json()["data"]] == [200, 404, 400]


def test_a_batch_of_more_than_1000_is_refused_whole(acme: TenantUnderTest) -> None:
    answer = call(acme, "POST", "receivers/batch", {"receivers": [{"receiver": f"r{n}"} for n in range(1001)]})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert stored() == 0


def test_lists_page_by_an_opaque_cursor(acme: TenantUnderTest) -> None:
    call(acme, "POST", "receivers/batch", {"receivers": [{"receiver": name} for name in ("é", "b", "a", "日")]})
    call(acme, "PUT", "groups/g", {})
    items = [{"receiver": "a", "channels": ["sms"]}, {"receiver": "b"}, {"receiver": "é"}]
    call(acme, "POST", "groups/g/subscriptions/batch", {"subscriptions": items})
    found, query = [], "limit=3"
    while query:
        page = call(acme, "GET", f"receivers?{query}").json()
        found += [row["receiver"] for row in page["data"]]
        query = page["next_cursor"] and f"limit=3&cursor={page['next_cursor']}"
    assert found == ["a", "b", "é", "日"]
    reached = call(acme, "GET", "groups/g/subscriptions?channel=websocket&limit=1").json()
    assert [row["receiver"] for row in reached["data"]] == ["b"] and reached["next_cursor"]
    for bad in ("cursor=%F0", "cursor=bnVsbA", "limit=0", "limit=x", "cursor=MTc"):
        assert call(acme, "GET", f"receivers?{bad}").status_code in (200, 400)
    assert call(acme, "GET", "receivers?cursor=MTc").status_code == 400
    assert call(acme, "GET", "groups/g/subscriptions?channel=pigeon").status_code == 400


def test_a_stranger_sees_changes_and_guesses_nothing(acme: TenantUnderTest, globex: TenantUnderTest) -> None:
    call(acme, "PUT", "receivers/alice", {"addresses": [PHONE]})
    call(acme, "PUT", "groups/news", {})
    call(acme, "PUT", "groups/news/subscriptions/alice", {})
    for path in ("receivers/alice", "receivers/alice/subscriptions", "groups/news", "groups/news/subscriptions"):
        assert call(globex, "GET", path).status_code == 404
    assert call(globex, "PATCH", "receivers/alice", {"locale": "es"}).status_code == 404
    assert call(globex, "PUT", "groups/news/subscriptions/alice", {}).status_code == 404
    for path in ("groups/news/subscriptions/alice", "groups/news", "receivers/alice"):
        assert call(globex, "DELETE", path).status_code == 204
    assert call(globex, "GET", "receivers").json()["data"] == []
    assert len(call(acme, "GET", "groups/news/subscriptions").json()["data"]) == 1


def test_without_a_key_nothing_is_answered(acme: TenantUnderTest) -> None:
    assert Client().get("/api/v1/receivers").status_code == 401
