"""The e-mail channel over real SMTP to the sandbox's mail server, and over HTTP as a provider's client."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from django.conf import settings
from pytest_django import Settings

from feedback.events import Status
from messaging import mail_connections
from messaging.channels import channel
from messaging.channels.base import DeliveryError, Outcome, Outgoing, Recipient
from messaging.esps import BASIC_AUTH, ESPS
from messaging.mail_forms import EmailConfig, EmailContent
from messaging.sandbox.server import Sandbox
from tests.messaging.sending import mail_provider

NOW = datetime.now(UTC)
MESSAGE = Outgoing(
    tenant="acme",
    id="msg_1",
    mode="live",
    content={"type": "order.shipped", "title": "Your order", "body": "It is on its way: señal"},
    overrides={},
    metadata={},
    attributes={},
    priority="normal",
    collapse_key=None,
    created_at=NOW,
    expires_at=NOW,
)
Answer = Callable[[web.Request, dict[str, Any]], Awaitable[web.Response]]


def smtp() -> dict[str, Any]:
    """The sandbox's mail server, as acme."""
    login = {"username": "acme", "password": "sandbox", "from_email": "acme@sandbox.example.com"}
    return {"provider": "smtp", "security": "none", "host": "127.0.0.1", "port": settings.SANDBOX_SMTP_PORT, **login}


def recipient(address: str, number: int = 1) -> Recipient:
    return Recipient(
        delivery=f"dlv_{number}", receiver=f"r{number}", address=address, address_hash="h", round=1, attempt=1
    )


async def sent(
    addresses: Sequence[str], message: Outgoing = MESSAGE, config: Mapping[str, Any] | None = None
) -> dict[str, Outcome]:
    """Outcomes by address."""
    recipients = {f"dlv_{number}": recipient(address, number) for number, address in enumerate(addresses)}
    outcomes = channel("email").send(config or smtp(), message, list(recipients.values()))
    return {recipients[outcome.delivery].address: outcome async for outcome in outcomes}


def arrived(sandbox: Sandbox) -> list[dict[str, Any]]:
    return sandbox.arrivals.newest("email", "acme", 1000)


async def test_a_mail_arrives_as_it_was_meant(sandbox: Sandbox) -> None:
    overrides = {
        "subject": "Order 17 señal",
        "html": "<p>On its way</p>",
        "reply_to": "help@example.com",
        "headers": {"List-Unsubscribe": "<https://example.com/u>"},
    }
    outcomes = await sent(["alice@example.com"], replace(MESSAGE, overrides=overrides))
    (mail,) = arrived(sandbox)
    assert outcomes["alice@example.com"].status == Status.SENT
    assert outcomes["alice@example.com"].provider_id == "<dlv_0.1@sandbox.example.com>" == mail["headers"]["message-id"]
    assert (mail["subject"], mail["to"], mail["from"]) == (
        "Order 17 señal",
        ["alice@example.com"],
        "acme@sandbox.example.com",
    )
    assert mail["text"].strip() == "It is on its way: señal" and mail["html"].strip() == "<p>On its way</p>"
    assert mail["headers"]["reply-to"] == "help@example.com"
    assert mail["headers"]["list-unsubscribe"] == "<https://example.com/u>"


async def test_a_title_with_line_breaks_cannot_add_headers(sandbox: Sandbox) -> None:
    await sent(["alice@example.com"], replace(MESSAGE, content={"title": "Hi\r\nBcc: eve@example.com", "body": "x"}))
    (mail,) = arrived(sandbox)
    assert mail["subject"] == "Hi Bcc: eve@example.com"
    assert "bcc" not in mail["headers"] and mail["to"] == ["alice@example.com"]


async def test_every_recipient_gets_a_mail_of_their_own(sandbox: Sandbox) -> None:
    addresses = [f"r{number}@example.com" for number in range(60)]
    outcomes = await sent(addresses)
    assert {outcome.status for outcome in outcomes.values()} == {Status.SENT} and len(outcomes) == 60
    assert sorted(mail["to"] for mail in arrived(sandbox)) == sorted([address] for address in addresses)
    assert all(mail["headers"]["to"] == mail["to"][0] for mail in arrived(sandbox))


