import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pytest_django import Settings

from feedback.events import Status
from messaging import apns
from messaging.apns import Credentials, ProviderToken
from messaging.apns_payload import Content, notification
from messaging.channels import channel
from messaging.channels.base import DeliveryError, Outcome
from messaging.channels.ios import Config, Ios
from messaging.http2 import ConnectionLost, Http2Connection, connect, tls_context
from messaging.sandbox.apns import STATUSES, Refused, key_id_of, private_key_of, team_of, team_of_token
from messaging.sandbox.ios import (
    EXPIRED_ONCE,
    GO_AWAY,
    LIMITED,
    REASON_TOKENS,
    RESET,
    SLOW,
    UNAVAILABLE_ONCE,
    Gateway,
)
from messaging.sandbox.server import Sandbox
from tests.environment import free_port
from tests.messaging.sending import outcomes, outgoing, recipient

FORM = {"team_id": "AB12CD34EF", "key_id": "GH56IJ78KL", "topic": "com.example.app", "environment": "production"}
TOKEN_OF = {reason: token for token, reason in REASON_TOKENS.items()}


@pytest_asyncio.fixture
async def ios() -> AsyncIterator[Ios]:
    found = channel("ios")
    assert isinstance(found, Ios)
    yield found
    await found.aclose()


@pytest.fixture
def gateway(sandbox: Sandbox) -> Gateway:
    found = sandbox.gateways["ios"]
    assert isinstance(found, Gateway)
    return found


def device(code: str, number: int = 0) -> str:
    return code + f"{number:056x}"


async def one(ios: Ios, address: str, config: dict[str, Any] | None = None, **fields: Any) -> Outcome:
    message = outgoing(**fields)
    settled = dict(ios.sandbox_config(message.tenant)) | (config or {})
    (outcome,) = await outcomes(ios, settled, message, [recipient(ios, message, "alice", address)])
    return outcome


def arrived(gateway: Gateway, tenant: str = "acme") -> list[dict[str, Any]]:
    return gateway.arrivals.newest("ios", gateway.owner(tenant), 1_000)


def pem(key: Any) -> str:
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


async def test_a_push_carries_the_headers_that_the_message_asks_for(gateway: Gateway, ios: Ios) -> None:
    message = outgoing(priority="high", collapse_key="score-17")
    target = recipient(ios, message, "alice", ios.sandbox_address("alice"))
    (outcome,) = await outcomes(ios, ios.sandbox_config("acme"), message, [target])
    assert (outcome.status, outcome.provider, outcome.detail) == (Status.SENT, "apns", {"http_status": 200})
    (found,) = arrived(gateway)
    assert found["token"] == target.address
    assert found["headers"] == {
        "apns-id": outcome.provider_id,
        "apns-topic": "com.example.sandbox",
        "apns-push-type": "alert",
        "apns-priority": "10",
        "apns-expiration": str(int(message.expires_at.timestamp())),
        "apns-collapse-id": "score-17",
    }
    assert found["payload"] == {
        "aps": {"alert": {"title": "Hello", "body": "This is a message."}},
        "id": message.id,
        "type": "greeting",
        "data": {"n": 1},
    }


async def test_a_repeated_attempt_has_the_same_apns_id_and_another_delivery_another(gateway: Gateway, ios: Ios) -> None:
    message, config = outgoing(), ios.sandbox_config("acme")
    targets = [recipient(ios, message, name, ios.sandbox_address(name)) for name in ("alice", "bob")]
    first = {item.delivery: item.provider_id for item in await outcomes(ios, config, message, targets)}
    again = {item.delivery: item.provider_id for item in await outcomes(ios, config, message, targets)}
    assert first == again
    assert len({UUID(value) for value in first.values()}) == 2


async def test_normal_priority_leaves_the_time_to_the_device(gateway: Gateway, ios: Ios) -> None:
    await one(ios, ios.sandbox_address("alice"))
    (found,) = arrived(gateway)
    assert found["headers"]["apns-priority"] == "5"
    assert "apns-collapse-id" not in found["headers"]


