"""The e-mail channel through Mailgun's API at the sandbox: batches, refusals, and what becomes of it all."""

import json
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from django.conf import settings

from feedback.events import Status
from messaging import mail_connections
from messaging.channels import channel
from messaging.channels.base import DeliveryError, Outcome
from messaging.sandbox.server import Sandbox
from subscriptions import services as subscriptions
from subscriptions.inputs import AddressInput
from tenants.services import set_channel_config
from tests.conftest import TenantUnderTest
from tests.live import LiveSystem, wait_for
from tests.messaging.sending import outcomes, outgoing, recipient


async def sent(names: Sequence[str], config: Mapping[str, Any] | None = None, **fields: Any) -> dict[str, Outcome]:
    """Outcomes by the mailbox's local part, of a test message."""
    email, message = channel("email"), outgoing(**fields)
    targets = {name: recipient(email, message, name, f"{name}@example.com") for name in names}
    found = await outcomes(email, config or email.sandbox_config("acme"), message, [*targets.values()])
    by_delivery = {outcome.delivery: outcome for outcome in found}
    return {name: by_delivery[target.delivery] for name, target in targets.items()}


def arrived(sandbox: Sandbox) -> list[dict[str, Any]]:
    """Oldest first."""
    return sandbox.arrivals.newest("email", "acme", 1000)[::-1]


def calls(sandbox: Sandbox) -> list[tuple[int, int]]:
    """(answer, recipients) of each call."""
    together: dict[str, tuple[int, int]] = {}
    for number, row in enumerate(arrived(sandbox)):
        key = row.get("id", str(number))
        answer, count = together.get(key, (row["answer"], 0))
        together[key] = (answer, count + len(row["to"]))
    return list(together.values())


async def test_a_chunk_is_one_call_in_which_each_sees_only_himself(sandbox: Sandbox) -> None:
    names = [f"r{number}" for number in range(300)]
    found = await sent(names, overrides={"html": "<p>Hello</p>", "reply_to": "help@example.com"})
    assert {outcome.status for outcome in found.values()} == {Status.SENT} and len(found) == 300
    assert calls(sandbox) == [(200, 300)]
    mails = {row["to"][0]: row for row in arrived(sandbox)}
    assert sorted(mails) == sorted(f"{name}@example.com" for name in names)
    assert {row["variables"]["delivery"] for row in mails.values()} == {one.delivery for one in found.values()}
    one = mails["r7@example.com"]
    assert "r8@example.com" not in json.dumps(one)
    assert (one["html"], one["headers"]["reply-to"]) == ("<p>Hello</p>", "help@example.com")
    assert one["id"] == found["r7"].provider_id and one["variables"]["mode"] == "test"


async def test_one_bad_address_does_not_spoil_its_chunk(sandbox: Sandbox) -> None:
    names = [*(f"a{number}" for number in range(100)), "invalid", *(f"b{number}" for number in range(99))]
    found = await sent(names)
    bad = found.pop("invalid")
    assert (bad.status, bad.reason, bad.retire) == (Status.FAILED, "invalid_address", True)
    assert {outcome.status for outcome in found.values()} == {Status.SENT}
    answers = calls(sandbox)
    assert sum(count for answer, count in answers if answer == 200) == 199
    assert len(answers) < 20, "halved until the bad one is alone"


@pytest.mark.parametrize(
    ("name", "status", "reason", "unknown", "retry_after"),
    [
        ("limited", Status.DEFERRED, "rate_limited", False, 2.0),
        ("unavailable", Status.DEFERRED, "provider_unavailable", False, None),
        ("drop", Status.DEFERRED, "connection_lost", True, None),
    ],
)
async def test_a_provider_in_trouble_took_nobody_of_the_chunk(
    sandbox: Sandbox, name: str, status: Status, reason: str, unknown: bool, retry_after: float | None
) -> None:
    found = await sent([name, "other"])
    for outcome in found.values():
        assert (outcome.status, outcome.reason, outcome.unknown) == (status, reason, unknown)
        assert outcome.retry_after == retry_after and not outcome.retire
    assert len(calls(sandbox)) == 1


@pytest.mark.parametrize(
    ("code", "reason", "permanent", "unknown", "calls_made"),
    [
        # https://documentation.mailgun.com/docs/mailgun/api-reference/intro: status codes
        (400, "provider_refused", True, False, 3),
        (401, "credentials_refused", True, False, 1),
        (402, "provider_refused", True, False, 1),
        (403, "credentials_refused", True, False, 1),
        (404, "provider_refused", True, False, 1),
        (413, "provider_refused", True, False, 3),
        (429, "rate_limited", False, False, 1),
        (500, "provider_unavailable", False, False, 1),
        (502, "provider_unavailable", False, False, 1),
        (503, "provider_unavailable", False, False, 1),
        (504, "provider_unavailable", False, True, 1),
    ],
)
async def test_every_documented_status_has_a_meaning(
    sandbox: Sandbox, code: int, reason: str, permanent: bool, unknown: bool, calls_made: int
) -> None:
    names = [f"status{code}", f"status{code}+2"]
    try:
        found = [(one.reason, one.status is Status.FAILED, one.unknown) for one in (await sent(names)).values()]
    except DeliveryError as error:
        found = [(error.reason, error.permanent, error.unknown)]
    assert set(found) == {(reason, permanent, unknown)}
    assert [row["answer"] for row in arrived(sandbox)] == [code] * calls_made


