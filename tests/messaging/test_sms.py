import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
import pytest_asyncio
from aiohttp import web
from pytest_django import Settings
from twilio.request_validator import RequestValidator

from feedback.events import Status
from messaging import twilio_api, twilio_lookup
from messaging.callback_urls import callback_url
from messaging.channels import channel
from messaging.channels.base import BadSignature, Callback, DeliveryError, Outcome
from messaging.channels.sms import Config, Sms
from messaging.sandbox.server import Sandbox
from messaging.sandbox.sms import Gateway
from messaging.sandbox.twilio import Message, sandbox_credentials
from messaging.twilio_api import OVERRIDES, TryLater, TwilioHttp, verified_form
from tests.environment import free_port
from tests.messaging.sending import outcomes, outgoing, recipient

ACCOUNT = "AC" + "0" * 32
CUT, LOST = "+15005550114", "+15005550115"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest_asyncio.fixture
async def sms() -> AsyncIterator[Sms]:
    found = channel("sms")
    assert isinstance(found, Sms)
    yield found
    await found.aclose()


async def one(sms: Sms, to: str, config: dict[str, Any] | None = None, **fields: Any) -> Outcome:
    message = outgoing(**fields)
    settled = dict(sms.sandbox_config("acme")) | (config or {})
    (outcome,) = await outcomes(sms, settled, message, [recipient(sms, message, "alice", to)])
    return outcome


class Listener:
    """Takes callbacks; the first `refusals` of them get 503."""

    def __init__(self) -> None:
        self.callbacks: asyncio.Queue[Callback] = asyncio.Queue()
        self.refusals = 0

    async def take(self, request: web.Request) -> web.Response:
        if self.refusals:
            self.refusals -= 1
            return web.Response(status=503)
        headers = {name.lower(): value for name, value in request.headers.items()}
        url, query = f"http://{request.host}{request.raw_path}", dict(request.query)
        body = await request.read()
        await self.callbacks.put(
            Callback(tenant="acme", provider="twilio", method="POST", url=url, query=query, headers=headers, body=body)
        )
        return web.Response()

    async def next(self) -> Callback:
        return await asyncio.wait_for(self.callbacks.get(), 10)