async def test_a_message_with_data_alone_wakes_the_app_in_the_background(gateway: Gateway, ios: Ios) -> None:
    await one(ios, ios.sandbox_address("alice"), content={"data": [1]}, priority="high")
    (found,) = arrived(gateway)
    assert (found["headers"]["apns-push-type"], found["headers"]["apns-priority"]) == ("background", "5")
    assert (found["payload"]["aps"], found["payload"]["data"]) == ({"content-available": 1}, [1])


async def test_every_field_of_the_override_has_its_place(gateway: Gateway, ios: Ios) -> None:
    given = {
        "title": "T",
        "subtitle": "S",
        "body": "B",
        "badge": 0,
        "sound": {"critical": 1, "name": "alarm", "volume": 0.5},
        "category": "c",
        "thread_id": "t",
        "content_available": True,
        "mutable_content": True,
        "interruption_level": "time-sensitive",
        "relevance_score": 0.5,
        "target_content_id": "w",
        "push_type": "alert",
        "collapse_id": "one two",
        "topic": "com.example.other",
        "aps": {"filter-criteria": "f"},
        "payload": {"link": "/x"},
    }
    checked = Content(data=given)
    assert checked.is_valid(), checked.errors
    await one(ios, ios.sandbox_address("alice"), overrides=checked.validated_data, collapse_key="mine")
    (found,) = arrived(gateway)
    assert found["payload"]["aps"] == {
        "alert": {"title": "T", "subtitle": "S", "body": "B"},
        "badge": 0,
        "sound": {"critical": 1, "name": "alarm", "volume": 0.5},
        "category": "c",
        "thread-id": "t",
        "content-available": 1,
        "mutable-content": 1,
        "interruption-level": "time-sensitive",
        "relevance-score": 0.5,
        "target-content-id": "w",
        "filter-criteria": "f",
    }
    assert found["payload"]["link"] == "/x"
    assert (found["topic"], found["headers"]["apns-collapse-id"]) == ("com.example.other", "one two")


@pytest.mark.parametrize(
    "bad",
    [
        {"badge": -1},
        {"badge": "1"},
        {"sound": 1},
        {"sound": {"loud": True}},
        {"content_available": 1},
        {"interruption_level": "loud"},
        {"relevance_score": "high"},
        {"push_type": "pull"},
        {"collapse_id": "x" * 65},
        {"collapse_id": "ü"},
        {"topic": "com/example"},
        {"payload": {"aps": {}}},
        {"colour": "red"},
    ],
    ids=str,
)
def test_a_field_that_is_not_as_apple_has_it_is_refused(bad: dict[str, Any]) -> None:
    assert not Content(data=bad).is_valid()


def test_a_push_type_puts_its_suffix_behind_the_bundle_id() -> None:
    made = notification(outgoing(overrides={"push_type": "voip"}), "com.example.app")
    assert made.topic == "com.example.app.voip"


def test_a_collapse_key_that_fits_no_header_is_hashed_into_one() -> None:
    first, second = (notification(outgoing(collapse_key=f"größe-{n}"), "a").headers for n in (1, 2))
    assert len(first["apns-collapse-id"].encode()) == 64
    assert first["apns-collapse-id"] != second["apns-collapse-id"]


async def test_a_payload_above_4096_bytes_is_refused_before_sending(gateway: Gateway, ios: Ios) -> None:
    with pytest.raises(DeliveryError) as raised:
        await one(ios, ios.sandbox_address("alice"), content={"body": "ü" * 2_048})
    assert (raised.value.reason, raised.value.permanent) == ("payload_too_large", True)
    assert gateway.requests == 0


async def test_a_payload_of_4096_bytes_arrives(gateway: Gateway, ios: Ios) -> None:
    empty = len(notification(outgoing(content={"body": "x"}), "a").payload)
    outcome = await one(ios, ios.sandbox_address("alice"), content={"body": "x" * (4_097 - empty)})
    assert outcome.status is Status.SENT


def test_adapter_and_gateway_know_the_same_reasons() -> None:
    assert set(apns.REASONS) == set(STATUSES) == set(TOKEN_OF)