async def test_what_is_not_answered_in_time_may_have_been_sent(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail_connections, "TIMEOUT", 0.3)
    found = await sent(["slow", "other"])
    assert {(one.status, one.reason, one.unknown) for one in found.values()} == {
        (Status.DEFERRED, "connection_lost", True)
    }


@pytest.mark.parametrize(
    ("change", "reason", "answer"),
    [({"api_key": "key-stolen"}, "credentials_refused", 401), ({"sender_domain": "elsewhere.example"}, "", 401)],
)
async def test_an_account_that_is_refused_is_asked_once(
    sandbox: Sandbox, change: dict[str, str], reason: str, answer: int
) -> None:
    with pytest.raises(DeliveryError) as refused:
        await sent([f"r{number}" for number in range(20)], {**channel("email").sandbox_config("acme"), **change})
    assert refused.value.permanent and refused.value.reason == (reason or "credentials_refused")
    assert [row["answer"] for row in sandbox.arrivals.newest("email", None, 10)] == [answer]


@dataclass(frozen=True, slots=True)
class Fate:
    """What the API says of a delivery in the end, and what the gateway saw."""

    status: str
    reason: str | None = None
    times: frozenset[str] = frozenset()
    address: str = "active"
    calls: tuple[int, ...] = (200,)
    attempts: int = 1


SENT, DELIVERED, TRIED = frozenset({"sent"}), frozenset({"sent", "delivered"}), frozenset({"deferred", "failed"})
FATES = {
    "anyone": Fate("delivered", times=DELIVERED),
    "quiet": Fate("sent", times=SENT),
    "bounce": Fate("bounced", "bounced", SENT | {"bounced"}, "bounced"),
    "full": Fate("bounced", "soft_bounce", SENT | {"bounced"}),
    "defer": Fate("delivered", times=DELIVERED | {"delayed"}),
    "suppressed": Fate("bounced", "bounced", SENT | {"bounced"}, "bounced"),
    "reject": Fate("failed", "provider_rejected", SENT | {"failed"}),
    "open": Fate("delivered", times=DELIVERED | {"opened"}),
    "click": Fate("delivered", times=DELIVERED | {"opened", "clicked"}),
    "complain": Fate("delivered", times=DELIVERED | {"complained"}, address="complained"),
    "unsubscribe": Fate("delivered", times=DELIVERED | {"unsubscribed"}, address="opted_out"),
    "invalid": Fate("failed", "invalid_address", frozenset({"failed"}), "invalid_address", (400,)),
    "limited": Fate("failed", "rate_limited", TRIED, calls=(429, 429), attempts=2),
    "unavailable": Fate("failed", "provider_unavailable", TRIED, calls=(503, 503), attempts=2),
    "flaky": Fate("delivered", times=DELIVERED | {"deferred"}, calls=(503, 200), attempts=2),
    "drop": Fate("failed", "connection_lost", frozenset({"failed"}), calls=(0,)),
}


SMTP_FATES = {
    "anyone": Fate("sent", times=SENT),
    "bounce": Fate("failed", "invalid_address", frozenset({"failed"}), "invalid_address"),
    "full": Fate("failed", "recipient_refused", frozenset({"failed"})),
    "defer": Fate("failed", "provider_deferred", TRIED, attempts=2),
    "spam": Fate("failed", "content_refused", frozenset({"failed"})),
    "drop": Fate("failed", "connection_lost", frozenset({"failed"})),
}