@pytest.mark.parametrize(
    ("address", "status", "reason", "retire", "unknown"),
    [
        ("bounce@example.com", Status.FAILED, "invalid_address", True, False),
        ("bounce+17@example.com", Status.FAILED, "invalid_address", True, False),
        ("full@example.com", Status.FAILED, "recipient_refused", False, False),
        ("defer@example.com", Status.DEFERRED, "provider_deferred", False, False),
        ("spam@example.com", Status.FAILED, "content_refused", False, False),
        ("drop@example.com", Status.DEFERRED, "connection_lost", False, True),
    ],
)
async def test_a_refused_recipient_does_not_spoil_the_others(
    sandbox: Sandbox, address: str, status: Status, reason: str, retire: bool, unknown: bool
) -> None:
    outcomes = await sent(["first@example.com", address, "last@example.com"])
    refused = outcomes.pop(address)
    assert (refused.status, refused.reason, refused.retire, refused.unknown) == (status, reason, retire, unknown)
    assert "@" not in json.dumps(dict(refused.detail))
    assert {outcome.status for outcome in outcomes.values()} == {Status.SENT} and len(outcomes) == 2
    assert {mail["to"][0] for mail in arrived(sandbox)} == {"first@example.com", "last@example.com"}


async def test_no_answer_in_time_after_the_mail_went_out_is_unknown(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail_connections, "TIMEOUT", 0.3)
    outcomes = await sent(["slow@example.com", "quick@example.com"])
    assert outcomes["slow@example.com"].unknown and outcomes["slow@example.com"].status == Status.DEFERRED
    assert outcomes["quick@example.com"].status == Status.SENT


async def test_a_server_too_slow_for_the_claims_gets_the_rest_later(
    sandbox: Sandbox, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail_connections, "TIMEOUT", 5)
    settings.CLAIM_LEASE, sandbox.control.slow = 0.1, 1.1
    outcomes = []
    addresses = [recipient(address, number) for number, address in enumerate(["slow@example.com", "b@example.com"])]
    with pytest.raises(DeliveryError) as late:
        email = channel("email")
        async for outcome in email.send(smtp(), MESSAGE, addresses):
            outcomes.append(outcome)
    assert [outcome.status for outcome in outcomes] == [Status.SENT]
    assert (late.value.reason, late.value.permanent, late.value.unknown) == ("provider_slow", False, False)


async def test_a_refused_login_is_the_tenants_and_permanent(sandbox: Sandbox) -> None:
    config = {**smtp(), "password": "wrong"}
    with pytest.raises(DeliveryError) as refused:
        await sent(["alice@example.com"], config=config)
    assert (refused.value.reason, refused.value.permanent) == ("credentials_refused", True)


async def test_a_server_that_is_away_is_tried_again(sandbox: Sandbox, settings: Settings, unused_tcp_port: int) -> None:
    settings.WEBHOOK_ALLOW_PRIVATE.append(f"127.0.0.1:{unused_tcp_port}")
    config = {**smtp(), "port": unused_tcp_port}
    with pytest.raises(DeliveryError) as away:
        await sent(["alice@example.com"], config=config)
    assert (away.value.reason, away.value.permanent, away.value.unknown) == ("connection_failed", False, False)


async def test_a_server_without_encryption_gets_no_mail_where_encryption_is_wanted(sandbox: Sandbox) -> None:
    config = {**smtp(), "security": "starttls"}
    with pytest.raises(DeliveryError) as refused:
        await sent(["alice@example.com"], config=config)
    assert (refused.value.reason, refused.value.permanent) == ("not_supported", True)
    assert arrived(sandbox) == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "127.1", "::1"])
async def test_a_tenants_mail_server_on_a_private_address_is_refused(
    sandbox: Sandbox, settings: Settings, host: str
) -> None:
    settings.WEBHOOK_ALLOW_PRIVATE = []
    config = {**smtp(), "host": host}
    with pytest.raises(DeliveryError) as refused:
        await sent(["alice@example.com"], MESSAGE, config)
    assert (refused.value.reason, refused.value.permanent) == ("blocked_address", True)
    assert arrived(sandbox) == []


