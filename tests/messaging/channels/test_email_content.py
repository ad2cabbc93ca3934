"""What a mail can carry: attachments and one-click unsubscription, as they arrive at the gateways."""

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from django.test import Client
from pytest_django import Settings

from feedback.events import Status
from messaging import mail_attachments
from messaging.channels import channel
from messaging.channels.base import DeliveryError, Outcome, Outgoing
from messaging.esps import ESPS
from messaging.mail import compose
from messaging.mail_forms import EmailContent
from messaging.sandbox.server import Sandbox
from subscriptions import selectors
from subscriptions import services as subscriptions
from subscriptions.inputs import AddressInput
from tests.conftest import TenantUnderTest
from tests.messaging.sending import outcomes, outgoing, recipient

PDF = b"%PDF-1.7 " + bytes(range(256))
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def smtp(settings: Settings) -> dict[str, Any]:
    login = {"username": "acme", "password": "sandbox", "from_email": "acme@sandbox.example.com"}
    return {"provider": "smtp", "security": "none", "host": "127.0.0.1", "port": settings.SANDBOX_SMTP_PORT, **login}


async def sent(message: Outgoing, config: Mapping[str, Any] | None = None, count: int = 1) -> list[Outcome]:
    email = channel("email")
    targets = [recipient(email, message, f"r{number}", f"r{number}@example.com") for number in range(count)]
    return await outcomes(email, config or email.sandbox_config("acme"), message, targets)


def with_files(*files: dict[str, Any], mode: str = "test") -> Outgoing:
    content = EmailContent(data={"attachments": list(files)})
    assert content.is_valid(), content.errors
    return outgoing(mode=mode, overrides=dict(content.validated_data))


@asynccontextmanager
async def files(settings: Settings, answer: Answer) -> AsyncIterator[tuple[str, list[str]]]:
    """A server of files that the operator allows: its URL, and the paths that were asked for."""
    asked: list[str] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return await answer(request)

    application = web.Application()
    application.router.add_get("/{name:.*}", handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host = f"127.0.0.1:{runner.addresses[0][1]}"
    settings.WEBHOOK_ALLOW_PRIVATE = [*settings.WEBHOOK_ALLOW_PRIVATE, host]
    try:
        yield f"http://{host}", asked
    finally:
        await runner.cleanup()


async def pdf(request: web.Request) -> web.Response:
    return web.Response(body=PDF, content_type="application/pdf")


def answering(status: int, headers: Mapping[str, str] | None = None) -> Answer:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, headers=headers)

    return answer


def carried(name: str = "bill.pdf") -> dict[str, Any]:
    return {"name": name, "content": base64.b64encode(PDF).decode()}


@pytest.mark.parametrize("provider", ["smtp", "mailgun"])
async def test_a_carried_file_arrives(sandbox: Sandbox, settings: Settings, provider: str) -> None:
    live = provider == "smtp"
    message = with_files(carried(), carried("cuenta señal.bin"), mode="live" if live else "test")
    (outcome,) = await sent(message, smtp(settings) if live else None)
    (mail,) = sandbox.arrivals.newest("email", "acme", 10)
    assert outcome.status == Status.SENT
    assert mail["attachments"] == [
        {"name": "bill.pdf", "type": "application/pdf", "size": len(PDF)},
        {"name": "cuenta señal.bin", "type": "application/octet-stream", "size": len(PDF)},
    ]


async def test_a_file_is_fetched_once_a_message_however_many_get_it(sandbox: Sandbox, settings: Settings) -> None:
    async with files(settings, pdf) as (url, asked):
        message = with_files({"url": f"{url}/bills/17.pdf"})
        await asyncio.gather(sent(message, count=40), sent(message, count=40))
        await sent(message)
        assert asked == ["/bills/17.pdf"]
        await sent(with_files({"url": f"{url}/bills/17.pdf", "name": "18.pdf", "type": "application/x-bill"}))
        assert len(asked) == 2
    newest, *others = sandbox.arrivals.newest("email", "acme", 100)
    assert newest["attachments"] == [{"name": "18.pdf", "type": "application/x-bill", "size": len(PDF)}]
    assert len(others) == 81
    assert others[0]["attachments"] == [{"name": "17.pdf", "type": "application/pdf", "size": len(PDF)}]