@pytest.mark.services
def test_every_documented_outcome_is_told_and_remembered(
    live_system: LiveSystem, acme: TenantUnderTest, globex: TenantUnderTest
) -> None:
    web, sandbox, *_ = live_system.start("web", "sandbox", "dispatcher", "feeder", "sweeper")
    config = {"retry_delays": [1.0]}
    set_channel_config("acme", "email", {**channel("email").sandbox_config("acme"), **config}, by=acme.owner)
    login = {"username": "globex", "password": "sandbox", "from_email": "globex@sandbox.example.com"}
    server = {"host": "127.0.0.1", "port": settings.SANDBOX_SMTP_PORT, "provider": "smtp", "security": "none"}
    set_channel_config("globex", "email", {**server, **login, **config}, by=globex.owner)
    sendings = [
        (tenant, name, fate, _send(web.url, tenant, name))
        for tenant, fates in ((acme, FATES), (globex, SMTP_FATES))
        for name, fate in fates.items()
    ]
    for tenant, name, fate, message in sendings:
        row = wait_for(partial(_row, web.url, tenant, message, fate), 30, f"{name}'s {fate}")
        assert row and (row["reason"], row["attempts"]) == (fate.reason, fate.attempts), name
        kept = _get(web.url, tenant, f"receivers/{name}")["addresses"][0]
        assert (kept["reason"] if kept["status"] == "retired" else "active") == fate.address, name
    arrivals = _arrivals(sandbox.url)
    seen = {name: tuple(row["answer"] for row in arrivals if row["to"] == [f"{name}@example.com"]) for name in FATES}
    assert seen == {name: fate.calls for name, fate in FATES.items()}

    test_key = acme.headers(acme.test_key)
    body = {"to": {"receivers": ["quiet", "open"]}, "channels": ["email"], "content": {"body": "A test"}}
    message = _open(f"{web.url}/api/v1/messages", test_key, body)["id"]

    def statuses() -> bool:
        rows = _open(f"{web.url}/api/v1/messages/{message}/deliveries", test_key)["data"]
        return {row["receiver"]: row["status"] for row in rows} == {"quiet": "sent", "open": "delivered"}

    wait_for(statuses, 15, "the webhook of a test message")
    _broadcast_with_one_click(web.url, sandbox.url, acme)


def _broadcast_with_one_click(web: str | None, sandbox: str | None, tenant: TenantUnderTest) -> None:
    """A group's members share a call; one of them follows his link, and later messages leave him out."""
    names = [f"member{number}" for number in range(40)]
    subscriptions.put_group(tenant.slug, "news")
    for name in names:
        subscriptions.put_receiver(tenant.slug, name, [AddressInput("email", f"{name}@example.com")])
        subscriptions.subscribe(tenant.slug, "news", name, None)
    body = {"to": {"groups": ["news"]}, "channels": ["email"], "content": {"title": "News", "body": "Hello"}}
    first = _open(f"{web}/api/v1/messages", tenant.headers(), body)["id"]
    wait_for(lambda: _totals(web, tenant, first) == {"delivered": 40}, 20, "40 mails")
    rows = [row for row in _arrivals(sandbox) if row["to"][0].startswith("member")]
    assert len({row["id"] for row in rows}) == 1 and len(rows) == 40
    links = {row["to"][0]: row["headers"]["list-unsubscribe"].strip("<>") for row in rows}
    assert len(set(links.values())) == 40
    request = urllib.request.Request(links["member7@example.com"], b"List-Unsubscribe=One-Click")
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200
    second = _open(f"{web}/api/v1/messages", tenant.headers(), body)["id"]
    wait_for(lambda: _totals(web, tenant, second) == {"delivered": 39, "suppressed": 1}, 20, "39 mails")
    (left_out,) = _get(web, tenant, f"messages/{second}/deliveries?status=suppressed")["data"]
    assert (left_out["receiver"], left_out["reason"]) == ("member7", "opted_out")
    (told,) = _get(web, tenant, f"messages/{first}/deliveries?receiver=member7")["data"]
    assert told["status"] == "delivered" and "unsubscribed" in told["times"]


def _totals(url: str | None, tenant: TenantUnderTest, message: str) -> Any:
    return _get(url, tenant, f"messages/{message}")["totals"]["channels"].get("email")


def _arrivals(sandbox: str | None) -> list[dict[str, Any]]:
    """acme's, oldest first."""
    rows: list[dict[str, Any]] = _open(f"{sandbox}/arrived/email?tenant=acme&limit=1000")["data"]
    return rows[::-1]


def _send(url: str | None, tenant: TenantUnderTest, receiver: str) -> str:
    """The id of a message to a new receiver whose mailbox has his name."""
    subscriptions.put_receiver(tenant.slug, receiver, [AddressInput("email", f"{receiver}@example.com")])
    body = {"to": {"receivers": [receiver]}, "channels": ["email"], "content": {"title": "Hi", "body": "Hello"}}
    return str(_open(f"{url}/api/v1/messages", tenant.headers(), body)["id"])


def _row(url: str | None, tenant: TenantUnderTest, message: str, fate: Fate) -> dict[str, Any] | None:
    """The message's delivery, once it stands as it should."""
    rows: list[dict[str, Any]] = _get(url, tenant, f"messages/{message}/deliveries")["data"]
    done = [row for row in rows if row["status"] == fate.status and set(row["times"]) == fate.times]
    return done[0] if done else None


def _get(url: str | None, tenant: TenantUnderTest, path: str) -> Any:
    return _open(f"{url}/api/v1/{path}", tenant.headers())


def _open(url: str, headers: Mapping[str, str] | None = None, body: Any = None) -> Any:
    content = {"Content-Type": "application/json"} if body else {}
    request = urllib.request.Request(url, json.dumps(body).encode() if body else None, {**(headers or {}), **content})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)
