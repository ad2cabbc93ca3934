"""The webpush channel against the sandbox's push service, which checks and decrypts as real ones and browsers do."""

import base64
import json
import time
from collections.abc import AsyncIterator, Mapping
from io import StringIO
from typing import Any

import http_ece
import jwt
import pytest
import pytest_asyncio
from aiohttp import ClientSession
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.core.management import CommandError, call_command
from py_vapid import Vapid02
from pytest_django import Settings
from pywebpush import WebPusher

from feedback.events import Status
from messaging import push_subscriptions, vapid
from messaging.channels import channel
from messaging.channels.base import DeliveryError, Outcome, Outgoing
from messaging.sandbox.browser import browser
from messaging.sandbox.server import Sandbox
from sprayer_project import outbound
from tenants import selectors
from tests.conftest import TenantUnderTest
from tests.messaging.sending import outcomes, outgoing, recipient

CONFIG: Mapping[str, Any] = {"private_key": vapid.new_private_key(), "subject": "mailto:alerts@example.com"}
REAL = browser("real").subscription | {"endpoint": "https://push.example.test/send/abc:def_1?token=BQ%2fY%3d"}


@pytest_asyncio.fixture(autouse=True)
async def closed() -> AsyncIterator[None]:
    yield
    await outbound.aclose()


async def one(
    name: str | Mapping[str, Any], message: Outgoing | None = None, config: Mapping[str, Any] = CONFIG
) -> Outcome:
    """Of a live message to the subscription with this name at the sandbox, or to this subscription."""
    message = message or outgoing(mode="live")
    subscription = browser(name).subscription if isinstance(name, str) else name
    (outcome,) = await outcomes(
        channel("webpush"), config, message, [recipient(channel("webpush"), message, "alice", subscription)]
    )
    return outcome


def arrivals(sandbox: Sandbox, tenant: str | None = "acme") -> list[dict[str, Any]]:
    return sandbox.arrivals.newest("webpush", tenant, 1000)


def headers_of(sandbox: Sandbox) -> dict[str, str]:
    (arrival,) = arrivals(sandbox)
    found: dict[str, str] = arrival["headers"]
    return found


def unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


async def test_the_browser_reads_what_was_sent_and_the_service_gives_an_id(sandbox: Sandbox) -> None:
    overrides = {"icon": "/i.png", "title": "Goal!", "url": "/match/17", "actions": [{"action": "a", "title": "A"}]}
    message = outgoing(mode="live", overrides=overrides | {"urgency": "low", "topic": "t"})
    outcome = await one("phone", message)
    (arrival,) = arrivals(sandbox)
    assert (outcome.status, outcome.reason, outcome.detail) == (Status.SENT, "", {"http_status": 201})
    assert outcome.provider_id.startswith(f"{sandbox.url}/webpush/m/")
    assert json.loads(arrival["body"]) == {
        "id": message.id,
        "sent_at": message.created_at.isoformat(),
        "type": "greeting",
        "title": "Goal!",
        "body": "This is a message.",
        "data": {"n": 1},
        "icon": "/i.png",
        "url": "/match/17",
        "actions": [{"action": "a", "title": "A"}],
    }
    assert (arrival["subscription"], arrival["status"]) == ("phone", 201)


async def test_the_headers_say_how_long_how_urgent_and_in_which_encoding(sandbox: Sandbox) -> None:
    await one("phone", outgoing(mode="live", ttl=120.9, priority="high"))
    headers = headers_of(sandbox)
    assert headers["ttl"] in ("119", "120")
    assert headers["urgency"] == "high"
    assert (headers["content-encoding"], headers["content-type"]) == ("aes128gcm", "application/octet-stream")
    assert "topic" not in headers


async def test_an_expired_message_asks_for_no_storage(sandbox: Sandbox) -> None:
    await one("phone", outgoing(mode="live", ttl=-1))
    assert headers_of(sandbox)["ttl"] == "0"


