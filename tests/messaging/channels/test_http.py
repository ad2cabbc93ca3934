"""The http channel against real servers: the sandbox's endpoint, and small ones that misbehave."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from pytest_django import Settings
from standardwebhooks import Webhook

from feedback.events import Status
from messaging.channels import channel
from messaging.channels.base import Outcome, Outgoing, Recipient
from messaging.channels.http import HttpConfig
from messaging.sandbox.server import Sandbox
from sprayer_project import outbound, signatures

NOW = datetime.now(UTC)
MESSAGE = Outgoing(
    tenant="acme",
    id="msg_1",
    mode="live",
    content={"type": "score.changed", "title": "Goal", "body": "1:0 señal", "data": {"deep": [1, None, {}]}},
    overrides={},
    metadata={"order": "17"},
    attributes={"league": "second"},
    priority="normal",
    collapse_key=None,
    created_at=NOW,
    expires_at=NOW,
)
CONFIG: Mapping[str, Any] = {"secret": signatures.new_secret(), "timeout": 5.0}


@pytest_asyncio.fixture(autouse=True)
async def closed() -> AsyncIterator[None]:
    yield
    await outbound.aclose()


@pytest.fixture
def at(sandbox: Sandbox) -> Iterator[str]:
    yield f"{sandbox.url}/http"


def recipient(number: int, url: str, **values: Any) -> Recipient:
    base = Recipient(delivery=f"dlv_{number}", receiver=f"r{number}", address=url, address_hash="h", round=1, attempt=1)
    return replace(base, **values)


async def sent(
    recipients: Sequence[Recipient], config: Mapping[str, Any] = CONFIG, message: Outgoing = MESSAGE
) -> list[Outcome]:
    return [outcome async for outcome in channel("http").send(config, message, recipients)]


async def one(url: str, config: Mapping[str, Any] = CONFIG, message: Outgoing = MESSAGE) -> Outcome:
    (outcome,) = await sent([recipient(1, url)], config, message)
    return outcome


async def test_the_receiver_can_verify_and_read_what_arrives(at: str, sandbox: Sandbox) -> None:
    await sent([recipient(1, f"{at}/orders?x=1", receiver='al"ice', group="néws")])
    (arrival,) = sandbox.arrivals.newest("http", "acme", 10)
    body = Webhook(CONFIG["secret"]).verify(arrival["body"], arrival["headers"])
    assert body == {
        "type": "message",
        "timestamp": NOW.isoformat(),
        "data": {
            "id": "msg_1",
            "content": MESSAGE.content,
            "attributes": {"league": "second"},
            "metadata": {"order": "17"},
            "delivery": "dlv_1",
            "receiver": 'al"ice',
            "group": "néws",
        },
    }
    assert (arrival["method"], arrival["path"]) == ("POST", "/http/orders?x=1")
    assert arrival["headers"]["webhook-id"] == "dlv_1"
    assert arrival["headers"]["content-type"] == "application/json"


async def test_during_a_rotation_a_request_verifies_with_either_secret(at: str, sandbox: Sandbox) -> None:
    config = {**CONFIG, "previous_secret": signatures.new_secret()}
    await one(f"{at}/orders", config)
    (arrival,) = sandbox.arrivals.newest("http", "acme", 10)
    for secret in (config["secret"], config["previous_secret"]):
        assert Webhook(secret).verify(arrival["body"], arrival["headers"]) == json.loads(arrival["body"])


@pytest.mark.parametrize(
    ("path", "status", "reason", "retire"),
    [
        ("/anything", Status.DELIVERED, "", False),
        ("/status/202", Status.DELIVERED, "", False),
        ("/redirect", Status.FAILED, "redirected", False),
        ("/status/400", Status.FAILED, "endpoint_refused", False),
        ("/status/404", Status.FAILED, "endpoint_refused", False),
        ("/status/410", Status.FAILED, "gone", True),
        ("/status/408", Status.DEFERRED, "endpoint_unavailable", False),
        ("/status/425", Status.DEFERRED, "endpoint_unavailable", False),
        ("/status/429", Status.DEFERRED, "rate_limited", False),
        ("/status/500", Status.DEFERRED, "endpoint_unavailable", False),
        ("/status/503", Status.DEFERRED, "endpoint_unavailable", False),
    ],
)
async def test_an_answers_status_decides_the_outcome(
    at: str, path: str, status: Status, reason: str, retire: bool
) -> None:
    outcome = await one(at + path)
    assert (outcome.status, outcome.reason, outcome.retire, outcome.unknown) == (status, reason, retire, False)
    assert isinstance(outcome.detail["http_status"], int)


async def test_retry_after_is_passed_on(at: str) -> None:
    outcome = await one(f"{at}/retry-after/3")
    assert (outcome.reason, outcome.retry_after) == ("rate_limited", 3.0)


async def test_a_redirect_is_not_followed(at: str, sandbox: Sandbox) -> None:
    await one(f"{at}/redirect")
    assert [arrival["path"] for arrival in sandbox.arrivals.newest("http", None, 10)] == ["/http/redirect"]


async def test_a_repeat_has_the_same_id_and_a_flaky_endpoint_takes_it_at_last(at: str, sandbox: Sandbox) -> None:
    tries = [await one(f"{at}/flaky/2/x") for _ in range(3)]
    assert [outcome.status for outcome in tries] == [Status.DEFERRED, Status.DEFERRED, Status.DELIVERED]
    arrivals = sandbox.arrivals.newest("http", "acme", 10)
    assert {arrival["headers"]["webhook-id"] for arrival in arrivals} == {"dlv_1"}
    assert len({arrival["body"] for arrival in arrivals}) == 1


async def test_no_answer_in_time_is_unknown(at: str) -> None:
    outcome = await one(f"{at}/slow", {**CONFIG, "timeout": 0.2})
    assert (outcome.status, outcome.reason, outcome.unknown) == (Status.DEFERRED, "timeout", True)


async def test_a_connection_that_breaks_is_unknown(at: str) -> None:
    outcome = await one(f"{at}/reset")
    assert (outcome.status, outcome.reason, outcome.unknown) == (Status.DEFERRED, "connection_lost", True)


async def test_a_refused_connection_is_known_not_to_have_been_used(unused_tcp_port: int, settings: Settings) -> None:
    settings.WEBHOOK_ALLOW_PRIVATE = [f"127.0.0.1:{unused_tcp_port}"]
    outcome = await one(f"http://127.0.0.1:{unused_tcp_port}/")
    assert (outcome.status, outcome.reason, outcome.unknown) == (Status.DEFERRED, "connection_failed", False)


async def test_a_private_address_fails_for_good_and_nothing_arrives(
    at: str, sandbox: Sandbox, settings: Settings
) -> None:
    settings.WEBHOOK_ALLOW_PRIVATE = []
    outcome = await one(f"{at}/orders")
    assert (outcome.status, outcome.reason) == (Status.FAILED, "blocked_address")
    assert sandbox.arrivals.newest("http", None, 10) == []


async def test_a_test_message_goes_to_the_sandbox_and_names_the_real_url(sandbox: Sandbox, settings: Settings) -> None:
    settings.WEBHOOK_ALLOW_PRIVATE = []
    http, message = channel("http"), replace(MESSAGE, mode="test")
    outcome = await one("https://hooks.example.test/orders", http.sandbox_config("acme"), message)
    (arrival,) = sandbox.arrivals.newest("http", "acme", 10)
    assert outcome.status == Status.DELIVERED
    assert arrival["headers"]["sprayer-original-url"] == "https://hooks.example.test/orders"
    assert arrival["path"] == "/http/test"


async def test_a_test_message_keeps_a_sandbox_urls_magic(at: str, settings: Settings) -> None:
    settings.WEBHOOK_ALLOW_PRIVATE = []
    outcome = await one(f"{at}/status/410", channel("http").sandbox_config("acme"), replace(MESSAGE, mode="test"))
    assert outcome.reason == "gone"


async def test_the_sandboxs_count_mode_counts_and_keeps_nothing(at: str, sandbox: Sandbox) -> None:
    await sent([recipient(number, f"{at}/count") for number in range(50)])
    async with aiohttp.ClientSession() as session, session.get(f"{at}/count") as answer:
        assert await answer.json() == {"count": 50}
    assert sandbox.arrivals.newest("http", None, 10) == []


async def test_a_slow_host_does_not_delay_another(at: str, settings: Settings) -> None:
    release = asyncio.Event()

    async def hold(request: web.Request) -> web.Response:
        await release.wait()
        return web.Response()

    application = web.Application()
    application.router.add_post("/", hold)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    settings.WEBHOOK_ALLOW_PRIVATE = [*settings.WEBHOOK_ALLOW_PRIVATE, f"127.0.0.1:{port}"]
    slow = [recipient(number, f"http://127.0.0.1:{port}/") for number in range(100)]
    quick = [recipient(number, f"{at}/quick") for number in range(100, 110)]
    outcomes: list[Outcome] = []
    async with asyncio.timeout(20):
        async for outcome in channel("http").send({**CONFIG, "timeout": 15}, MESSAGE, slow + quick):
            outcomes.append(outcome)
            if len(outcomes) == len(quick):
                release.set()
    await runner.cleanup()
    assert {outcome.delivery for outcome in outcomes[:10]} == {one.delivery for one in quick}
    assert {outcome.status for outcome in outcomes} == {Status.DELIVERED} and len(outcomes) == 110


@pytest.mark.parametrize(
    ("value", "canonical"),
    [
        ("https://Example.COM", "https://example.com/"),
        ("HTTP://example.com:80/a", "http://example.com/a"),
        ("https://example.com:443/", "https://example.com/"),
        ("https://example.com:8443/a b?q=ñ", "https://example.com:8443/a%20b?q=%C3%B1"),
        ("https://example.com?a=1", "https://example.com/?a=1"),
        ("https://@example.com/", "https://example.com/"),
        (" https://ñandú.es/x ", "https://xn--and-6ma2c.es/x"),
        ("https://example.com/%2Fkept?a=%26", "https://example.com/%2Fkept?a=%26"),
        ("http://[2606:4700::1]/", "http://[2606:4700::1]/"),
    ],
)
def test_an_address_becomes_canonical_once(value: str, canonical: str) -> None:
    http = channel("http")
    assert http.clean_address(value) == canonical
    assert http.clean_address(canonical) == canonical


@pytest.mark.parametrize(
    "value",
    [
        *("", "example.com", "ftp://example.com/", "javascript:alert(1)", "https://", "https:///x", "//example.com/"),
        *("https://user@example.com/", "https://user:pw@example.com/", "https://:pw@example.com/", "https://a b.com/"),
        *("https://example.com/#top", "https://example.com:0/", "https://example.com:99999/", "https://[::1/"),
        *("https://example.com/" + "x" * 2048, "https://a.com\\@b.com/", "https://exa mple.com/", "http://a\r\nb/"),
        *("https://example.com/\r\nHost: b", None, 7, ["https://example.com/"]),
    ],
)
def test_a_bad_address_is_refused_with_a_sentence(value: Any) -> None:
    with pytest.raises(ValueError, match=r"[A-Z].*\."):
        channel("http").clean_address(value)


def test_a_masked_address_shows_the_host_alone() -> None:
    masked = channel("http").mask_address("https://example.com:8443/hooks/s3cret?token=s3cret")
    assert masked == "https://example.com:8443/***"


def test_an_empty_configuration_gets_a_secret_of_its_own() -> None:
    first, second = HttpConfig({}), HttpConfig({})
    assert first.is_valid() and second.is_valid()
    assert first.cleaned_data["secret"] != second.cleaned_data["secret"]
    assert json.dumps(first.cleaned_data)


def test_a_secret_that_cannot_sign_is_refused() -> None:
    form = HttpConfig({"secret": "hunter2", "previous_secret": "whsec_short", "timeout": 31})
    assert set(form.errors) == {"secret", "previous_secret", "timeout"}