async def test_the_connection_goes_to_the_address_that_was_checked(
    sandbox: Sandbox, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def check(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    monkeypatch.setattr(mail_connections, "check_host", check)
    config = {**smtp(), "host": "smtp.example.test"}
    outcomes = await sent(["alice@example.com"], MESSAGE, config)
    assert outcomes["alice@example.com"].status == Status.SENT
    assert asked == ["smtp.example.test"] and len(arrived(sandbox)) == 1


async def test_a_message_without_words_fails_before_anything_is_sent(sandbox: Sandbox) -> None:
    with pytest.raises(DeliveryError) as silent:
        await sent(["alice@example.com"], replace(MESSAGE, content={"type": "x", "data": 1}))
    assert (silent.value.reason, silent.value.permanent) == ("no_text", True)
    assert arrived(sandbox) == []


async def test_whoever_stops_listening_stops_the_sending(sandbox: Sandbox) -> None:
    email = channel("email")
    outcomes = email.send(smtp(), MESSAGE, [recipient(f"r{number}@example.com", number) for number in range(200)])
    async for _ in outcomes:
        break
    await outcomes.aclose()  # type: ignore[attr-defined]
    seen = len(arrived(sandbox))
    await sent(["last@example.com"])
    assert len(arrived(sandbox)) == seen + 1 < 200


@asynccontextmanager
async def postmark(settings: Settings, answer: Answer) -> AsyncIterator[list[dict[str, Any]]]:
    """Postmark's API, one mail or a list of them; yields the mails that it saw, each with the number of its call."""
    seen: list[dict[str, Any]] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        body, call = await request.json(), len({mail["call"] for mail in seen})
        mails = body if isinstance(body, list) else [body]
        seen.extend({"call": call, "token": request.headers["X-Postmark-Server-Token"], **mail} for mail in mails)
        answers = [await answer(request, mail) for mail in mails]
        refused = [one for one in answers if one.status not in (200, 422)]
        if refused or mails is not body:
            return (refused or answers)[0]
        return web.json_response([json.loads(one.text or "") for one in answers])

    application = web.Application()
    application.router.add_post("/email", handle)
    application.router.add_post("/email/batch", handle)
    async with mail_provider("postmark", application, settings):
        yield seen


POSTMARK = {"provider": "postmark", "from_email": "shop@example.com", "api_key": "secret"}


def answering(status: int, code: int = 0, headers: Mapping[str, str] | None = None) -> Answer:
    async def answer(request: web.Request, body: dict[str, Any]) -> web.Response:
        words = {
            300: f"Invalid 'To' address: '{body['To']}'.",
            406: f"Found inactive addresses: {body['To'].lower()}. Inactive recipients are ones that have bounced.",
        }
        message = words.get(code, f"For {body['To']}")
        content = {"ErrorCode": code, "Message": message, "MessageID": "pm-1", "To": body["To"]}
        return web.json_response(content, status=status, headers=headers)

    return answer


async def test_a_provider_gets_the_mail_with_our_identifiers(settings: Settings) -> None:
    async with postmark(settings, answering(200)) as requests:
        outcomes = await sent(["alice@example.com"], MESSAGE, POSTMARK)
    outcome = outcomes["alice@example.com"]
    assert (outcome.status, outcome.provider, outcome.provider_id) == (Status.SENT, "postmark", "pm-1")
    assert requests[0]["token"] == "secret" and requests[0]["Subject"] == "Your order"
    kept = requests[0]["Metadata"]
    assert {name: kept[name] for name in ("delivery", "message", "round", "mode")} == {
        "delivery": "dlv_0",
        "message": "msg_1",
        "round": "1",
        "mode": "live",
    }
    assert len(kept) <= 10 and all(len(name) <= 20 and len(value) <= 80 for name, value in kept.items())


@pytest.mark.parametrize(
    ("status", "code", "expected", "reason", "retire"),
    [
        (422, 406, Status.FAILED, "rejected", False),
        (422, 300, Status.FAILED, "invalid_address", True),
        (422, 402, Status.FAILED, "provider_refused", False),
        (429, 0, Status.DEFERRED, "rate_limited", False),
        (503, 0, Status.DEFERRED, "provider_unavailable", False),
    ],
)
async def test_a_providers_answer_decides_the_outcome(
    settings: Settings, status: int, code: int, expected: Status, reason: str, retire: bool
) -> None:
    async with postmark(settings, answering(status, code, {"Retry-After": "7"})):
        outcomes = await sent(["Alice@example.com"], MESSAGE, POSTMARK)
    outcome = outcomes["Alice@example.com"]
    assert (outcome.status, outcome.reason, outcome.retire) == (expected, reason, retire)
    assert outcome.retry_after == (7.0 if expected == Status.DEFERRED else None)
    assert "@" not in json.dumps(dict(outcome.detail))


async def test_a_provider_that_refuses_the_key_is_asked_no_further(settings: Settings) -> None:
    async with postmark(settings, answering(401, 10)) as requests:
        with pytest.raises(DeliveryError) as refused:
            await sent([f"r{number}@example.com" for number in range(10)], MESSAGE, POSTMARK)
    assert (refused.value.reason, refused.value.permanent, len(requests)) == ("credentials_refused", True, 10)
    assert {mail["call"] for mail in requests} == {0}


async def test_those_who_share_a_call_see_only_themselves_and_have_outcomes_of_their_own(settings: Settings) -> None:
    addresses = [f"r{number}@example.com" for number in range(600)]

    async def answer(request: web.Request, body: dict[str, Any]) -> web.Response:
        return await answering(200, 406 if body["To"] == "r7@example.com" else 0)(request, body)

    async with postmark(settings, answer) as requests:
        outcomes = await sent(addresses, MESSAGE, POSTMARK)
    assert [sum(mail["call"] == call for mail in requests) for call in (0, 1)] == [500, 100]
    assert sorted(mail["To"] for mail in requests) == sorted(addresses)
    assert len({mail["Metadata"]["delivery"] for mail in requests}) == 600
    assert {address for address, one in outcomes.items() if one.status != Status.SENT} == {"r7@example.com"}
    assert outcomes["r7@example.com"].reason == "rejected"


async def test_two_receivers_with_one_mailbox_get_a_mail_each(settings: Settings) -> None:
    twins = [recipient("Same@example.com", 1), recipient("other@example.com", 2), recipient("same@example.com", 3)]
    async with postmark(settings, answering(200)) as requests:
        outcomes = [outcome async for outcome in channel("email").send(POSTMARK, MESSAGE, twins)]
    assert sorted(outcome.delivery for outcome in outcomes) == ["dlv_1", "dlv_2", "dlv_3"]
    assert sorted((mail["call"], mail["Metadata"]["delivery"]) for mail in requests) == [
        (0, "dlv_1"),
        (0, "dlv_2"),
        (1, "dlv_3"),
    ]


async def test_a_provider_that_is_away_got_nothing(settings: Settings, unused_tcp_port: int) -> None:
    settings.PROVIDER_URLS = {"postmark": f"http://127.0.0.1:{unused_tcp_port}/"}
    outcomes = await sent(["alice@example.com"], MESSAGE, POSTMARK)
    outcome = outcomes["alice@example.com"]
    assert (outcome.status, outcome.reason, outcome.unknown) == (Status.DEFERRED, "connection_failed", False)


async def test_a_provider_that_does_not_answer_may_have_sent_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail_connections, "TIMEOUT", 0.3)
    release = asyncio.Event()

    async def hold(request: web.Request, body: dict[str, Any]) -> web.Response:
        await release.wait()
        return web.Response()

    async with postmark(settings, hold):
        outcomes = await sent(["alice@example.com"], MESSAGE, POSTMARK)
        release.set()
    outcome = outcomes["alice@example.com"]
    assert (outcome.status, outcome.reason, outcome.unknown) == (Status.DEFERRED, "connection_lost", True)


@pytest.mark.parametrize("provider", sorted(ESPS))
def test_every_provider_of_the_form_can_be_made(provider: str) -> None:
    fields = dict.fromkeys(ESPS[provider].credentials.values(), "x")
    form = EmailConfig({"provider": provider, "from_email": "a@example.com", **fields})
    assert form.is_valid(), form.errors
    assert mail_connections.connection(form.cleaned_data).esp_name.lower() == provider  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("value", "canonical"),
    [
        (" Alice@Example.COM ", "Alice@example.com"),
        ("alice@ñandú.es", "alice@xn--and-6ma2c.es"),
        ("a.b+c@sub.example.co.uk", "a.b+c@sub.example.co.uk"),
    ],
)
def test_an_address_becomes_canonical_once(value: str, canonical: str) -> None:
    email = channel("email")
    assert email.clean_address(value) == canonical == email.clean_address(canonical)


