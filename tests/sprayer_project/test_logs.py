"""What a request leaves in the log: never a secret or an address of its path."""

import logging
from collections.abc import Iterator

import pytest
from django.core.handlers.wsgi import WSGIRequest
from django.test import Client, RequestFactory
from django.urls import resolve

from sprayer_project.ids import new_id
from sprayer_project.logs import path_of
from tests.conftest import TenantUnderTest


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG):
        yield caplog


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("/accounts/invitations/ImludjEi:1secret", "/accounts/invitations/{token}"),
        ("/accounts/password/reset/key/2b-secret/", "/accounts/password/reset/key/{uidb36}-{key}/"),
        ("/accounts/confirm-email/NQ:secret:x/", "/accounts/confirm-email/{key}/"),
        ("/api/v1/suppressions/sms/+34600000001", "/api/v1/suppressions/{channel}/{address}"),
        ("/t/acme/receivers/dora@acme.example", "/t/acme/receivers/{receiver}"),
        ("/operators/tenants/user/1/change/", "/operators/tenants/user/{object_id}/change/"),
    ],
)
def test_the_parameters_of_a_path_are_left_out(path: str, kept: str) -> None:
    assert path_of(resolve(path)) == kept


def test_ids_of_ours_stay() -> None:
    message = new_id("msg")
    assert path_of(resolve(f"/api/v1/messages/{message}")) == f"/api/v1/messages/{message}"


@pytest.mark.services
@pytest.mark.parametrize(
    "path",
    [
        "/accounts/invitations/dora-secret",
        "/accounts/invitations/dora-secret/nowhere",
        "/accounts/password/reset/key/2b-dora-secret/",
        "/api/v1/suppressions/email/dora@acme.example",
        "/t/globex/receivers/dora",
    ],
)
def test_no_line_of_a_request_has_a_parameter(
    path: str, acme: TenantUnderTest, client: Client, lines: pytest.LogCaptureFixture
) -> None:
    client.force_login(acme.owner)
    client.get(path, headers=acme.headers())
    client.patch(path)
    assert [record for record in lines.records if record.name == "sprayer.request"]
    assert "dora" not in lines.text


def test_a_failure_is_told_with_its_route(lines: pytest.LogCaptureFixture) -> None:
    request: WSGIRequest = RequestFactory().get("/accounts/invitations/dora")
    request.resolver_match = resolve(request.path)
    logging.getLogger("django.request").error(
        "%s: %s", "Internal Server Error", request.path, extra={"request": request}
    )
    assert "Internal Server Error: /accounts/invitations/{token}" in lines.text
    assert "dora" not in lines.text
