"""The address guard against every way round it that we know, signatures against the standard's own library."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from pytest_django import Settings
from standardwebhooks import Webhook, WebhookVerificationError

from sprayer_project import outbound, signatures
from sprayer_project.outbound import BlockedAddress, GuardedResolver, Outbound, Unreachable, check_host

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SECRET, OTHER = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_" + base64.b64encode(b"o" * 32).decode()
PUBLIC = "93.184.216.34"


@asynccontextmanager
async def server(handler: Handler) -> AsyncIterator[int]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def client(lookup: outbound.Lookup = outbound.look_up) -> AsyncIterator[Outbound]:
    made = Outbound(lookup)
    try:
        yield made
    finally:
        await made.close()


async def accept(request: web.Request) -> web.Response:
    return web.Response(status=204)


PRIVATE = [
    *("0.0.0.0", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254", "169.254.169.254"),
    *("172.16.0.1", "172.31.255.255", "192.0.0.192", "192.168.1.1", "198.18.0.1", "203.0.113.9", "224.0.0.1"),
    *("240.0.0.1", "255.255.255.255", "168.63.129.16"),
    *("::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "fe80::1", "fe80::1%eth0", "fc00::1"),
    *("fd00:ec2::254", "ff02::1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2001:db8::1"),
    *("2002:7f00:1::", "2001::1", "100::1", "fec0::1"),
]


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert not outbound.is_public(address)


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "172.32.0.1", "2606:4700:4700::1111", "64:ff9b::808:808"])
def test_a_public_address_passes(address: str) -> None:
    assert outbound.is_public(address)
    assert check_host("name.test", 443, lambda host, port: [address]) == [address]


LITERALS = [
    *("127.0.0.1", "127.1", "127.0.1", "2130706433", "0177.0.0.1", "017700000001", "0x7f.0.0.1", "0x7f000001"),
    *("127.0.0.1.", "0", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[fe80::1]"),
    *("169.254.169.254", "localhost", "localhost.", "LOCALHOST", "%6c%6fcalhost", "①②⑦.⓪.⓪.①"),
]


@pytest.mark.parametrize("host", LITERALS)
async def test_no_way_of_writing_a_private_host_reaches_it(host: str) -> None:
    asked: list[str] = []

    async def note(request: web.Request) -> web.Response:
        asked.append(request.host)
        return web.Response()

    async with server(note) as port, client() as sender:
        with pytest.raises((BlockedAddress, Unreachable)) as refused:
            await sender.post(f"http://{host}:{port}/", b"{}", {}, 2)
    assert asked == []
    assert refused.value.code in ("blocked_address", "no_such_host", "bad_answer")


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "127.1", "::1", "0x7f.1", "localhost", "127.0.0.1."])
def test_a_mail_server_is_checked_in_the_same_way(host: str) -> None:
    with pytest.raises(BlockedAddress):
        check_host(host, 25)


@pytest.mark.parametrize("answers", [["10.0.0.1"], ["::ffff:10.0.0.1"], [PUBLIC, "127.0.0.1"], []])
async def test_a_name_with_a_single_private_address_is_refused(answers: list[str]) -> None:
    async with client(lambda host, port: answers) as sender:
        with pytest.raises(BlockedAddress):
            await sender.post("https://hooks.example.test/", b"{}", {}, 2)


async def test_a_name_that_changes_its_answer_cannot_lead_the_connection_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers, connected = [[PUBLIC], ["127.0.0.1"]], []

    async def sock_connect(sock: Any, address: tuple[Any, ...]) -> None:
        connected.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", sock_connect)
    async with client(lambda host, port: answers.pop(0)) as sender:
        with pytest.raises(Unreachable, match="connection_failed"):
            await sender.post("http://hooks.example.test/", b"{}", {}, 2)
    assert connected == [PUBLIC] and answers == [["127.0.0.1"]]


async def test_the_second_answer_of_a_rebinding_name_is_checked_again() -> None:
    answers = [[PUBLIC], ["127.0.0.1"]]
    resolver = GuardedResolver(lambda host, port: answers.pop(0))
    assert [found["host"] for found in await resolver.resolve("hooks.example.test", 80)] == [PUBLIC]
    with pytest.raises(BlockedAddress):
        await resolver.resolve("hooks.example.test", 80)
    await resolver.close()


async def test_the_request_goes_to_the_checked_address_and_keeps_the_hosts_name(settings: Settings) -> None:
    hosts: list[str] = []

    async def note(request: web.Request) -> web.Response:
        hosts.append(request.host)
        return web.Response()

    async with server(note) as port, client(lambda host, port: ["127.0.0.1"]) as sender:
        settings.WEBHOOK_ALLOW_PRIVATE = [f"hooks.example.test:{port}"]
        await sender.post(f"http://hooks.example.test:{port}/", b"{}", {}, 5)
    assert hosts == [f"hooks.example.test:{port}"]


async def test_an_allowed_private_host_is_allowed_on_its_port_alone(settings: Settings) -> None:
    async with server(accept) as listed, server(accept) as unlisted, client() as sender:
        settings.WEBHOOK_ALLOW_PRIVATE = [f"127.0.0.1:{listed}"]
        assert (await sender.post(f"http://127.0.0.1:{listed}/", b"{}", {}, 5)).status == 204
        with pytest.raises(BlockedAddress):
            await sender.post(f"http://127.0.0.1:{unlisted}/", b"{}", {}, 5)
        assert check_host("127.0.0.1", listed) == ["127.0.0.1"]


async def test_a_redirect_is_answered_and_never_followed(settings: Settings) -> None:
    paths: list[str] = []

    async def lead_away(request: web.Request) -> web.Response:
        paths.append(request.path)
        return web.Response(status=307, headers={"Location": "/elsewhere", "Set-Cookie": "spy=1"})

    async with server(lead_away) as port, client() as sender:
        settings.WEBHOOK_ALLOW_PRIVATE = [f"127.0.0.1:{port}"]
        assert (await sender.post(f"http://127.0.0.1:{port}/here", b"{}", {}, 5)).status == 307
    assert paths == ["/here"]


async def test_one_endpoints_cookie_is_not_carried_along(settings: Settings) -> None:
    cookies: list[Any] = []

    async def bake(request: web.Request) -> web.Response:
        cookies.append(dict(request.cookies))
        return web.Response(headers={"Set-Cookie": "spy=1; Path=/"})

    async with server(bake) as port, client() as sender:
        settings.WEBHOOK_ALLOW_PRIVATE = [f"127.0.0.1:{port}"]
        for _ in range(2):
            await sender.post(f"http://127.0.0.1:{port}/", b"{}", {}, 5)
    assert cookies == [{}, {}]


async def test_an_endless_answer_is_cut_and_its_status_counts(settings: Settings) -> None:
    async def pour(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)

    async with server(pour) as port, client() as sender:
        settings.WEBHOOK_ALLOW_PRIVATE = [f"127.0.0.1:{port}"]
        assert (await sender.post(f"http://127.0.0.1:{port}/", b"{}", {}, 5)).status == 200


async def test_the_status_of_an_answer_that_never_ends_counts(settings: Settings) -> None:
    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=202, headers={"Content-Length": "10"})
        await response.prepare(request)
        await response.write(b"half")
        await asyncio.Event().wait()
        return response

    async with server(half) as port, client() as session:
        settings.WEBHOOK_ALLOW_PRIVATE = [f"127.0.0.1:{port}"]
        assert (await session.post(f"http://127.0.0.1:{port}/", b"{}", {}, 0.2)).status == 202


async def test_what_waits_for_a_busy_endpoint_too_long_was_not_sent(settings: Settings) -> None:
    arrived: list[str] = []
    release = asyncio.Event()

    async def hold(request: web.Request) -> web.Response:
        arrived.append(request.path)
        await release.wait()
        return web.Response()

    async with server(hold) as port, client() as sender:
        settings.WEBHOOK_ALLOW_PRIVATE = [f"127.0.0.1:{port}"]
        url = f"http://127.0.0.1:{port}/"
        held = [asyncio.create_task(sender.post(url + "held", b"{}", {}, 30)) for _ in range(outbound.UNPROVEN)]
        async with asyncio.timeout(10):
            while len(arrived) < outbound.UNPROVEN:
                await asyncio.sleep(0.01)
        with pytest.raises(Unreachable, match="endpoint_busy") as busy:
            await sender.post(url + "late", b"{}", {}, 0.1)
        assert not busy.value.unknown
        release.set()
        assert {answer.status for answer in await asyncio.gather(*held)} == {200}
    assert "/late" not in arrived


@pytest.mark.parametrize(("status", "at_once"), [(200, outbound.PER_HOST), (410, outbound.PER_HOST), (500, 8)])
async def test_a_host_gets_more_at_once_as_it_answers(settings: Settings, status: int, at_once: int) -> None:
    under_way, release = 0, asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        nonlocal under_way
        if request.path == "/held":
            under_way += 1
            await release.wait()
        return web.Response(status=status)

    async with server(answer) as port, client() as sender:
        settings.WEBHOOK_ALLOW_PRIVATE = [f"127.0.0.1:{port}"]
        url = f"http://127.0.0.1:{port}/"
        first = asyncio.create_task(sender.post(url + "held", b"{}", {}, 30))
        for _ in range(outbound.PER_HOST):
            await sender.post(url + "quick", b"{}", {}, 30)
        held = [asyncio.create_task(sender.post(url + "held", b"{}", {}, 30)) for _ in range(2 * outbound.PER_HOST)]
        async with asyncio.timeout(10):
            while under_way < at_once:
                await asyncio.sleep(0.01)
        with pytest.raises(Unreachable, match="endpoint_busy"):
            await sender.post(url + "held", b"{}", {}, 0.1)
        assert under_way == at_once
        release.set()
        assert {answer.status for answer in await asyncio.gather(first, *held)} == {status}


def test_a_signature_is_the_standards_own_example() -> None:
    headers = signatures.sign([SECRET], "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', at=1614265330)
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.parametrize("secret", [SECRET, OTHER])
def test_while_a_secret_is_replaced_the_old_and_the_new_one_both_verify(secret: str) -> None:
    body = json.dumps({"name": "señal"}, ensure_ascii=False).encode()
    headers = signatures.sign([SECRET, OTHER], "dlv_1", body)
    assert len(headers["webhook-signature"].split(" ")) == 2
    assert Webhook(secret).verify(body, headers) == {"name": "señal"}


def test_another_secret_or_body_does_not_verify() -> None:
    headers = signatures.sign([SECRET], "dlv_1", b"{}")
    for secret, body in ((OTHER, b"{}"), (SECRET, b"[]")):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(body, headers)


def test_a_new_secret_signs_and_differs_every_time() -> None:
    secret = signatures.new_secret()
    assert secret != signatures.new_secret()
    Webhook(secret).verify(b"{}", signatures.sign([secret], "dlv_1", b"{}"))


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_c2hvcnQ=", "whsec_***", SECRET.removeprefix("whsec_")])
def test_a_bad_secret_is_refused_with_a_sentence(secret: str) -> None:
    with pytest.raises(ValueError, match="24 to 64 bytes"):
        signatures.secret_key(secret)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("99999999999999999999", 86_400.0),
        ("Mon, 01 Jun 2026 12:00:30 GMT", 30.0),
        ("Mon, 01 Jun 2026 11:00:00 GMT", 0.0),
        ("-5", None),
        ("soon", None),
        ("²", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert outbound.parse_retry_after(value, datetime(2026, 6, 1, 12, tzinfo=UTC)) == seconds