async def test_a_collapse_key_becomes_a_topic_and_a_tag(sandbox: Sandbox) -> None:
    for key in ("score-17", "score-17", "señal " * 20):
        await one("phone", outgoing(mode="live", collapse_key=key))
    found = arrivals(sandbox)
    topics = [arrival["headers"]["topic"] for arrival in found]
    assert topics[1] == topics[2] != topics[0]
    assert {len(topic) for topic in topics} == {32}
    assert json.loads(found[1]["body"])["tag"] == "score-17"


async def test_a_message_may_set_urgency_topic_and_tag_for_this_channel(sandbox: Sandbox) -> None:
    overrides = {"urgency": "very-low", "topic": "weather", "tag": "w"}
    await one("phone", outgoing(mode="live", collapse_key="k", overrides=overrides))
    (arrival,) = arrivals(sandbox)
    assert (arrival["headers"]["urgency"], arrival["headers"]["topic"]) == ("very-low", "weather")
    body = json.loads(arrival["body"])
    assert body["tag"] == "w" and "urgency" not in body and "topic" not in body


async def test_the_vapid_token_names_the_service_the_contact_and_a_time_within_half_a_day(sandbox: Sandbox) -> None:
    await one("phone")
    header = headers_of(sandbox)["authorization"]
    token, public = header.removeprefix("vapid t=").split(",k=")
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), unpadded(public))
    claims = jwt.decode(token, key, algorithms=["ES256"], audience=sandbox.url)
    assert claims["sub"] == "mailto:alerts@example.com"
    assert time.time() + 6 * 3600 - 5 <= claims["exp"] <= time.time() + 12 * 3600
    assert public == vapid.public_key(CONFIG["private_key"])
    assert Vapid02.verify(header)


def test_a_token_is_signed_once_for_six_hours() -> None:
    private, at = vapid.new_private_key(), 1_800_000_000.0
    begin = at - at % 21_600
    first, last, later = (
        vapid.authorization(private, "mailto:a@b.example", "https://x", begin + s) for s in (0, 21_599, 21_600)
    )
    assert first == last != later
    assert vapid.authorization(private, "mailto:a@b.example", "https://y", begin) != first


@pytest.mark.parametrize(
    ("name", "status", "reason", "retire"),
    [
        ("anything", Status.SENT, "", False),
        ("400", Status.FAILED, "provider_refused", False),
        ("401", Status.FAILED, "vapid_refused", False),
        ("403-alice", Status.FAILED, "vapid_refused", False),
        ("404", Status.FAILED, "unregistered", True),
        ("410-bob", Status.FAILED, "unregistered", True),
        ("413", Status.FAILED, "payload_too_large", False),
        ("418", Status.FAILED, "provider_refused", False),
        ("429", Status.DEFERRED, "rate_limited", False),
        ("500", Status.DEFERRED, "provider_unavailable", False),
        ("503", Status.DEFERRED, "provider_unavailable", False),
    ],
)
async def test_an_answers_status_decides_the_outcome(
    sandbox: Sandbox, name: str, status: Status, reason: str, retire: bool
) -> None:
    outcome = await one(name)
    assert (outcome.status, outcome.reason, outcome.retire, outcome.unknown) == (status, reason, retire, False)
    assert outcome.retry_after == (2.0 if name == "429" else None)
    assert [arrival["status"] for arrival in arrivals(sandbox)] == [outcome.detail["http_status"]]


async def test_a_service_in_trouble_takes_the_repeat(sandbox: Sandbox) -> None:
    assert [(await one("503-once")).status for _ in range(2)] == [Status.DEFERRED, Status.SENT]


async def test_dead_subscriptions_do_not_spoil_the_others(sandbox: Sandbox) -> None:
    webpush, message = channel("webpush"), outgoing()
    names = [f"410-{n}" if n % 10 == 0 else f"ok-{n}" for n in range(100)]
    targets = [recipient(webpush, message, name, browser(name).subscription) for name in names]
    results = await outcomes(webpush, webpush.sandbox_config("acme"), message, targets)
    dead = {target.delivery for target in targets if target.receiver.startswith("410")}
    assert {result.delivery for result in results if result.retire} == dead and len(dead) == 10
    assert {result.status for result in results if result.delivery not in dead} == {Status.SENT}
    assert len(arrivals(sandbox)) == len(results) == 100