@pytest.mark.parametrize(
    ("answer", "reason", "permanent"),
    [
        (answering(404), "attachment_refused", True),
        (answering(302, {"Location": "http://127.0.0.1/"}), "attachment_refused", True),
        (answering(429), "attachment_unavailable", False),
        (answering(503), "attachment_unavailable", False),
    ],
)
async def test_a_file_that_cannot_be_fetched_stops_the_message_with_the_reason(
    sandbox: Sandbox, settings: Settings, answer: Answer, reason: str, permanent: bool
) -> None:
    async with files(settings, answer) as (url, _):
        with pytest.raises(DeliveryError) as refused:
            await sent(with_files({"url": f"{url}/a.pdf"}))
    assert (refused.value.reason, refused.value.permanent) == (reason, permanent)
    assert sandbox.arrivals.newest("email", "acme", 10) == []


async def test_what_failed_is_fetched_again_by_the_next_attempt(sandbox: Sandbox, settings: Settings) -> None:
    answers = [answering(503), pdf]

    async def answer(request: web.Request) -> web.StreamResponse:
        return await answers.pop(0)(request)

    async with files(settings, answer) as (url, asked):
        message = with_files({"url": f"{url}/a.pdf"})
        with pytest.raises(DeliveryError):
            await sent(message)
        assert [outcome.status for outcome in await sent(message)] == [Status.SENT]
    assert len(asked) == 2


async def test_a_file_that_never_ends_or_never_comes_is_given_up(
    sandbox: Sandbox, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail_attachments, "MAX_BYTES", 100_000)
    monkeypatch.setattr(mail_attachments, "TIMEOUT", 0.3)
    stop = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        if request.path == "/big":
            while not stop.is_set():
                await response.write(b"x" * 10_000)
        await stop.wait()
        return response

    async with files(settings, endless) as (url, _):
        reasons = []
        for path in ("big", "silent"):
            with pytest.raises(DeliveryError) as refused:
                await sent(with_files({"url": f"{url}/{path}"}))
            reasons.append((refused.value.reason, refused.value.permanent))
        stop.set()
    assert reasons == [("attachments_too_large", True), ("attachment_unavailable", False)]


async def test_all_files_together_have_a_limit(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail_attachments, "MAX_BYTES", len(PDF) * 2 - 1)
    with pytest.raises(DeliveryError, match="attachments_too_large"):
        await sent(with_files(carried("a"), carried("b")))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "[::1]", "169.254.169.254"])
async def test_no_file_is_fetched_from_a_private_address(sandbox: Sandbox, settings: Settings, host: str) -> None:
    settings.WEBHOOK_ALLOW_PRIVATE = []
    with pytest.raises(DeliveryError) as refused:
        await sent(outgoing(overrides={"attachments": [{"url": f"https://{host}:{sandbox.port}/"}]}))
    assert (refused.value.reason, refused.value.permanent) == ("blocked_address", True)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"name": "a", "content": "no base64!"},
        {"content": "YQ=="},
        {"name": "a/b", "content": "YQ=="},
        {"name": "a\r\nBcc: x", "content": "YQ=="},
        {"name": "a", "content": "YQ==", "url": "https://example.com/a"},
        {"name": "a", "content": "YQ==", "type": "message/rfc822"},
        {"name": "a", "content": "YQ==", "type": "text/plain; charset=x"},
        {"url": "http://example.com/a"},
        {"url": "https://user:pass@example.com/a"},
        {"url": "ftp://example.com/a"},
        {"url": "https://example.com:99999/a"},
        {"name": "a", "content": "YQ==", "colour": "red"},
    ],
)
def test_an_attachment_that_is_not_one_is_refused_with_the_message(wrong: dict[str, Any]) -> None:
    content = EmailContent(data={"attachments": [wrong]})
    assert not content.is_valid() and "attachments" in content.errors


@pytest.mark.parametrize(
    "wrong", ["http://example.com/u", "https://example.com/a b", "https://e.com/>\r\nBcc: x", 1, None, "yes"]
)
def test_an_unsubscribe_address_is_an_https_url(wrong: Any) -> None:
    content = EmailContent(data={"unsubscribe": wrong})
    assert not content.is_valid() and "unsubscribe" in content.errors


def headers_of(overrides: dict[str, Any], group: str | None = None, receiver: str = "alice") -> dict[str, str]:
    """The unsubscription headers of a mail."""
    email, message = channel("email"), outgoing(mode="live", overrides=overrides)
    to = recipient(email, message, receiver, "alice@example.com")
    target = type(to)(**{name: getattr(to, name) for name in to.__slots__} | {"group": group})
    headers = compose({"provider": "postmark", "from_email": "a@example.com"}, message, [target]).extra_headers
    return {name: value for name, value in headers.items() if name.startswith("List-Unsubscribe")}