@pytest.mark.parametrize("reason", STATUSES)
async def test_every_reason_of_the_table_becomes_our_word(gateway: Gateway, ios: Ios, reason: str) -> None:
    address = device(TOKEN_OF[reason])
    outcome = await one(ios, address)
    expected = apns.REASONS[reason]
    assert (outcome.status, outcome.reason, outcome.retire) == (expected.status, expected.reason, expected.retire)
    assert outcome.retry_after == expected.retry_after
    assert (outcome.detail["http_status"], outcome.detail["reason"]) == (STATUSES[reason], reason)
    assert ("since" in outcome.detail) == (STATUSES[reason] == 410)
    assert (outcome.status is Status.DEFERRED) == (STATUSES[reason] >= 429 or reason in _TRY_AGAIN)
    assert not outcome.unknown
    assert address not in str(outcome.detail)
    assert gateway.requests == (2 if reason == "ExpiredProviderToken" else 1)


_TRY_AGAIN = ("IdleTimeout", "ExpiredProviderToken")


def test_exactly_the_reasons_that_speak_of_the_address_retire_it() -> None:
    retiring = {reason for reason, refusal in apns.REASONS.items() if refusal.retire}
    assert retiring == {"BadDeviceToken", "DeviceTokenNotForTopic", "Unregistered", "ExpiredToken"}


@pytest.mark.parametrize(
    ("config", "overrides"),
    [({"other_topics": ["com.example.second"]}, {}), ({}, {"topic": "com.example.second"})],
    ids=["further apps configured", "message for another app"],
)
async def test_an_address_of_another_app_of_the_team_is_not_retired(
    gateway: Gateway, ios: Ios, config: dict[str, Any], overrides: dict[str, Any]
) -> None:
    outcome = await one(ios, device(TOKEN_OF["DeviceTokenNotForTopic"]), config, overrides=overrides)
    assert (outcome.status, outcome.reason, outcome.retire) == (Status.FAILED, "address_of_other_topic", False)


async def test_dead_addresses_do_not_spoil_the_others_in_their_chunk(gateway: Gateway, ios: Ios) -> None:
    message, dead = outgoing(), TOKEN_OF["Unregistered"]
    targets = [
        recipient(ios, message, f"r{n}", device(dead, n) if n % 10 == 0 else ios.sandbox_address(f"r{n}"))
        for n in range(500)
    ]
    results = await outcomes(ios, ios.sandbox_config("acme"), message, targets)
    assert gateway.requests == 500
    assert sum(result.status is Status.SENT for result in results) == 450
    assert sum(result.retire for result in results) == 50
    assert gateway.connections == 1


async def test_fifty_slow_pushes_share_one_connection_and_hold_nobody_up(
    sandbox: Sandbox, gateway: Gateway, ios: Ios
) -> None:
    sandbox.control.slow = 0.5
    message, config = outgoing(), ios.sandbox_config("acme")
    slow = [recipient(ios, message, f"s{n}", device(SLOW, n)) for n in range(50)]
    fast = [recipient(ios, message, f"f{n}", ios.sandbox_address(f"f{n}")) for n in range(20)]
    order = [result async for result in ios.send(config, message, slow + fast)]
    assert {result.status for result in order} == {Status.SENT}
    assert {result.delivery for result in order[:20]} == {target.delivery for target in fast}
    assert {row["connection"] for row in arrived(gateway)} == {1}
    taken = [row["at"] for row in arrived(gateway) if row["token"].startswith(SLOW)]
    assert len(taken) == 50


async def test_two_teams_never_share_a_connection(gateway: Gateway, ios: Ios) -> None:
    for tenant in ("acme", "globex", "acme"):
        await one(ios, ios.sandbox_address("alice"), tenant=tenant)
    assert {row["connection"] for row in arrived(gateway, "acme")} == {1}
    assert {row["connection"] for row in arrived(gateway, "globex")} == {2}


async def test_a_retry_after_of_the_provider_wins_over_the_table(gateway: Gateway, ios: Ios) -> None:
    outcome = await one(ios, device(LIMITED))
    assert (outcome.status, outcome.reason, outcome.retry_after) == (Status.DEFERRED, "rate_limited", 2.0)


