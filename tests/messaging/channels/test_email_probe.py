"""How each mail provider is asked about a key, and what its answers mean: nothing is sent to anybody."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import pytest
from aiohttp import encode_basic_auth, web
from pytest_django import Settings

from messaging import mail_connections
from messaging.channels import channel
from messaging.channels.base import DeliveryError
from messaging.esps import ESPS
from tests.messaging.sending import mail_provider

CONFIG = {"from_email": '"Shop" <shop@example.com>', "api_key": "the-key", "api_secret": "the-secret"}


@dataclass(frozen=True, slots=True)
class Call:
    """What a provider gets to see."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    """Those that prove who calls."""
    body: Mapping[str, Any] | None = None
    """All of it; None: a mail that has a sender and nobody else."""


CALLS = {
    "brevo": Call("POST", "/smtp/email", {"api-key": "the-key"}),
    "mailersend": Call("GET", "/api-quota", {"Authorization": "Bearer the-key"}, {}),
    "mailgun": Call("POST", "/v3/example.com/messages", {"Authorization": encode_basic_auth("api", "the-key")}),
    "mailjet": Call("POST", "/send", {"Authorization": encode_basic_auth("the-key", "the-secret")}),
    "mailtrap": Call("POST", "/send", {"Api-Token": "the-key"}),
    "mandrill": Call("POST", "/users/ping2.json", body={"key": "the-key"}),
    "postmark": Call("GET", "/server", {"X-Postmark-Server-Token": "the-key"}, {}),
    "resend": Call("POST", "/emails", {"Authorization": "Bearer the-key"}),
    "sparkpost": Call("POST", "/transmissions/", {"Authorization": "the-key"}),
}


@asynccontextmanager
async def api(provider: str, settings: Settings, status: int, said: str = "") -> AsyncIterator[list[tuple[Any, str]]]:
    """The provider's API, which always answers so; yields the requests with their bodies."""
    requests: list[tuple[Any, str]] = []

    async def handle(request: web.Request) -> web.Response:
        requests.append((request, await request.text()))
        return web.Response(status=status, text=said)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle)
    async with mail_provider(provider, application, settings):
        yield requests


async def asked(provider: str, **changes: str) -> DeliveryError | None:
    """What speaks against these credentials."""
    try:
        await channel("email").check(CONFIG | {"provider": provider} | changes)
    except DeliveryError as error:
        return error
    return None


@pytest.mark.parametrize("provider", ESPS)
async def test_a_provider_is_asked_in_one_call_that_proves_itself_as_a_mail_does(
    provider: str, settings: Settings
) -> None:
    expected = CALLS[provider]
    async with api(provider, settings, 200) as requests:
        assert await asked(provider) is None
    ((request, body),) = requests
    assert (request.method, request.path) == (expected.method, expected.path)
    assert {name: request.headers[name] for name in expected.headers} == expected.headers
    if expected.body is None:
        assert "shop@example.com" in unquote(body) and unquote(body).count("@") == 1
    else:
        assert json.loads(body or "{}") == expected.body


REFUSED = {
    **dict.fromkeys(ESPS, (401, "Unauthorized")),
    "mailgun, a domain of nobody": (404, '{"message":"Domain not found: example.com"}'),
    "resend, as its reference says": (403, '{"name":"invalid_api_key","message":"API key is invalid"}'),
    "resend, as its API says": (400, '{"name":"validation_error","message":"API key is invalid"}'),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_a_key_that_a_provider_refuses_is_refused_with_its_words(case: str, settings: Settings) -> None:
    provider, (status, said) = case.partition(",")[0], REFUSED[case]
    async with api(provider, settings, status, said):
        found = await asked(provider)
    assert found and found.permanent and found.reason == "credentials_refused"
    assert found.detail.startswith(f"{status} ") and said in found.detail
    assert "the-key" not in found.detail


@pytest.mark.parametrize("status", [200, 202, 400, 402, 403, 404, 422, 429])
@pytest.mark.parametrize("provider", ESPS)
async def test_an_answer_that_says_nothing_of_the_key_speaks_not_against_it(
    provider: str, status: int, settings: Settings
) -> None:
    async with api(provider, settings, status, '{"message": "The to field is required"}'):
        assert await asked(provider) is None


@pytest.mark.parametrize("provider", ESPS)
async def test_a_provider_in_trouble_says_nothing_of_the_key(provider: str, settings: Settings) -> None:
    async with api(provider, settings, 503, "Come back later"):
        found = await asked(provider)
    assert found and not found.permanent and found.reason == "provider_unavailable"


async def test_a_provider_that_is_away_or_silent_says_nothing_of_the_key(
    settings: Settings, silent: str, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail_connections, "TIMEOUT", 0.2)
    for url, reason in ((f"http://127.0.0.1:{unused_tcp_port}", "connection_failed"), (silent, "timeout")):
        settings.PROVIDER_URLS = {"brevo": url}
        found = await asked("brevo")
        assert found and not found.permanent and found.reason == reason


@pytest.mark.parametrize(
    ("provider", "changes", "words"),
    [
        ("mailgun", {"sender_domain": "example.com/v3"}, "Invalid '/' in sender domain"),
        ("mailjet", {"api_secret": "пароль"}, "characters"),
        ("sparkpost", {"api_key": "ключ"}, "characters"),
        ("sparkpost", {"api_key": "two\nlines"}, "characters"),
    ],
)
async def test_what_can_be_in_no_request_is_refused_without_one(
    provider: str, changes: dict[str, str], words: str, settings: Settings
) -> None:
    async with api(provider, settings, 200) as requests:
        found = await asked(provider, **changes)
    assert found and found.permanent and words in found.detail
    assert requests == []