def test_what_goes_to_a_group_can_be_unsubscribed_unless_the_message_says_otherwise() -> None:
    assert headers_of({}) == {}
    assert headers_of({"unsubscribe": False}, group="news") == {}
    for found in (headers_of({}, group="news"), headers_of({"unsubscribe": True})):
        assert re.fullmatch(r"<http://[^<> ]+/api/v1/unsubscribe/acme\?token=[^<> ]+>", found["List-Unsubscribe"])
        assert found["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    own = headers_of({"unsubscribe": "https://example.com/u?id=1"})
    assert own["List-Unsubscribe"] == "<https://example.com/u?id=1>" and len(own) == 2
    assert headers_of({"headers": {"List-Unsubscribe": "<mailto:x@example.com>"}}, group="news") == {
        "List-Unsubscribe": "<mailto:x@example.com>"
    }


def test_an_address_without_a_receiver_gets_a_link_where_the_message_says_so() -> None:
    email, message = channel("email"), outgoing()
    anonymous = f"addr:{recipient(email, message, 'x', 'alice@example.com').address_hash}"
    assert headers_of({}, receiver=anonymous) == {}
    assert "List-Unsubscribe" in headers_of({"unsubscribe": True}, receiver=anonymous)


async def test_in_one_call_each_gets_a_link_of_his_own(sandbox: Sandbox) -> None:
    await sent(outgoing(overrides={"unsubscribe": True, "headers": {"X-Campaign": "7"}}), count=30)
    rows = sandbox.arrivals.newest("email", "acme", 100)
    assert len({row["id"] for row in rows}) == 1
    assert len({row["headers"]["list-unsubscribe"] for row in rows}) == 30
    assert {row["headers"]["x-campaign"] for row in rows} == {"7"}


def link_of(mode: str = "live", tenant: str = "acme") -> str:
    """The path and query of alice's link."""
    email, message = channel("email"), outgoing(mode=mode, tenant=tenant, overrides={"unsubscribe": True})
    target = recipient(email, message, "alice", "alice@example.com")
    mail = compose({"provider": "mailgun", "from_email": "a@example.com"}, message, [target])
    url = urlsplit(mail.extra_headers["List-Unsubscribe"].strip("<>"))
    return f"{url.path}?{url.query}"


def state_of_alice() -> tuple[str, str | None]:
    (address,) = selectors.receiver("acme", "alice").addresses
    return address.status, address.reason


@pytest.fixture
def alice(acme: TenantUnderTest) -> None:
    subscriptions.put_receiver("acme", "alice", [AddressInput("email", "alice@example.com")])


@pytest.mark.services
def test_one_click_opts_the_address_out_and_it_stays_out(alice: None) -> None:
    client, link = Client(enforce_csrf_checks=True), link_of()
    page = client.get(link)
    assert (page.status_code, state_of_alice()) == (200, ("active", None))
    assert b"Unsubscribe" in page.content and b"Acme" in page.content
    form = {"List-Unsubscribe": "One-Click"}
    assert client.post(link, form).status_code == 200
    assert client.post(link, form).status_code == 200
    assert state_of_alice() == ("retired", "opted_out")
    subscriptions.put_receiver("acme", "alice", [AddressInput("email", "alice@example.com")], {"vip": True})
    assert state_of_alice() == ("retired", "opted_out")
    subscriptions.put_receiver("acme", "alice", [])
    subscriptions.put_receiver("acme", "alice", [AddressInput("email", "alice@example.com")])
    assert state_of_alice() == ("active", None)


@pytest.mark.services
def test_a_test_messages_link_opts_nobody_out(alice: None) -> None:
    assert Client().post(link_of("test")).status_code == 200
    assert state_of_alice() == ("active", None)


@pytest.mark.parametrize("change", ["cut", "tenant", "mode", "none"])
def test_a_link_that_we_did_not_sign_does_nothing(acme: TenantUnderTest, globex: TenantUnderTest, change: str) -> None:
    link = link_of()
    wrong = {
        "cut": link[:-1],
        "tenant": link.replace("/acme", "/globex"),
        "mode": link.replace("token=live", "token=test"),
        "none": link.partition("?")[0],
    }[change]
    assert wrong != link
    assert Client().post(wrong).status_code == 404 == Client().get(wrong).status_code


def test_a_mailers_own_header_rules_are_kept() -> None:
    email, message = channel("email"), outgoing(overrides={"unsubscribe": True})
    target = recipient(email, message, "alice", "alice@example.com")
    for provider, esp in ESPS.items():
        mail = compose({"provider": provider, "from_email": "a@example.com"}, message, [target])
        assert ("List-Unsubscribe" in mail.extra_headers) == esp.takes_headers
