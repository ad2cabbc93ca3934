"""Android push against the gateway: FCM's error table, the messages that arrive, and the access tokens."""

import asyncio
import base64
import json
import threading
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.oauth2.service_account import Credentials
from pytest_django import Settings

from feedback.events import Status
from messaging import fcm, google_tokens
from messaging.channels import channel
from messaging.channels.android import Android, Content
from messaging.channels.base import DeliveryError, Outcome
from messaging.fcm_forms import FcmConfig
from messaging.sandbox import android as gateway
from messaging.sandbox.android import FATES
from messaging.sandbox.google import BadToken, access_token, account_of, project_of, service_account, verified_issuer
from messaging.sandbox.server import Sandbox
from tests.environment import free_port
from tests.messaging.sending import outcomes, outgoing, recipient

TOKEN = "cRabbitHole_0123456789:APA91bWonderland"


@pytest_asyncio.fixture
async def android() -> AsyncIterator[Android]:
    found = channel("android")
    assert isinstance(found, Android)
    yield found
    await found.aclose()


def config_of(account: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    return {"service_account": json.dumps(account), "project_id": account["project_id"]} | fields


async def one(android: Android, to: Any = TOKEN, config: Mapping[str, Any] | None = None, **fields: Any) -> Outcome:
    message = outgoing(**fields)
    settled = config or android.sandbox_config("acme")
    (outcome,) = await outcomes(android, settled, message, [recipient(android, message, "alice", to)])
    return outcome


def arrived(sandbox: Sandbox) -> list[dict[str, Any]]:
    return sandbox.arrivals.newest("android", project_of("acme"), 1_000)


def counted(sandbox: Sandbox) -> gateway.Gateway:
    found = sandbox.gateways["android"]
    assert isinstance(found, gateway.Gateway)
    return found


def stranger_key() -> str:
    key = rsa.generate_private_key(65_537, 2_048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


# --- The message ---------------------------------------------------------------------------------------------------


async def test_a_message_arrives_as_notification_and_data(sandbox: Sandbox, android: Android) -> None:
    outcome = await one(android)
    assert outcome.status is Status.SENT
    assert outcome.provider == "fcm"
    assert outcome.provider_id.startswith(f"projects/{project_of('acme')}/messages/")
    (arrival,) = arrived(sandbox)
    message = arrival["message"]
    assert message["token"] == TOKEN
    assert message["notification"] == {"title": "Hello", "body": "This is a message."}
    assert message["data"] == {"type": "greeting", "n": "1", "sprayer_delivery": outcome.delivery}
    assert (arrival["answer"], arrival["validate_only"]) == (200, False)


async def test_an_installation_id_is_addressed_as_one(sandbox: Sandbox, android: Android) -> None:
    await one(android, {"fid": "cRabbitHole_0123456789"})
    (arrival,) = arrived(sandbox)
    assert arrival["message"]["fid"] == "cRabbitHole_0123456789"
    assert "token" not in arrival["message"]


async def test_data_that_is_not_text_arrives_as_json(sandbox: Sandbox, android: Android) -> None:
    data = {"text": "as it is", "number": 1.5, "yes": True, "none": None, "list": [1, "ü"], "object": {"a": {"b": 2}}}
    await one(android, content={"data": data})
    (arrival,) = arrived(sandbox)
    sent = {name: text for name, text in arrival["message"]["data"].items() if name != "sprayer_delivery"}
    expected = {"text": "as it is", "number": "1.5", "yes": "true", "none": "null", "list": '[1,"ü"]'}
    assert sent == expected | {"object": '{"a":{"b":2}}'}
    assert "notification" not in arrival["message"]


async def test_data_that_is_no_object_arrives_under_one_name(sandbox: Sandbox, android: Android) -> None:
    await one(android, content={"body": "Hi", "data": [1, 2]})
    assert arrived(sandbox)[0]["message"]["data"]["data"] == "[1,2]"


async def test_half_a_character_arrives_as_a_question_mark(sandbox: Sandbox, android: Android) -> None:
    assert (await one(android, content={"title": "Hello", "data": {"odd": "\ud83d"}})).status is Status.SENT
    assert arrived(sandbox)[0]["message"]["data"]["odd"] == "?"


async def test_ttl_priority_and_collapse_key_come_from_the_message(sandbox: Sandbox, android: Android) -> None:
    await one(android, ttl=60.9, priority="high", collapse_key="score-17")
    assert arrived(sandbox)[0]["message"]["android"] == {"ttl": "60s", "priority": "HIGH", "collapse_key": "score-17"}


@pytest.mark.parametrize(("ttl", "text"), [(-5, "0s"), (0.5, "0s"), (90 * 86_400, "2419200s")])
async def test_the_time_to_live_stays_within_fcms_bounds(
    sandbox: Sandbox, android: Android, ttl: float, text: str
) -> None:
    await one(android, ttl=ttl)
    assert arrived(sandbox)[0]["message"]["android"] == {"ttl": text, "priority": "NORMAL"}


async def test_overrides_reach_the_fields_that_they_name(sandbox: Sandbox, android: Android) -> None:
    look = {"click_action": "OPEN", "channel_id": "news", "sound": "bell", "tag": "t", "icon": "i", "color": "#00ff99"}
    fields = {"title": "Own", "image": "https://example.test/a.png", "data": {"n": 2}, "priority": "high"}
    overrides = look | fields | {"collapse_key": "own", "analytics_label": "spring-1"}
    content = Content(data=overrides)
    assert content.is_valid(), content.errors
    await one(android, overrides=dict(content.validated_data), collapse_key="general")
    message = arrived(sandbox)[0]["message"]
    assert message["notification"] == {
        "title": "Own",
        "body": "This is a message.",
        "image": "https://example.test/a.png",
    }
    assert message["data"]["n"] == "2"
    assert message["android"] == {"ttl": "3599s", "priority": "HIGH", "collapse_key": "own", "notification": look}
    assert message["fcm_options"] == {"analytics_label": "spring-1"}


@pytest.mark.parametrize("field", [{"color": "red"}, {"priority": "urgent"}, {"analytics_label": "a b"}, {"sound": 1}])
def test_an_override_that_fcm_could_not_take_is_refused(field: dict[str, Any]) -> None:
    assert not Content(data=field).is_valid()


async def test_a_payload_of_4096_bytes_passes_and_one_more_is_refused_before_sending(
    sandbox: Sandbox, android: Android
) -> None:
    room = 4_096 - len("body") - len("sprayer_delivery") - 46
    text = "ü" * (room // 2) + "x" * (room % 2)
    assert (await one(android, content={"body": text})).status is Status.SENT
    with pytest.raises(DeliveryError) as caught:
        await one(android, content={"body": text + "x"})
    assert (caught.value.reason, caught.value.permanent) == ("payload_too_large", True)
    assert len(arrived(sandbox)) == 1


# --- The error table -----------------------------------------------------------------------------------------------

OUTCOMES = {
    "unregistered": (Status.FAILED, "unregistered", True, None),
    "sender-mismatch": (Status.FAILED, "sender_mismatch", True, None),
    "invalid-token": (Status.FAILED, "invalid_address", True, None),
    "invalid-field": (Status.FAILED, "invalid_address", True, None),
    "invalid-argument": (Status.FAILED, "provider_refused", False, None),
    "quota": (Status.DEFERRED, "rate_limited", False, 2),
    "quota-unspecified": (Status.DEFERRED, "rate_limited", False, 60),
    "unavailable": (Status.DEFERRED, "provider_unavailable", False, 2),
    "internal": (Status.DEFERRED, "provider_unavailable", False, None),
    "unspecified": (Status.DEFERRED, "provider_unavailable", False, None),
    "deadline": (Status.DEFERRED, "timeout", False, None),
    "third-party": (Status.FAILED, "third_party_auth", False, None),
    "unauthenticated": (Status.FAILED, "credentials_refused", False, None),
    "forbidden": (Status.FAILED, "credentials_refused", False, None),
    "no-project": (Status.FAILED, "unknown_project", False, None),
}


def test_the_gateways_table_and_this_one_have_the_same_rows() -> None:
    assert set(OUTCOMES) == set(FATES)


@pytest.mark.parametrize("name", OUTCOMES)
@pytest.mark.parametrize("kind", ["token", "fid"])
async def test_every_refusal_of_fcm_becomes_our_word(sandbox: Sandbox, android: Android, name: str, kind: str) -> None:
    outcome = await one(android, {kind: f"sandbox-{name}-17"})
    assert (outcome.status, outcome.reason, outcome.retire, outcome.retry_after) == OUTCOMES[name]
    assert outcome.detail["http_status"] == FATES[name].status
    assert outcome.detail["message"] == FATES[name].words
    requests = 2 if name == "unauthenticated" else 1
    assert counted(sandbox).sends == {str(FATES[name].status): requests}


@pytest.mark.parametrize("code", fcm.ERRORS)
def test_every_code_of_the_table_is_understood_without_details_too(code: str) -> None:
    answer = fcm.Answer(status=400, body={"error": {"status": code, "message": "No."}})
    assert answer.meaning == fcm.ERRORS[code]


@pytest.mark.parametrize("body", [{}, {"error": "no"}, {"error": {"details": [1, {"fieldViolations": [2]}]}}])
@pytest.mark.parametrize(
    ("status", "reason"), [(401, "credentials_refused"), (429, "rate_limited"), (418, "provider_refused")]
)
def test_an_answer_without_words_is_told_by_its_status(body: dict[str, Any], status: int, reason: str) -> None:
    assert fcm.Answer(status=status, body=body).meaning.reason == reason


async def test_a_front_ends_page_defers(sandbox: Sandbox, android: Android) -> None:
    outcome = await one(android, "sandbox-gateway")
    assert (outcome.status, outcome.reason, outcome.unknown) == (Status.DEFERRED, "provider_unavailable", False)
    assert outcome.detail == {"http_status": 502, "code": "UNAVAILABLE"}


async def test_a_deadline_at_fcm_leaves_the_outcome_unknown(sandbox: Sandbox, android: Android) -> None:
    assert (await one(android, "sandbox-deadline")).unknown
    assert android.repeat_unknown


async def test_a_connection_cut_after_the_request_leaves_the_outcome_unknown(
    sandbox: Sandbox, android: Android
) -> None:
    outcome = await one(android, "sandbox-reset")
    assert (outcome.status, outcome.reason, outcome.unknown) == (Status.DEFERRED, "connection_lost", True)


async def test_no_answer_in_time_leaves_the_outcome_unknown(
    sandbox: Sandbox, android: Android, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcm, "TIMEOUT", 0.2)
    sandbox.control.slow = 1.0
    outcome = await one(android, "sandbox-slow")
    assert (outcome.status, outcome.reason, outcome.unknown) == (Status.DEFERRED, "timeout", True)


async def test_a_slow_answer_is_waited_for(sandbox: Sandbox, android: Android) -> None:
    sandbox.control.slow = 0.1
    assert (await one(android, "sandbox-slow")).status is Status.SENT


async def test_fcm_away_with_a_token_in_hand_defers_without_doubt(
    sandbox: Sandbox, android: Android, settings: Settings
) -> None:
    settings.PROVIDER_URLS = {"google_oauth": f"{sandbox.url}/android", "fcm": f"http://127.0.0.1:{free_port()}"}
    outcome = await one(android, mode="live")
    assert (outcome.status, outcome.reason, outcome.unknown) == (Status.DEFERRED, "provider_unavailable", False)


async def test_a_message_that_was_deferred_goes_through_when_it_is_tried_again(
    sandbox: Sandbox, android: Android
) -> None:
    message = outgoing()
    to = recipient(android, message, "alice", "sandbox-unavailable-once")
    results = [await outcomes(android, android.sandbox_config("acme"), message, [to]) for _ in range(2)]
    assert [result.status for (result,) in results] == [Status.DEFERRED, Status.SENT]


async def test_dead_addresses_spoil_no_other_of_their_chunk(sandbox: Sandbox, android: Android) -> None:
    message = outgoing()
    names = [f"sandbox-unregistered-{n}" if n % 10 == 0 else android.sandbox_address(f"r{n}") for n in range(200)]
    targets = [recipient(android, message, f"r{n}", name) for n, name in enumerate(names)]
    results = await outcomes(android, android.sandbox_config("acme"), message, targets)
    dead = {target.delivery for n, target in enumerate(targets) if n % 10 == 0}
    assert {result.delivery for result in results if result.retire} == dead
    assert {result.delivery for result in results if result.status is Status.SENT} == {
        target.delivery for target in targets
    } - dead
    assert counted(sandbox).sends == {"200": 180, "404": 20}
    assert counted(sandbox).tokens == 1


# --- Access tokens -------------------------------------------------------------------------------------------------


async def test_one_access_token_serves_many_messages(sandbox: Sandbox, android: Android) -> None:
    await asyncio.gather(*(one(android, android.sandbox_address(f"n{n}")) for n in range(20)))
    assert counted(sandbox).tokens == 1
    await one(android)
    assert counted(sandbox).tokens == 1


async def test_tenants_have_access_tokens_of_their_own(sandbox: Sandbox, android: Android) -> None:
    for tenant in ("acme", "globex", "acme"):
        await one(android, config=android.sandbox_config(tenant), tenant=tenant)
    assert counted(sandbox).tokens == 2
    assert len(arrived(sandbox)) == 2


async def test_an_access_token_near_its_end_is_renewed_before_it_is_used(sandbox: Sandbox, android: Android) -> None:
    config = config_of(service_account("acme", "brief"))
    assert (await one(android, config=config)).status is Status.SENT
    before = counted(sandbox).tokens
    assert (await one(android, config=config)).status is Status.SENT
    assert counted(sandbox).tokens > before


async def test_an_access_token_near_its_end_still_serves_while_google_is_away(
    sandbox: Sandbox, android: Android, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(service_account("acme", "brief"))
    assert (await one(android, config=config)).status is Status.SENT
    monkeypatch.setattr(gateway, "verified_issuer", lambda assertion: f"broken@{project_of('acme')}")
    assert (await one(android, config=config)).status is Status.SENT


async def test_an_access_token_that_fcm_refuses_is_renewed_once(sandbox: Sandbox, android: Android) -> None:
    outcome = await one(android, "sandbox-expired-once")
    assert outcome.status is Status.SENT
    assert counted(sandbox).tokens == 2
    assert counted(sandbox).sends == {"401": 1, "200": 1}


async def test_one_renewal_serves_all_that_were_refused_together(sandbox: Sandbox, android: Android) -> None:
    message = outgoing()
    targets = [recipient(android, message, f"r{n}", f"sandbox-expired-once-{n}") for n in range(50)]
    results = await outcomes(android, android.sandbox_config("acme"), message, targets)
    assert {result.status for result in results} == {Status.SENT}
    assert counted(sandbox).tokens == 2


async def test_a_token_that_is_being_renewed_is_given_to_nobody(
    sandbox: Sandbox, android: Android, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = android.sandbox_config("acme")
    account = android._place(config, "test").account
    first, answered, fetch = await account.token(), threading.Event(), google_tokens.Account._fetch

    def slowly(self: google_tokens.Account) -> Credentials:
        answered.wait(10)
        return fetch(self)

    monkeypatch.setattr(google_tokens.Account, "_fetch", slowly)
    assert account.held == first
    renewal = asyncio.create_task(account.token(refused=first))
    await asyncio.sleep(0)
    assert account.held == ""
    answered.set()
    assert account.held == "" and await renewal == account.held != ""


async def test_an_account_that_fcm_keeps_refusing_does_not_flood_the_token_endpoint(
    sandbox: Sandbox, android: Android
) -> None:
    message = outgoing()
    targets = [recipient(android, message, f"r{n}", f"sandbox-unauthenticated-{n}") for n in range(300)]
    results = await outcomes(android, android.sandbox_config("acme"), message, targets)
    assert {(result.status, result.reason) for result in results} == {(Status.FAILED, "credentials_refused")}
    assert counted(sandbox).tokens == 2


async def test_a_refused_access_token_is_no_verdict_while_google_gives_no_other(
    sandbox: Sandbox, android: Android, monkeypatch: pytest.MonkeyPatch
) -> None:
    await one(android)
    monkeypatch.setattr(gateway, "verified_issuer", lambda assertion: f"broken@{project_of('acme')}")
    message = outgoing()
    targets = [recipient(android, message, f"r{n}", f"sandbox-unauthenticated-{n}") for n in range(150)]
    results = await outcomes(android, android.sandbox_config("acme"), message, targets)
    assert {(result.status, result.reason) for result in results} == {(Status.DEFERRED, "provider_unavailable")}


async def test_an_account_that_google_refuses_fails_the_call_for_good(sandbox: Sandbox, android: Android) -> None:
    with pytest.raises(DeliveryError) as caught:
        await one(android, config=config_of(service_account("acme", "disabled")))
    assert (caught.value.reason, caught.value.permanent) == ("credentials_refused", True)
    assert caught.value.detail == "invalid_grant: Invalid grant: account disabled"
    assert not arrived(sandbox)


async def test_a_key_that_is_not_the_accounts_is_refused(sandbox: Sandbox, android: Android) -> None:
    forged = service_account("acme") | {"private_key": stranger_key()}
    with pytest.raises(DeliveryError, match="Invalid JWT Signature"):
        await one(android, config=config_of(forged))


async def test_a_token_endpoint_that_fails_defers_the_call(sandbox: Sandbox, android: Android) -> None:
    with pytest.raises(DeliveryError) as caught:
        await one(android, config=config_of(service_account("acme", "broken")))
    assert (caught.value.reason, caught.value.permanent) == ("provider_unavailable", False)


async def test_another_project_than_the_accounts_is_forbidden(sandbox: Sandbox, android: Android) -> None:
    config = config_of(service_account("acme"), project_id=project_of("globex"))
    outcome = await one(android, config=config)
    assert (outcome.status, outcome.reason) == (Status.FAILED, "credentials_refused")


async def test_live_messages_follow_the_operators_urls_and_never_the_tenants(
    sandbox: Sandbox, android: Android, settings: Settings
) -> None:
    settings.PROVIDER_URLS = {"google_oauth": f"{sandbox.url}/android", "fcm": f"{sandbox.url}/android"}
    settings.SANDBOX_URL = f"http://127.0.0.1:{free_port()}"
    astray = service_account("acme") | {"token_uri": f"{settings.SANDBOX_URL}/token", "universe_domain": "evil.test"}
    assert (await one(android, config=config_of(astray), mode="live")).status is Status.SENT


async def test_the_tokens_of_accounts_are_kept_within_a_bound(
    android: Android, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(google_tokens, "_ACCOUNTS", 1)
    for tenant in ("acme", "globex", "acme"):
        await one(android, config=android.sandbox_config(tenant))
    assert counted(sandbox).tokens == 3


# --- The form ------------------------------------------------------------------------------------------------------


def form(document: Any, **fields: Any) -> FcmConfig:
    text = document if isinstance(document, str) else json.dumps(document)
    return FcmConfig({"service_account": text} | fields)


def test_a_service_account_is_kept_without_what_is_not_used() -> None:
    account = service_account("acme") | {"auth_uri": "https://accounts.google.com/o/oauth2/auth", "client_id": "1"}
    filled = form(account)
    assert filled.is_valid(), filled.errors
    kept = json.loads(filled.cleaned_data["service_account"])
    assert set(kept) == {"type", "project_id", "private_key_id", "private_key", "client_email"}
    assert filled.cleaned_data["project_id"] == project_of("acme")


def test_a_project_of_its_own_wins_over_the_service_accounts() -> None:
    filled = form(service_account("acme"), project_id="another-project")
    assert filled.is_valid(), filled.errors
    assert filled.cleaned_data["project_id"] == "another-project"


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("{", "not JSON"),
        ("[]", "not a service account"),
        ({"type": "authorized_user"}, "not a service account"),
        (service_account("acme") | {"project_id": "../../x"}, "project_id"),
        (service_account("acme") | {"project_id": 7}, "project_id"),
        (service_account("acme") | {"client_email": "someone@example.test"}, "client_email"),
        (service_account("acme") | {"private_key": "secret"}, "private_key"),
        (service_account("acme") | {"private_key": None}, "private_key"),
        (service_account("acme") | {"token_uri": "https://169.254.169.254/token"}, "token_uri"),
        (service_account("acme") | {"token_uri": "https://oauth2.googleapis.com.evil.test/token"}, "token_uri"),
        (service_account("acme") | {"token_uri": ["https://oauth2.googleapis.com/token"]}, "token_uri"),
        (service_account("acme") | {"universe_domain": "evil.test"}, "universe_domain"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_document_that_is_no_service_account_of_googles_is_refused(document: Any, words: str) -> None:
    filled = form(document)
    assert not filled.is_valid()
    assert words in str(filled.errors["service_account"])


@pytest.mark.parametrize("project", ["../x", "a/b", "A-Project", "x?y=z", "a b c d"])
def test_a_project_that_would_change_the_url_is_refused(project: str) -> None:
    assert "project_id" in form(service_account("acme"), project_id=project).errors


def test_a_private_key_is_never_shown_again() -> None:
    assert "PRIVATE" not in form(service_account("acme")).as_p()


# --- Addresses -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "clean"),
    [
        (TOKEN, TOKEN),
        ({"token": TOKEN}, TOKEN),
        ({"fid": "cRabbitHole_0123456789"}, "fid:cRabbitHole_0123456789"),
        ("fid:cRabbitHole_0123456789", "fid:cRabbitHole_0123456789"),
    ],
)
def test_tokens_and_installation_ids_are_told_apart(value: Any, clean: str) -> None:
    assert channel("android").clean_address(value) == clean


@pytest.mark.parametrize("value", [{"fid": 1}, {"token": None}, {"topic": "news"}, {"token": "a", "fid": "b"}, "short"])
def test_what_names_no_device_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^Give .*\.$"):
        channel("android").clean_address(value)


def test_a_mask_keeps_the_ends() -> None:
    assert channel("android").mask_address(TOKEN) == "cRab…land"
    assert channel("android").mask_address("fid:cRabbitHole_0123456789") == "fid:cRab…6789"


# --- The gateway ---------------------------------------------------------------------------------------------------


async def call(sandbox: Sandbox, path: str, **options: Any) -> tuple[int, dict[str, Any]]:
    async with aiohttp.ClientSession() as session, session.post(f"{sandbox.url}/android{path}", **options) as answer:
        return answer.status, await answer.json()


async def access(sandbox: Sandbox) -> str:
    assertion = credentials(service_account("acme"))._make_authorization_grant_assertion()
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion.decode()}
    status, body = await call(sandbox, "/token", data=form)
    assert (status, body["token_type"], body["expires_in"]) == (200, "Bearer", 3_599)
    return str(body["access_token"])


def credentials(account: Mapping[str, Any], scopes: list[str] | None = None) -> Any:
    scopes = scopes or [google_tokens.SCOPE]
    return Credentials.from_service_account_info(account, scopes=scopes)  # type: ignore[no-untyped-call]


async def test_the_gateway_validates_without_sending(sandbox: Sandbox) -> None:
    headers = {"Authorization": f"Bearer {await access(sandbox)}"}
    body = {"validate_only": True, "message": {"token": TOKEN}}
    path = f"/v1/projects/{project_of('acme')}/messages:send"
    status, answer = await call(sandbox, path, json=body, headers=headers)
    assert (status, answer) == (200, {"name": f"projects/{project_of('acme')}/messages/fake_message_id"})
    assert arrived(sandbox)[0]["validate_only"] is True


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({}, "message"),
        ({"token": TOKEN, "fid": "both-of-them"}, "message"),
        ({"token": TOKEN, "unknown": 1}, "message"),
        ({"token": TOKEN, "data": {"n": 1}}, "message.data[0].value"),
        ({"token": TOKEN, "data": {"google.x": "1"}}, ""),
        ({"token": TOKEN, "data": {"x": "1" * 4_096}}, ""),
        ({"token": TOKEN, "android": {"ttl": 60}}, "message.android.ttl"),
        ({"token": TOKEN, "android": {"priority": "urgent"}}, "message.android.priority"),
        ({"token": TOKEN, "android": []}, "message"),
    ],
)
async def test_the_gateway_refuses_what_fcm_would(sandbox: Sandbox, message: dict[str, Any], field: str) -> None:
    headers = {"Authorization": f"Bearer {await access(sandbox)}"}
    path = f"/v1/projects/{project_of('acme')}/messages:send"
    status, answer = await call(sandbox, path, json={"message": message}, headers=headers)
    (detail,) = answer["error"]["details"]
    assert (status, answer["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert field == (detail["fieldViolations"][0]["field"] if "fieldViolations" in detail else "")


@pytest.mark.parametrize("token", ["", "Bearer", "Bearer x.y.z", "Bearer ya29.e30=.00", "Basic abc"])
async def test_the_gateway_refuses_an_access_token_that_it_did_not_give(sandbox: Sandbox, token: str) -> None:
    path = f"/v1/projects/{project_of('acme')}/messages:send"
    status, answer = await call(sandbox, path, json={"message": {"token": TOKEN}}, headers={"Authorization": token})
    assert (status, answer["error"]["status"]) == (401, "UNAUTHENTICATED")


async def test_the_gateways_access_tokens_end(sandbox: Sandbox) -> None:
    assert account_of(access_token("a@b", 60)) == "a@b"
    with pytest.raises(BadToken):
        account_of(access_token("a@b", -1))


async def test_the_token_endpoint_wants_its_grant(sandbox: Sandbox) -> None:
    status, body = await call(sandbox, "/token", data={"grant_type": "password"})
    assert (status, body["error"]) == (400, "unsupported_grant_type")


def test_an_assertion_of_the_sandbox_needs_its_scope_and_key_id() -> None:
    account = service_account("acme")
    assert (
        verified_issuer(credentials(account)._make_authorization_grant_assertion().decode()) == account["client_email"]
    )
    with pytest.raises(BadToken, match="scope"):
        verified_issuer(credentials(account, ["email"])._make_authorization_grant_assertion().decode())
    stolen = service_account("globex") | {"client_email": account["client_email"]}
    with pytest.raises(BadToken, match="account not found"):
        verified_issuer(credentials(stolen)._make_authorization_grant_assertion().decode())


def test_the_shape_of_a_strangers_assertion_is_checked() -> None:
    email = "push@real-project.iam.gserviceaccount.com"
    stranger = service_account("acme") | {"private_key": stranger_key(), "client_email": email}
    assertion = credentials(stranger)._make_authorization_grant_assertion().decode()
    assert verified_issuer(assertion) == email
    head, _, signature = assertion.split(".")
    claims = {"iss": email, "iat": 1, "exp": 3_601, "scope": google_tokens.SCOPE}
    old = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    for forged in (f"{head}.{old}.{signature}", "a.b.c", ""):
        with pytest.raises(BadToken, match="Invalid JWT"):
            verified_issuer(forged)


async def test_the_gateway_counts_and_forgets(sandbox: Sandbox, android: Android) -> None:
    await one(android)
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{sandbox.url}/android/count") as answer:
            assert await answer.json() == {"tokens": 1, "sends": {"200": 1}}
        async with session.delete(f"{sandbox.url}/android/count") as answer:
            assert answer.status == 204
    assert (counted(sandbox).tokens, dict(counted(sandbox).sends)) == (0, {})