@pytest_asyncio.fixture
async def listener(settings: Settings) -> AsyncIterator[Listener]:
    """Where settings.PUBLIC_URL leads."""
    taking, application = Listener(), web.Application()
    application.add_routes([web.post("/{path:.*}", taking.take)])
    runner = web.AppRunner(application, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    settings.PUBLIC_URL = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield taking
    await runner.cleanup()


def signed(url: str, form: dict[str, str], token: str, tenant: str = "acme") -> Callback:
    body = "&".join(f"{name}={value.replace('+', '%2B')}" for name, value in form.items())
    headers = {"x-twilio-signature": RequestValidator(token).compute_signature(url, form)}
    query = dict(parse_qsl(urlsplit(url).query))
    return Callback(
        tenant=tenant, provider="twilio", method="POST", url=url, query=query, headers=headers, body=body.encode()
    )


async def test_a_number_is_sent_with_segments_and_encoding_kept(sandbox: Sandbox, sms: Sms) -> None:
    outcome = await one(sms, "+34600000001")
    assert outcome.status is Status.SENT
    assert outcome.provider == "twilio"
    assert outcome.provider_id.startswith("SM")
    assert outcome.detail == {"http_status": 201, "status": "queued", "encoding": "GSM-7", "segments": 1}
    (arrived,) = sandbox.arrivals.newest("sms", sandbox_credentials("acme")[0], 10)
    assert arrived["body"] == "Hello\nThis is a message."
    assert arrived["to"] == "+34600000001"
    assert arrived["from"] == "+15005550006"


async def test_the_override_replaces_text_and_sender(sandbox: Sandbox, sms: Sms) -> None:
    await one(sms, "+34600000001", overrides={"body": "Ünïcödé ☂", "sender": "Acme"})
    (arrived,) = sandbox.arrivals.newest("sms", None, 10)
    assert (arrived["body"], arrived["from"]) == ("Ünïcödé ☂", "Acme")


@pytest.mark.parametrize(
    ("to", "config", "status", "reason", "retire", "code"),
    [
        ("+15005550001", {}, Status.FAILED, "invalid_address", True, 21211),
        ("+15005550002", {}, Status.FAILED, "unroutable", False, 21612),
        ("+15005550003", {}, Status.FAILED, "region_not_enabled", False, 21408),
        ("+15005550004", {}, Status.SUPPRESSED, "opted_out", True, 21610),
        ("+15005550009", {}, Status.FAILED, "not_mobile", True, 21614),
        ("+34600000001", {"sender": "+15005550001"}, Status.FAILED, "invalid_sender", False, 21212),
        ("+34600000001", {"sender": "+15005550007"}, Status.FAILED, "invalid_sender", False, 21606),
        ("+34600000001", {"auth_token": "wrong"}, Status.FAILED, "credentials_refused", False, 20003),
    ],
)
async def test_a_refusal_of_the_provider_becomes_our_word(
    sandbox: Sandbox,
    sms: Sms,
    to: str,
    config: dict[str, Any],
    status: Status,
    reason: str,
    retire: bool,
    code: int,
) -> None:
    outcome = await one(sms, to, config)
    assert (outcome.status, outcome.reason, outcome.retire) == (status, reason, retire)
    assert outcome.detail["code"] == code
    assert to not in str(outcome.detail)


@pytest.mark.parametrize("code", [code for code in twilio_api.ERRORS if code != 401 and code < 30000])
async def test_every_row_of_the_error_table_is_what_the_gateway_makes_of_it(
    sandbox: Sandbox, sms: Sms, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    from messaging.sandbox import sms as gateway
    from messaging.sandbox import twilio

    monkeypatch.setattr(gateway, "FATES", {"+34600000099": gateway.Fate(code=code)})
    monkeypatch.setitem(twilio.ERRORS, code, twilio.ERRORS.get(code, (400, "Refused +34600000099")))
    outcome = await one(sms, "+34600000099")
    expected, reason = twilio_api.ERRORS[code]
    assert (outcome.status, outcome.reason, outcome.retire) == (expected, reason, reason in sms.retires)
    assert "+34600000099" not in str(outcome.detail)


async def test_too_long_a_text_is_the_providers_to_refuse(sandbox: Sandbox, sms: Sms) -> None:
    outcome = await one(sms, "+34600000001", overrides={"body": "x" * 1601})
    assert (outcome.status, outcome.reason) == (Status.FAILED, "text_too_long")


async def test_a_message_without_text_fails_before_the_provider_is_asked(sandbox: Sandbox, sms: Sms) -> None:
    with pytest.raises(DeliveryError) as raised:
        await one(sms, "+34600000001", content={"data": {"n": 1}})
    assert (raised.value.reason, raised.value.permanent) == ("empty_text", True)
    assert sandbox.arrivals.newest("sms", None, 10) == []


async def test_429_is_deferred_for_as_long_as_the_provider_asks(sandbox: Sandbox, sms: Sms) -> None:
    outcome = await one(sms, "+15005550111")
    assert (outcome.status, outcome.reason, outcome.retry_after) == (Status.DEFERRED, "rate_limited", 2.0)
    assert not outcome.unknown


async def test_a_full_queue_of_the_sender_is_deferred(sandbox: Sandbox, sms: Sms) -> None:
    outcome = await one(sms, "+34600000001", {"sender": "+15005550008"})
    assert (outcome.status, outcome.reason) == (Status.DEFERRED, "rate_limited")


async def test_503_is_deferred_and_known_not_to_be_carried_out(sandbox: Sandbox, sms: Sms) -> None:
    outcome = await one(sms, "+15005550112")
    assert (outcome.status, outcome.reason, outcome.unknown) == (Status.DEFERRED, "provider_unavailable", False)


async def test_an_address_that_is_unavailable_once_is_reached_by_the_second_attempt(sandbox: Sandbox, sms: Sms) -> None:
    message = outgoing()
    target, config = recipient(sms, message, "alice", "+15005550113"), sms.sandbox_config("acme")
    found = [(await outcomes(sms, config, message, [target]))[0].status for _ in range(2)]
    assert found == [Status.DEFERRED, Status.SENT]


async def test_a_connection_cut_after_the_request_left_is_unknown(sandbox: Sandbox, sms: Sms) -> None:
    outcome = await one(sms, "+15005550114")
    assert (outcome.status, outcome.reason, outcome.unknown) == (Status.DEFERRED, "connection_lost", True)


async def test_a_timeout_after_the_request_left_is_unknown(
    sandbox: Sandbox, sms: Sms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(twilio_api, "TIMEOUT", 0.2)
    outcome = await one(sms, "+15005550110")
    assert (outcome.status, outcome.reason, outcome.unknown) == (Status.DEFERRED, "timeout", True)


async def test_a_message_that_twilio_took_without_a_word_is_found(sandbox: Sandbox, sms: Sms) -> None:
    outcome = await one(sms, LOST)
    (arrived,) = sandbox.arrivals.newest("sms", None, 10)
    assert (outcome.status, outcome.provider_id, arrived["answer"]) == (Status.SENT, arrived["sid"], 0)
    status = outcome.detail["status"]
    assert status in ("queued", "sent")  # it moves on while it is looked up
    assert outcome.detail == {"looked_up": True, "status": status, "encoding": "GSM-7", "segments": 1}


async def test_of_equal_messages_each_is_found_for_one_delivery(sandbox: Sandbox, sms: Sms) -> None:
    message = outgoing()
    targets = [recipient(sms, message, name, LOST) for name in ("alice", "bob")]
    found = await outcomes(sms, sms.sandbox_config("acme"), message, targets)
    sids = {row["sid"] for row in sandbox.arrivals.newest("sms", None, 10)}
    assert len(sids) == 2 and {outcome.provider_id for outcome in found} == sids


@pytest.mark.parametrize("changes", [{"body": "Another text."}, {"to": "+34600000002"}, {"created": LONG_AGO}])
async def test_another_message_is_not_taken_for_it(
    sandbox: Sandbox, sms: Sms, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    monkeypatch.setattr(twilio_lookup, "AGAIN", 0)
    put_into(sandbox, **{"to": CUT, **changes})
    outcome = await one(sms, CUT)
    assert (outcome.status, outcome.unknown) == (Status.DEFERRED, True)


@pytest.mark.parametrize(
    ("config", "target", "requests"),
    [
        ({"retry_unknown": True}, {"attempt": 2}, 0),
        ({"retry_unknown": True}, {"attempt": 1}, 1),
        ({"retry_unknown": True}, {"attempt": 2, "round": 2}, 1),
        ({}, {"attempt": 2}, 1),
    ],
)
async def test_a_message_is_looked_for_before_it_is_repeated(
    sandbox: Sandbox, sms: Sms, config: dict[str, Any], target: dict[str, Any], requests: int
) -> None:
    message = outgoing()
    sid = put_into(sandbox, to="+34600000001")
    to = replace(recipient(sms, message, "alice", "+34600000001"), **target)
    (outcome,) = await outcomes(sms, {**sms.sandbox_config("acme"), **config}, message, [to])
    assert outcome.status is Status.SENT
    assert len(sandbox.arrivals.newest("sms", None, 10)) == requests
    assert (outcome.provider_id == sid) == (requests == 0)


def put_into(sandbox: Sandbox, **fields: Any) -> str:
    """A message that acme's account has already, with the text of outgoing(); its SID."""
    gateway = sandbox.gateways["sms"]
    assert isinstance(gateway, Gateway)
    body = "Hello\nThis is a message."
    parts = {"account": sandbox_credentials("acme")[0], "sender": "+15005550006", "service": "", "callback": ""}
    message = Message(**{"body": body, **parts, **fields})
    return gateway.put(message)


async def test_a_provider_that_nobody_reaches_is_deferred_and_known_not_to_have_the_message(
    sms: Sms, settings: Settings
) -> None:
    settings.SANDBOX_URL = f"http://127.0.0.1:{free_port()}"
    outcome = await one(sms, "+34600000001")
    assert (outcome.status, outcome.reason, outcome.unknown) == (Status.DEFERRED, "provider_unavailable", False)


async def test_a_gateway_timeout_is_unknown() -> None:
    application = web.Application()

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=504)

    application.add_routes([web.post("/", answer)])
    runner = web.AppRunner(application, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    http = TwilioHttp()
    with pytest.raises(TryLater) as raised:
        await http.request("POST", f"http://127.0.0.1:{runner.addresses[0][1]}/")
    await http.close()
    await runner.cleanup()
    assert raised.value.unknown


async def test_one_bad_number_spoils_none_of_the_others(sandbox: Sandbox, sms: Sms) -> None:
    message = outgoing()
    numbers = [f"+346000000{n:02}" for n in range(30)]
    numbers[7], numbers[19] = "+15005550001", "+15005550114"
    targets = [recipient(sms, message, f"r{n}", number) for n, number in enumerate(numbers)]
    found = {o.delivery: o.status for o in await outcomes(sms, sms.sandbox_config("acme"), message, targets)}
    assert len(found) == 30
    assert found[targets[7].delivery] is Status.FAILED
    assert found[targets[19].delivery] is Status.DEFERRED
    assert sum(status is Status.SENT for status in found.values()) == 28


async def test_a_slow_number_does_not_hold_back_the_outcomes_of_the_others(sandbox: Sandbox, sms: Sms) -> None:
    sandbox.control.slow = 1.0
    message = outgoing()
    targets = [recipient(sms, message, "slow", "+15005550110"), recipient(sms, message, "fast", "+34600000001")]
    order = [outcome.delivery for outcome in await outcomes(sms, sms.sandbox_config("acme"), message, targets)]
    assert order == [targets[1].delivery, targets[0].delivery]


async def test_a_live_message_goes_to_the_configured_provider_url(
    sandbox: Sandbox, sms: Sms, settings: Settings
) -> None:
    settings.PROVIDER_URLS = {"twilio": f"{sandbox.url}/sms"}
    settings.SANDBOX_URL = f"http://127.0.0.1:{free_port()}"
    assert (await one(sms, "+34600000001", mode="live")).status is Status.SENT


async def test_a_signed_callback_says_that_the_message_was_delivered(
    sandbox: Sandbox, sms: Sms, listener: Listener
) -> None:
    message = outgoing()
    target, config = recipient(sms, message, "alice", "+34600000001"), sms.sandbox_config("acme")
    (outcome,) = await outcomes(sms, config, message, [target])
    (sent,) = sms.parse_events(await listener.next(), config)
    (delivered,) = sms.parse_events(await listener.next(), config)
    assert (sent.status, delivered.status) == (Status.SENT, Status.DELIVERED)
    assert delivered.event == f"evt_{outcome.provider_id}_delivered"
    assert (delivered.tenant, delivered.mode, delivered.message) == ("acme", "test", message.id)
    assert (delivered.delivery, delivered.receiver, delivered.round) == (target.delivery, "alice", 1)
    assert (delivered.channel, delivered.provider_id) == ("sms", outcome.provider_id)
    assert (delivered.address_hash, delivered.address_masked) == (target.address_hash, "+34*****001")


@pytest.mark.parametrize(
    ("to", "words", "reason"),
    [
        ("+15005550102", ["sent", "failed"], "unreachable"),
        ("+15005550103", ["sent", "failed"], "unknown_handset"),
        ("+15005550104", ["failed"], "landline"),
        ("+15005550105", ["failed"], "filtered"),
        ("+15005550109", ["failed"], "opted_out"),
    ],
)
async def test_a_callback_says_why_the_message_was_not_delivered(
    sandbox: Sandbox, sms: Sms, listener: Listener, to: str, words: list[str], reason: str
) -> None:
    await one(sms, to)
    events = [sms.parse_events(await listener.next(), sms.sandbox_config("acme"))[0] for _ in words]
    assert [str(event.status) for event in events] == words
    assert events[-1].reason == reason


async def test_a_callback_is_repeated_while_it_gets_503(sandbox: Sandbox, sms: Sms, listener: Listener) -> None:
    listener.refusals = 1
    await one(sms, "+34600000001")
    assert sms.parse_events(await listener.next(), sms.sandbox_config("acme"))[0].status is Status.SENT


async def test_nobody_calls_back_for_the_silent_number_nor_with_callbacks_off(
    sandbox: Sandbox, sms: Sms, listener: Listener
) -> None:
    await one(sms, "+15005550101")
    sandbox.control.callbacks = False
    await one(sms, "+34600000001")
    sandbox.control.callbacks = True
    last = await one(sms, "+34600000002")
    first_heard = sms.parse_events(await listener.next(), sms.sandbox_config("acme"))[0]
    assert first_heard.provider_id == last.provider_id


def test_no_address_travels_in_the_callback_url() -> None:
    sms, message = channel("sms"), outgoing()
    url = callback_url(sms, "twilio", message, recipient(sms, message, "alice", "+34600000001"))
    assert "600000001" not in url
    assert set(parse_qs(urlsplit(url).query)) == {"mode", "ref"}


def test_twilios_published_signature_holds() -> None:
    form = {
        "CallSid": "CA1234567890ABCDE",
        "Caller": "+14158675309",
        "Digits": "1234",
        "From": "+14158675309",
        "To": "+18005551212",
    }
    callback = signed("https://mycompany.com/myapp.php?foo=1&bar=2", form, "12345")
    assert callback.headers["x-twilio-signature"] == "RSOYDt4T1cUTdK1PDd93/VVr8B8="
    assert verified_form(callback, "12345")["Digits"] == "1234"


@pytest.mark.parametrize("overrides", ["", OVERRIDES])
def test_a_callback_holds_whether_the_provider_signs_the_overrides_or_not(overrides: str) -> None:
    callback = signed("https://example.test/x?ref=1" + overrides, {"MessageSid": "SM1"}, "12345")
    called = Callback(
        **{name: getattr(callback, name) for name in ("tenant", "provider", "method", "query", "headers", "body")},
        url="https://example.test/x?ref=1",
    )
    assert verified_form(called, "12345")["MessageSid"] == "SM1"


def _ours(sms: Any, mode: str = "live", tenant: str = "acme", callback_tenant: str = "acme") -> Callback:
    message = outgoing(mode=mode, tenant=tenant)
    url = callback_url(sms, "twilio", message, recipient(sms, message, "alice", "+34600000001"))
    form = {"MessageSid": "SM1", "MessageStatus": "delivered", "To": "+34600000001"}
    return signed(url, form, "12345", callback_tenant)


def test_a_callback_signed_with_another_token_is_refused() -> None:
    sms = channel("sms")
    with pytest.raises(BadSignature):
        sms.parse_events(_ours(sms), {"auth_token": "54321"})


def test_a_tenant_cannot_name_another_tenants_delivery_in_its_own_callback() -> None:
    sms = channel("sms")
    with pytest.raises(BadSignature):
        sms.parse_events(_ours(sms, tenant="globex"), {"auth_token": "12345"})


def test_a_reference_that_was_changed_is_refused() -> None:
    sms, url = channel("sms"), "https://example.test/api/v1/callbacks/acme/sms/twilio?mode=live&ref=e30.x"
    with pytest.raises(BadSignature):
        sms.parse_events(signed(url, {"MessageStatus": "delivered"}, "12345"), {"auth_token": "12345"})


def test_a_callback_without_a_reference_says_nothing() -> None:
    sms, url = channel("sms"), "https://example.test/api/v1/callbacks/acme/sms/twilio"
    assert sms.parse_events(signed(url, {"MessageStatus": "delivered"}, "12345"), {"auth_token": "12345"}) == []


def test_a_repeated_callback_is_the_same_event() -> None:
    sms = channel("sms")
    callback = _ours(sms)
    config = {"auth_token": "12345"}
    assert sms.parse_events(callback, config)[0].event == sms.parse_events(callback, config)[0].event


@pytest.mark.parametrize("value", ["+34 600 00 00 01", "+34600000001", "+34 (600) 000-001"])
def test_a_number_is_kept_in_e164(value: str) -> None:
    assert channel("sms").clean_address(value) == "+34600000001"


@pytest.mark.parametrize(
    "value", ["", "600000001", "+34", "+3460000000100000", "+1800FLOWERS", "+999123456789", None, 34]
)
def test_what_is_no_international_number_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="phone number"):
        channel("sms").clean_address(value)


def test_a_mask_shows_country_and_three_digits() -> None:
    assert channel("sms").mask_address("+34600000001") == "+34*****001"


def test_a_configuration_needs_a_sender_or_a_messaging_service() -> None:
    form = Config({"account_sid": ACCOUNT, "auth_token": "secret"})
    assert form.non_field_errors() == ["Give a From or a messaging service SID."]


@pytest.mark.parametrize("more", [{"sender": "+15005550006"}, {"messaging_service_sid": "MG" + "0" * 32}])
def test_a_configuration_with_one_of_them_is_valid(more: dict[str, str]) -> None:
    assert Config({"account_sid": ACCOUNT, "auth_token": "secret", **more}).is_valid()