async def test_a_provider_that_was_unavailable_takes_the_second_attempt(gateway: Gateway, ios: Ios) -> None:
    message, config = outgoing(), ios.sandbox_config("acme")
    target = recipient(ios, message, "alice", device(UNAVAILABLE_ONCE))
    (first,) = await outcomes(ios, config, message, [target])
    (second,) = await outcomes(ios, config, message, [target])
    assert (first.status, first.reason, first.unknown) == (Status.DEFERRED, "provider_unavailable", False)
    assert second.status is Status.SENT


async def test_a_reset_connection_leaves_the_outcome_unknown_and_the_next_push_has_a_new_one(
    gateway: Gateway, ios: Ios
) -> None:
    lost = await one(ios, device(RESET))
    after = await one(ios, ios.sandbox_address("alice"))
    assert (lost.status, lost.reason, lost.unknown, lost.retire) == (Status.DEFERRED, "connection_lost", True, False)
    assert after.status is Status.SENT
    assert gateway.connections == 2


async def test_a_timeout_leaves_the_outcome_unknown(
    sandbox: Sandbox, gateway: Gateway, ios: Ios, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apns, "TIMEOUT", 0.2)
    outcome = await one(ios, device(SLOW))
    assert (outcome.status, outcome.reason, outcome.unknown) == (Status.DEFERRED, "timeout", True)


async def test_goaway_lets_what_runs_finish_and_sends_the_next_on_a_new_connection(
    sandbox: Sandbox, gateway: Gateway, ios: Ios
) -> None:
    sandbox.control.slow = 0.3
    message, config = outgoing(), ios.sandbox_config("acme")
    running = [recipient(ios, message, f"s{n}", device(SLOW, n)) for n in range(5)]
    running.append(recipient(ios, message, "last", device(GO_AWAY)))
    results = await outcomes(ios, config, message, running)
    after = await one(ios, ios.sandbox_address("alice"))
    assert [result.status for result in [*results, after]] == [Status.SENT] * 7
    assert [row["connection"] for row in arrived(gateway)] == [2, 1, 1, 1, 1, 1, 1]