@pytest.mark.parametrize(
    "value",
    [
        *("", "alice", "@example.com", "alice@", "alice@localhost", "a@b@example.com", "alice@[127.0.0.1]"),
        *(
            '"a b"@example.com',
            "Alice <alice@example.com>",
            "a@example.com,b@example.com",
            "a@example.com\nBcc: b@c.de",
        ),
        *("a" * 250 + "@example.com", "señal@example.com", "a@exa mple.com", None, 7),
    ],
)
def test_a_bad_address_is_refused_with_a_sentence(value: Any) -> None:
    with pytest.raises(ValueError, match=r"[A-Z].*\."):
        channel("email").clean_address(value)


def test_a_masked_address_shows_a_letter_and_the_domain() -> None:
    assert channel("email").mask_address("alice@example.com") == "a***@example.com"


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ({"provider": "smtp", "from_email": "a@example.com"}, "host"),
        ({"provider": "mailjet", "from_email": "a@example.com", "api_key": "k"}, "api_secret"),
        ({"provider": "smtp", "host": "smtp.example.com", "from_email": "nobody"}, "from_email"),
        ({"provider": "pigeon", "from_email": "a@example.com"}, "provider"),
        ({"provider": "smtp", "host": "h.example.com", "from_email": "a@example.com", "port": 70000}, "port"),
    ],
)
def test_a_configuration_names_the_field_that_is_wrong(values: dict[str, Any], wrong: str) -> None:
    assert set(EmailConfig(values).errors) == {wrong}