async def test_no_answer_in_time_is_unknown(sandbox: Sandbox, settings: Settings) -> None:
    settings.WEBHOOK_TIMEOUT = 0.2
    outcome = await one("slow")
    assert (outcome.status, outcome.reason, outcome.unknown) == (Status.DEFERRED, "timeout", True)


async def test_a_connection_that_breaks_is_unknown_and_repeated(sandbox: Sandbox) -> None:
    outcome = await one("reset")
    assert (outcome.status, outcome.reason, outcome.unknown) == (Status.DEFERRED, "connection_lost", True)
    assert channel("webpush").repeat_unknown


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "[::1]", "localhost", "2130706433"])
async def test_a_live_endpoint_on_a_private_address_fails_for_good(
    sandbox: Sandbox, settings: Settings, host: str
) -> None:
    settings.WEBHOOK_ALLOW_PRIVATE = []
    outcome = await one(REAL | {"endpoint": f"https://{host}:{sandbox.port}/webpush/phone"})
    assert (outcome.status, outcome.reason, outcome.retire) == (Status.FAILED, "blocked_address", False)
    assert arrivals(sandbox, None) == []


async def test_a_test_message_goes_to_the_sandbox_and_names_the_real_endpoint(
    sandbox: Sandbox, settings: Settings
) -> None:
    settings.WEBHOOK_ALLOW_PRIVATE = []
    outcome = await one(REAL, outgoing(), channel("webpush").sandbox_config("acme"))
    (arrival,) = arrivals(sandbox)
    assert outcome.status == Status.SENT
    assert arrival["headers"]["sprayer-original-url"] == REAL["endpoint"]
    assert arrival["subscription"] == "test" and json.loads(arrival["body"])["title"] == "Hello"


async def test_only_the_sandbox_is_told_the_tenant(sandbox: Sandbox, settings: Settings) -> None:
    settings.SANDBOX_URL = "http://sandbox.example.test"
    await one(REAL | {"endpoint": f"{sandbox.url}/webpush/phone"})
    assert not [name for name in arrivals(sandbox, "")[0]["headers"] if name.startswith("sprayer-")]


async def test_a_notification_that_is_too_long_never_leaves(sandbox: Sandbox) -> None:
    empty = len(await _body(sandbox, ""))
    fits = "x" * (push_subscriptions.MAX_TEXT - empty)
    assert len(await _body(sandbox, fits)) == push_subscriptions.MAX_TEXT
    message = outgoing(mode="live", content={"body": fits + "x"})
    with pytest.raises(DeliveryError) as caught:
        await one("phone", message)
    assert (caught.value.reason, caught.value.permanent) == ("payload_too_large", True)
    assert len(arrivals(sandbox)) == 2


async def _body(sandbox: Sandbox, text: str) -> str:
    """What arrives of a message that has this body."""
    outcome = await one("phone", outgoing(mode="live", content={"body": text}))
    assert outcome.status == Status.SENT
    return str(arrivals(sandbox)[0]["body"])


def test_encryption_gives_what_rfc_8291_prints() -> None:
    """Appendix A, byte for byte."""
    private = int.from_bytes(unpadded("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"))
    printed = unpadded(
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_"
        "yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
    )
    sent = http_ece.encrypt(
        b"When I grow up, I want to be a watermelon",
        salt=unpadded("DGv6ra1nlYgDCS1FRnbzlw"),
        private_key=ec.derive_private_key(private, ec.SECP256R1()),
        dh=unpadded("BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"),
        auth_secret=unpadded("BTBZMqHH6r4Tts7J_aSIgg"),
        version="aes128gcm",
    )
    assert sent == printed