@asynccontextmanager
async def answering(frames: str, last: str) -> AsyncIterator[Http2Connection]:
    """A connection to a server written by hand: it sends frames, waits for a body, sends the last ones and goes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes.fromhex(frames))
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"the body")
            writer.write(bytes.fromhex(last))
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        done.set()

    done = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = urlsplit(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    try:
        connection = await connect(url, tls_context(None), 5, 10)
        yield connection
        await connection.aclose()
    finally:
        await asyncio.wait_for(done.wait(), 10)
        server.close()
        await server.wait_closed()


async def test_a_request_above_the_last_stream_of_goaway_is_known_to_be_unsent() -> None:
    goaway = "000008070000000000" + "00000000" + "00000000"
    async with answering("000000040000000000", goaway) as connection:
        with pytest.raises(ConnectionLost) as raised:
            await connection.request("/3/device/00", {}, b"the body")
        assert not raised.value.unknown
        assert not connection.usable


async def test_nobody_waits_for_room_on_a_connection_that_has_ended() -> None:
    one_stream_at_a_time = "000006040000000000" + "0003" + "00000001"
    async with answering(one_stream_at_a_time, "") as connection:
        asked = [connection.request("/", {}, b"the body") for _ in range(3)]
        errors = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 10)
        assert [error.unknown for error in errors if isinstance(error, ConnectionLost)] == [True, False, False]


async def test_a_server_that_does_not_speak_http2_is_no_connection() -> None:
    with pytest.raises(ConnectionLost):
        async with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n".hex(), ""):
            pass


def test_a_provider_token_is_made_anew_once_it_is_forty_minutes_old(monkeypatch: pytest.MonkeyPatch) -> None:
    token, passed = ProviderToken(Credentials("T" * 10, "K" * 10, private_key_of("any"))), time.monotonic()
    first = token.current()
    monkeypatch.setattr("messaging.apns.time.monotonic", lambda: passed + 39 * 60)
    assert token.current() == first
    monkeypatch.setattr("messaging.apns.time.monotonic", lambda: passed + 41 * 60)
    assert token.current() != first


def test_a_provider_token_names_team_key_and_time() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    text = ProviderToken(Credentials("AB12CD34EF", "GH56IJ78KL", pem(key))).current()
    assert jwt.get_unverified_header(text)["kid"] == "GH56IJ78KL"
    claims = jwt.decode(text, key.public_key(), algorithms=["ES256"])
    assert set(claims) == {"iss", "iat"}
    assert claims["iss"] == "AB12CD34EF"
    assert abs(claims["iat"] - time.time()) < 10


async def test_an_expired_provider_token_is_made_anew_once_and_the_request_repeated(gateway: Gateway, ios: Ios) -> None:
    message = outgoing()
    targets = [recipient(ios, message, f"r{n}", device(EXPIRED_ONCE)) for n in range(20)]
    results = await outcomes(ios, ios.sandbox_config("acme"), message, targets)
    assert {result.status for result in results} == {Status.SENT}
    assert gateway.requests == 40


async def test_a_key_that_apple_does_not_know_is_reported_as_refused_credentials(gateway: Gateway, ios: Ios) -> None:
    stranger = pem(ec.generate_private_key(ec.SECP256R1()))
    outcome = await one(ios, ios.sandbox_address("alice"), {"private_key": stranger})
    assert (outcome.status, outcome.reason, outcome.retire) == (Status.FAILED, "credentials_refused", False)


def test_the_gateway_refuses_a_provider_token_of_an_hour_ago() -> None:
    team = team_of("acme")
    text = jwt.encode(
        {"iss": team, "iat": int(time.time())}, private_key_of(team), "ES256", headers={"kid": key_id_of(team)}
    )
    assert team_of_token(f"bearer {text}") == team
    with pytest.raises(Refused, match="ExpiredProviderToken"):
        team_of_token(f"bearer {text}", time.time() + 3_700)


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"apns-topic": ""}, "MissingTopic"),
        ({"apns-push-type": "pull"}, "InvalidPushType"),
        ({"apns-priority": "7"}, "BadPriority"),
        ({"apns-push-type": "background", "apns-priority": "10"}, "BadPriority"),
        ({"apns-expiration": "soon"}, "BadExpirationDate"),
        ({"apns-collapse-id": "x" * 65}, "BadCollapseId"),
        ({"apns-id": "17"}, "BadMessageId"),
        ({"authorization": ""}, "MissingProviderToken"),
        ({"authorization": "bearer x.y.z"}, "InvalidProviderToken"),
    ],
    ids=str,
)
async def test_the_gateway_checks_headers_as_apple_documents_them(
    gateway: Gateway, headers: dict[str, str], reason: str
) -> None:
    described = gateway.describe("http://127.0.0.1:1")
    team = team_of("acme")
    token = ProviderToken(Credentials(team, key_id_of(team), private_key_of(team))).current()
    connection = await connect(urlsplit(described["url"]), tls_context(described["ca"]), 5, 10)
    named = {"authorization": f"bearer {token}", "apns-topic": "a"} | headers
    reply = await connection.request(f"/3/device/{device('5a000000')}", named, b'{"aps":{"badge":1}}')
    assert (reply.status, json.loads(reply.body)) == (STATUSES[reason], {"reason": reason})
    await connection.aclose()


async def test_the_sandboxes_authority_vouches_for_the_sandbox_alone(
    gateway: Gateway, ios: Ios, settings: Settings
) -> None:
    settings.PROVIDER_URLS = settings.PROVIDER_URLS | {"apns": f"https://127.0.0.1:{gateway.port}"}
    outcome = await one(ios, ios.sandbox_address("alice"), {"environment": "production"}, mode="live")
    assert (outcome.status, outcome.reason) == (Status.DEFERRED, "tls_failed")
    assert gateway.requests == 0


async def test_a_live_message_goes_to_the_sandbox_where_the_operator_says_so(
    gateway: Gateway, ios: Ios, settings: Settings
) -> None:
    settings.PROVIDER_URLS = settings.PROVIDER_URLS | {"apns": f"{settings.SANDBOX_URL}/ios"}
    own = pem(ec.generate_private_key(ec.SECP256R1()))
    config = {"environment": "production", "team_id": "AB12CD34EF", "key_id": "GH56IJ78KL", "private_key": own}
    outcome = await one(ios, ios.sandbox_address("alice"), config, mode="live")
    assert outcome.status is Status.SENT
    assert len(gateway.arrivals.newest("ios", "AB12CD34EF", 10)) == 1


async def test_a_sandbox_that_started_again_elsewhere_is_found_by_the_second_attempt(
    ios: Ios, settings: Settings
) -> None:
    sandbox = Sandbox("127.0.0.1", 0, free_port())
    await sandbox.start()
    settings.SANDBOX_URL = sandbox.url
    address, seen = ios.sandbox_address("alice"), []
    seen.append(await one(ios, address))
    await sandbox.stop()
    sandbox = Sandbox("127.0.0.1", sandbox.port, free_port())
    await sandbox.start()
    seen += [await one(ios, address), await one(ios, address)]
    await ios.aclose()
    await sandbox.stop()
    assert [outcome.status for outcome in seen] == [Status.SENT, Status.DEFERRED, Status.SENT]
    assert not seen[1].unknown


async def test_environment_chooses_between_apples_two_servers(gateway: Gateway, ios: Ios, settings: Settings) -> None:
    dead = f"https://127.0.0.1:{free_port()}"
    here = f"{settings.SANDBOX_URL}/ios"
    settings.PROVIDER_URLS = settings.PROVIDER_URLS | {"apns": dead, "apns_development": here}
    address = ios.sandbox_address("alice")
    production = await one(ios, address, {"environment": "production"}, mode="live")
    development = await one(ios, address, {"environment": "development"}, mode="live")
    assert (production.status, production.reason, production.unknown) == (
        Status.DEFERRED,
        "provider_unavailable",
        False,
    )
    assert development.status is Status.SENT


def test_the_settings_form_takes_a_p8_file_also_without_its_line_ends() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    for text in (pem(key), pem(key).replace("\n", ""), f"  {pem(key)}\n"):
        form = Config(FORM | {"private_key": text, "other_topics": "com.example.b, com.example.c"})
        assert form.is_valid(), form.errors
        assert form.cleaned_data["private_key"] == pem(key)
        assert form.cleaned_data["other_topics"] == "com.example.b, com.example.c"


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("no key at all", "whole .p8 file"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "cannot be read"),
        (pem(rsa.generate_private_key(65_537, 2_048)), "P-256"),
        (pem(ec.generate_private_key(ec.SECP384R1())), "P-256"),
    ],
    ids=["no PEM", "no key", "RSA", "P-384"],
)
def test_the_settings_form_refuses_what_is_not_an_apns_key(key: str, words: str) -> None:
    form = Config(FORM | {"private_key": key})
    assert not form.is_valid()
    assert words in str(form.errors["private_key"])
    assert key not in str(form.errors)


def test_the_settings_form_refuses_identifiers_and_topics_that_are_none() -> None:
    bad = {"team_id": "short", "key_id": "lower12345", "topic": "a b", "environment": "test", "other_topics": "ok, a/b"}
    form = Config(bad | {"private_key": private_key_of("any")})
    assert set(form.errors) == {"team_id", "key_id", "topic", "environment", "other_topics"}


@pytest.mark.parametrize("value", ["ab" * 31, "ab" * 101, "zz" * 32, "a" * 65, base64.b64encode(b"x" * 32).decode()])
def test_a_device_token_is_64_to_200_hexadecimal_digits(ios: Ios, value: str) -> None:
    with pytest.raises(ValueError, match="hexadecimal"):
        ios.clean_address(value)


def test_a_device_token_is_kept_in_lower_case_and_masked_in_its_middle(ios: Ios) -> None:
    clean = ios.clean_address("AB" * 40)
    assert clean == "ab" * 40
    assert ios.mask_address(clean) == "abab*****abab"