def test_a_provider_that_does_not_sign_gets_a_secret_made_for_its_webhooks() -> None:
    fields = {"from_email": "a@example.com", "api_key": "k", "api_secret": "s"}
    made = []
    for provider, esp in ESPS.items():
        form = EmailConfig({"provider": provider, **fields})
        assert form.is_valid()
        assert bool(form.cleaned_data["webhook_secret"]) == (esp.secret == BASIC_AUTH)
        made.append(form.cleaned_data["webhook_secret"])
    assert len({secret for secret in made if secret}) == 4 and all(":" in secret for secret in made if secret)
    own = EmailConfig({"provider": "postmark", "webhook_secret": "user:own", **fields})
    assert own.is_valid() and own.cleaned_data["webhook_secret"] == "user:own"
    assert "webhook_secret" in EmailConfig({"provider": "postmark", "webhook_secret": "own", **fields}).errors


def test_an_smtp_configuration_encrypts_by_default() -> None:
    form = EmailConfig({"provider": "smtp", "host": "smtp.example.com", "from_email": '"Acme" <a@example.com>'})
    assert form.is_valid()
    assert (form.cleaned_data["security"], form.cleaned_data["port"]) == ("starttls", 587)


@pytest.mark.parametrize("headers", [{"Bcc": "eve@example.com"}, {"X-A": "1\r\nBcc: e@x.com"}, {"From": "x@y.z"}])
def test_a_message_cannot_set_the_headers_that_address_it(headers: dict[str, str]) -> None:
    content = EmailContent(data={"headers": headers})
    assert not content.is_valid() and "headers" in content.errors