def test_the_browser_of_rfc_8291_reads_what_this_project_encrypts() -> None:
    private = int.from_bytes(unpadded("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"))
    subscription = push_subscriptions.cleaned(
        {
            "endpoint": "https://push.example.net/push/JzLQ3raZJfFBR0aqvOMsLrt54w4rJUsV",
            "keys": {
                "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
                "auth": "BTBZMqHH6r4Tts7J_aSIgg",
            },
        }
    )
    bodies = [subscription.encrypted(b"a watermelon") for _ in range(2)]
    key = ec.derive_private_key(private, ec.SECP256R1())
    read = [
        http_ece.decrypt(body, private_key=key, auth_secret=subscription.auth, version="aes128gcm") for body in bodies
    ]
    assert read == [b"a watermelon"] * 2
    assert len({body[:16] for body in bodies}) == len({body[21:86] for body in bodies}) == 2


async def test_the_gateway_takes_what_another_library_sends(sandbox: Sandbox) -> None:
    wanted = browser("other")
    key = Vapid02()
    key.generate_keys()
    claims = {"aud": sandbox.url, "sub": "mailto:a@b.example", "exp": int(time.time()) + 600}
    headers = {**key.sign(claims), "TTL": "5", "Content-Encoding": "aes128gcm"}
    headers["Content-Type"] = "application/octet-stream"
    body = WebPusher(wanted.subscription).encode(b"from elsewhere")["body"]
    assert await _post(wanted.subscription["endpoint"], body, headers) == 201
    assert arrivals(sandbox, "")[0]["body"] == "from elsewhere"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"Authorization": ""}, 401),
        ({"Authorization": "vapid t=a.b.c,k=AAAA"}, 401),
        ({"TTL": ""}, 400),
        ({"TTL": "soon"}, 400),
        ({"Urgency": "whenever"}, 400),
        ({"Topic": "x" * 33}, 400),
        ({"Topic": "a b"}, 400),
        ({"Content-Encoding": "aesgcm"}, 415),
        ({"Content-Type": "application/json"}, 415),
        ({}, 201),
    ],
)
async def test_the_gateway_refuses_what_breaks_the_rules(
    sandbox: Sandbox, change: Mapping[str, str], status: int
) -> None:
    headers = _headers(sandbox.url) | dict(change)
    subscription = push_subscriptions.cleaned(browser("strict").subscription)
    assert await _post(subscription.endpoint, subscription.encrypted(b"{}"), headers) == status


@pytest.mark.parametrize(
    "claims",
    [{"aud": "https://elsewhere.test"}, {"exp": 1}, {"exp": 9_999_999_999}, {"exp": "later"}, {"sub": "alice"}],
    ids=str,
)
async def test_the_gateway_refuses_a_vapid_token_that_does_not_hold(sandbox: Sandbox, claims: dict[str, Any]) -> None:
    subscription = push_subscriptions.cleaned(browser("strict").subscription)
    headers = _headers(sandbox.url, **claims)
    assert await _post(subscription.endpoint, subscription.encrypted(b"{}"), headers) == 401


async def test_the_gateway_refuses_a_token_signed_with_another_key(sandbox: Sandbox) -> None:
    subscription = push_subscriptions.cleaned(browser("strict").subscription)
    mine, other = _headers(sandbox.url)["Authorization"], vapid.public_key(vapid.new_private_key())
    headers = _headers(sandbox.url) | {"Authorization": f"{mine.split(',k=')[0]},k={other}"}
    assert await _post(subscription.endpoint, subscription.encrypted(b"{}"), headers) == 401


async def test_the_gateway_refuses_what_the_browser_cannot_read(sandbox: Sandbox) -> None:
    mine = push_subscriptions.cleaned(browser("strict").subscription)
    other = push_subscriptions.cleaned(browser("other").subscription)
    for body in (other.encrypted(b"{}"), b"", b"x" * 86, b"x" * 200):
        assert await _post(mine.endpoint, body, _headers(sandbox.url)) == 400
    assert await _post(mine.endpoint, b"x" * 4097, _headers(sandbox.url)) == 413


