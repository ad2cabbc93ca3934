"""Every page of a tenant's console as its owner, a viewer and a stranger: right, read-only, not there.

The pages are found from the URLs: a new one is walked by itself. One that a viewer may not even see is named here.
"""

import re
from collections.abc import Mapping

import pytest

from messaging.sandbox.server import Sandbox
from tests.conftest import TenantUnderTest
from tests.messaging.test_sandbox_page import put
from tests.pages import client_of, paths, samples, whole

pytestmark = pytest.mark.services

WRITERS_ALONE = {
    *("console-send", "console-send-html", "console-dead-letter-preview"),
    *("console-imports", "console-import", "console-import-report"),
    *("console-receivers-csv", "console-receivers-ndjson", "console-group-csv", "console-group-ndjson"),
    *("console-receiver-new", "console-receiver-edit", "console-receiver-delete", "console-receiver-erase"),
    *("console-group-new", "console-group-edit", "console-group-delete"),
    *("console-key-new", "console-key-rotate", "console-key-revoke"),
    *("console-webhook-new", "console-webhook-edit"),
    *("console-member-remove", "console-tenant-delete"),
}
_changing = re.compile(r'<form[^>]*method="post"|hx-(post|put|patch|delete)=')


@pytest.fixture
def pages(acme: TenantUnderTest, sandbox: Sandbox) -> Mapping[str, str]:
    return paths("acme", samples(acme) | {"arrival": put(sandbox, html="<p>Goal</p>")})


def test_the_owner_finds_every_page_right(acme: TenantUnderTest, pages: Mapping[str, str]) -> None:
    alice = client_of(acme.owner)
    answers = {name: alice.get(path).status_code for name, path in pages.items()}
    assert answers.pop("console-live-events") == 501  # a stream: run_web alone has it
    assert {name: status for name, status in answers.items() if status not in (200, 302, 405)} == {}


def test_a_viewer_sees_every_page_and_can_change_nothing(acme: TenantUnderTest, pages: Mapping[str, str]) -> None:
    bob = client_of(acme.viewer)
    seen = {name: bob.get(path).status_code for name, path in pages.items()}
    assert sorted(name for name, status in seen.items() if status == 403) == sorted(WRITERS_ALONE)
    written = {name: bob.post(path).status_code for name, path in pages.items()}
    assert {name: status for name, status in written.items() if status not in (403, 405)} == {}


def test_no_page_offers_a_viewer_a_change(acme: TenantUnderTest, pages: Mapping[str, str]) -> None:
    bob = client_of(acme.viewer)
    mains = {name: bob.get(path).content.decode().partition("<main")[2] for name, path in whole(bob, pages).items()}
    assert [name for name, main in mains.items() if _changing.search(main)] == []


def test_a_stranger_finds_no_page(acme: TenantUnderTest, globex: TenantUnderTest, pages: Mapping[str, str]) -> None:
    charlie = client_of(globex.owner)
    for method in (charlie.get, charlie.post):
        answers = {name: method(path).status_code for name, path in pages.items()}
        assert {name: status for name, status in answers.items() if status not in (404, 405)} == {}