async def test_the_gateway_hands_out_a_subscription_for_every_name(sandbox: Sandbox) -> None:
    url = browser("Zoë & co/1").subscription["endpoint"]
    async with ClientSession() as session, session.get(url) as answer:
        assert await answer.json() == browser("Zoë & co/1").subscription


async def _post(url: str, body: bytes, headers: Mapping[str, str]) -> int:
    kept = {name: value for name, value in headers.items() if value}
    async with ClientSession() as session, session.post(url, data=body, headers=kept) as answer:
        return answer.status


def _headers(origin: str, **claims: Any) -> dict[str, str]:
    """A request that is right unless claims say otherwise."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    right = {"aud": origin, "exp": int(time.time()) + 600, "sub": "mailto:a@b.example"}
    encoded = base64.urlsafe_b64encode(public).rstrip(b"=").decode()
    return {
        "Authorization": f"vapid t={jwt.encode(right | claims, key, 'ES256')},k={encoded}",
        "TTL": "60",
        "Content-Encoding": "aes128gcm",
        "Content-Type": "application/octet-stream",
    }


def test_a_subscription_has_one_canonical_form() -> None:
    webpush = channel("webpush")
    canonical = webpush.clean_address(REAL)
    assert json.loads(canonical) == {"endpoint": REAL["endpoint"], "keys": REAL["keys"]}
    keys = {name: base64.b64encode(unpadded(value)).decode() for name, value in REAL["keys"].items()}
    for same in (
        canonical,
        json.dumps(REAL, indent=2),
        {**REAL, "expirationTime": 1_900_000_000_000},
        {
            "keys": keys,
            "endpoint": REAL["endpoint"].replace("https://push.example.test", "HTTPS://PUSH.example.test:443"),
        },
    ):
        assert webpush.clean_address(same) == canonical


POINT, AUTH = REAL["keys"]["p256dh"], REAL["keys"]["auth"]


BAD_ENDPOINTS: list[Any] = [
    *(None, 7, "", "push.example.test/x", "ftp://push.example.test/x", "https://", "http://push.example.test/x"),
    *("https://u:p@push.example.test/", "https://a b/", "https://push.example.test:0/", "https://[::1/"),
    *("http://127.0.0.1:1/", "https://ñ.example/", "https://push.example.test\\@x/"),
    *(f"https://push.example.test/{tail}" for tail in ("#top", "\r\nx", "x" * 2048)),
]
BAD_KEYS: list[Any] = [
    *(None, [], {}, {"p256dh": POINT}, {"auth": AUTH}, {"p256dh": 1, "auth": AUTH}),
    *({"p256dh": bad, "auth": AUTH} for bad in ("", "ñ", POINT[:-4], POINT[:-8] + "AAAAAAAA", AUTH)),
    *({"p256dh": POINT, "auth": bad} for bad in ("", "not base64!", AUTH[:-4], AUTH + AUTH)),
]


@pytest.mark.parametrize(
    "change", [{"endpoint": bad} for bad in BAD_ENDPOINTS] + [{"keys": bad} for bad in BAD_KEYS], ids=str
)
def test_a_bad_subscription_is_refused_with_a_sentence(change: dict[str, Any]) -> None:
    for value in (REAL | change, json.dumps(REAL | change)):
        with pytest.raises(ValueError, match=r"[a-zA-Z].* .*\.$"):
            channel("webpush").clean_address(value)


@pytest.mark.parametrize("value", ["[" * 8_000, "{}" * 5_000, "null", '"x"'])
def test_text_that_is_no_subscription_is_refused_with_a_sentence(value: str) -> None:
    with pytest.raises(ValueError, match="subscription object, or its JSON"):
        channel("webpush").clean_address(value)


def test_a_plain_endpoint_is_for_allowed_hosts(settings: Settings) -> None:
    settings.WEBHOOK_ALLOW_PRIVATE = ["127.0.0.1:9999"]
    for refused in ("ftp://127.0.0.1:9999/x", "http://127.0.0.1:9998/x"):
        with pytest.raises(ValueError, match="starts with https"):
            channel("webpush").clean_address(REAL | {"endpoint": refused})
    clean = channel("webpush").clean_address(REAL | {"endpoint": "http://127.0.0.1:9999/x"})
    assert json.loads(clean)["endpoint"] == "http://127.0.0.1:9999/x"


def test_failures_are_counted_by_push_service() -> None:
    webpush, message = channel("webpush"), outgoing()
    assert webpush.host_of(recipient(webpush, message, "alice", REAL)) == "push.example.test"


def test_a_masked_subscription_shows_the_push_service_alone() -> None:
    assert channel("webpush").mask_address(channel("webpush").clean_address(REAL)) == "https://push.example.test/***"


def test_a_first_configuration_gets_a_key_and_shows_its_public_half() -> None:
    first, second = (channel("webpush").Config({"subject": "https://acme.example/contact"}) for _ in range(2))
    assert first.is_valid() and second.is_valid()
    assert first.cleaned_data["private_key"] != second.cleaned_data["private_key"]
    assert first.cleaned_data["public_key"] == vapid.public_key(first.cleaned_data["private_key"])
    assert len(unpadded(first.cleaned_data["public_key"])) == 65
    assert json.dumps(first.cleaned_data)


def test_a_configuration_saved_again_keeps_its_key() -> None:
    private = vapid.new_private_key()
    form = channel("webpush").Config(
        {"subject": "mailto:a@b.example", "public_key": "x"}, initial={"private_key": private}
    )
    assert form.is_valid()
    assert form.cleaned_data["private_key"] == private
    assert form.cleaned_data["public_key"] == vapid.public_key(private)


@pytest.mark.parametrize("key", ["hunter2", "ñ", "A" * 43, "_" * 43, "AAAA", "x" * 5_000])
def test_a_key_that_is_none_is_refused(key: str) -> None:
    form = channel("webpush").Config({"subject": "mailto:a@b.example", "private_key": key})
    assert form.errors == {"private_key": ["A VAPID private key is 32 bytes in base64url."]}


@pytest.mark.parametrize("subject", ["", "alice", "a@b.example", "mailto:alice", "http://a.example", "mailto:<a@b.c>"])
def test_a_contact_that_nobody_can_use_is_refused(subject: str) -> None:
    assert list(channel("webpush").Config({"subject": subject}).errors) == ["subject"]


@pytest.mark.parametrize(
    "overrides",
    [
        {"urgency": "whenever"},
        {"topic": "a b"},
        {"topic": "x" * 33},
        {"title": 7},
        {"actions": [{"action": "x"}]},
        {"x": 1},
    ],
    ids=str,
)
def test_overrides_that_cannot_be_said_are_refused(overrides: dict[str, Any]) -> None:
    assert not channel("webpush").Content(data=overrides).is_valid()


def _command(*arguments: str) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command("vapid_key", *arguments, stdout=out, stderr=err, no_color=True)
    return out.getvalue().strip(), err.getvalue()


def test_vapid_key_makes_a_key_once_and_shows_it_again(acme: TenantUnderTest) -> None:
    first, said = _command("acme")
    found = selectors.channel_config("acme", "webpush")
    assert found is not None and found.enabled
    assert first == found.values["public_key"] == vapid.public_key(found.values["private_key"])
    assert found.values["subject"] == "mailto:alice@acme.example" and "alice@acme.example" in said
    assert _command("acme") == (first, "")


def test_vapid_key_takes_another_contact_and_says_why_it_refuses_one(acme: TenantUnderTest) -> None:
    with pytest.raises(CommandError, match="--subject"):
        _command("acme", "--subject", "alice")
    assert selectors.channel_config("acme", "webpush") is None
    _command("acme", "--subject", "https://acme.example/push")
    found = selectors.channel_config("acme", "webpush")
    assert found is not None and found.values["subject"] == "https://acme.example/push"


def test_vapid_key_of_an_unknown_tenant_says_so(db: None) -> None:
    with pytest.raises(CommandError, match="no tenant 'nobody'"):
        _command("nobody")
