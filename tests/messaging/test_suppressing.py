"""Plain addresses that bounced or whose owners objected: later live messages do not go there, until that is lifted."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client

from feedback import selectors
from feedback import services as feedback
from feedback.events import DeliveryEvent, Status, delivery_id
from feedback.selectors import DeliveryRow
from messaging import dead_letters, erasure, services
from messaging.callbacks import tell
from messaging.channels import channel
from messaging.dry_run import dry_run
from messaging.explain import explain
from messaging.sandbox.server import Sandbox
from subscriptions import services as subscriptions
from subscriptions import suppressions
from subscriptions.addresses import address_hash
from subscriptions.inputs import AddressInput
from tenants.models import AuditEntry, User
from tenants.services import set_channel_config
from tests.conftest import TenantUnderTest
from tests.live import wait_for
from tests.messaging.dispatching import dispatching, ended, send
from tests.messaging.test_credentials import config

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True)]
OPTED_OUT = "+15005550004"
PHONE = "+34600000001"


def plain(address: str) -> dict[str, Any]:
    return {"to": {"addresses": [{"channel": "sms", "address": address}]}, "channels": ["sms"]}


def hashed(address: str) -> str:
    return address_hash("acme", "sms", address)


def suppressed(*numbers: str) -> dict[str, str]:
    found = suppressions.states("acme", [("sms", hashed(address)) for address in numbers])
    return {str(row.address): row.reason for row in found.values()}


def event(message: str, receiver: str, address: str, mode: str = "live", **facts: Any) -> DeliveryEvent:
    where = delivery_id(message, receiver, "sms", hashed(address))
    return DeliveryEvent(
        tenant="acme",
        mode=mode,
        message=message,
        delivery=where,
        receiver="",
        channel="sms",
        at=datetime.now(UTC),
        address_hash=hashed(address),
        **{"status": Status.FAILED, "reason": "unknown_handset"} | facts,
    )


@pytest.fixture
def sms(acme: TenantUnderTest) -> None:
    set_channel_config("acme", "sms", config("sms"))


def test_an_opt_out_of_a_plain_address_is_kept_and_the_provider_is_not_asked_again(
    sms: None, providers: Sandbox
) -> None:
    with dispatching(channel("sms")):
        (first,) = ended(send(**plain(OPTED_OUT)), Status.SUPPRESSED)
        assert (first.reason, first.attempts) == ("opted_out", 1)
        assert suppressed(OPTED_OUT) == {OPTED_OUT: "opted_out"}
        (second,) = ended(send(**plain(OPTED_OUT)), Status.SUPPRESSED)
        assert (second.reason, second.attempts) == ("opted_out", 0)
        assert len(providers.arrivals.newest("sms", None, 10)) == 1
        suppressions.lift("acme", "sms", hashed(OPTED_OUT))
        ended(send(**plain(OPTED_OUT)), Status.SUPPRESSED)
    assert len(providers.arrivals.newest("sms", None, 10)) == 2


def test_a_suppression_holds_nothing_up_but_its_own_address_and_mode(sms: None, providers: Sandbox) -> None:
    subscriptions.put_receiver("acme", "ann", [AddressInput("sms", PHONE)])
    suppressions.put("acme", suppressions.clean("acme", "sms", PHONE), "bounced")
    to = {
        "receivers": ["ann"],
        "addresses": [{"channel": "sms", "address": number} for number in (PHONE, "+34600000002")],
    }
    with dispatching(channel("sms")):
        message = send(to=to, channels=["sms"])
        test = send(mode="test", **plain(PHONE))
        rows = {row.receiver: row for row in _settled(message, 3)}
        (tried,) = _settled(test, 1, "test")
    assert rows[f"addr:{hashed(PHONE)}"].status is Status.SUPPRESSED
    assert rows[f"addr:{hashed(PHONE)}"].reason == "retired"
    assert rows["ann"].status is Status.SENT and rows[f"addr:{hashed('+34600000002')}"].status is Status.SENT
    assert tried.status is Status.SENT


def _settled(message: str, number: int, mode: str = "live") -> list[DeliveryRow]:
    def found() -> list[DeliveryRow]:
        rows = selectors.deliveries("acme", mode, message).data
        return rows if len(rows) == number and all(row.status not in ("queued", "scheduled") for row in rows) else []

    return wait_for(found, 15, f"{number} deliveries")


@pytest.mark.parametrize(
    ("receiver", "mode", "kept"),
    [(f"addr:{hashed(PHONE)}", "live", True), (f"addr:{hashed(PHONE)}", "test", False), ("ann", "live", False)],
)
def test_a_callback_suppresses_the_plain_address_of_a_live_message_alone(
    sms: None, receiver: str, mode: str, kept: bool
) -> None:
    subscriptions.put_receiver("acme", "ann", [AddressInput("sms", PHONE)])
    message = services.accept("acme", mode, plain(PHONE) | {"content": {"title": "Hi"}}).id
    tell(channel("sms"), [event(message, receiver, PHONE, mode)])
    assert suppressed(PHONE) == ({PHONE: "unknown_handset"} if kept else {})


def test_explaining_and_a_dry_run_tell_of_a_suppression(sms: None) -> None:
    message = services.accept("acme", "live", plain(PHONE) | {"content": {"title": "Hi"}}).id
    suppressions.put("acme", suppressions.clean("acme", "sms", PHONE), "opted_out")
    story = next(
        one for one in explain("acme", "live", message, f"addr:{hashed(PHONE)}").channels if one.channel == "sms"
    )
    assert [(found.status, found.reason) for found in story.addresses] == [("retired", "opted_out")]
    body = plain(PHONE) | {"content": {"title": "Hi"}}
    assert dry_run("acme", "live", body).totals == {"sms": {"opted_out": 1}}
    assert dry_run("acme", "test", body).totals == {"sms": {"will_send": 1}}


def test_a_preview_of_a_replay_tells_of_a_suppression(sms: None) -> None:
    message = services.accept("acme", "live", plain(PHONE) | {"content": {"title": "Hi"}}).id
    failed = event(message, f"addr:{hashed(PHONE)}", PHONE, dead=True)
    feedback.write([replace(failed, receiver=f"addr:{hashed(PHONE)}")])
    suppressions.put("acme", suppressions.clean("acme", "sms", PHONE), "bounced")
    found = dead_letters.preview("acme", dead_letters.Chosen("live", (failed.delivery,)))
    assert found.outcomes == {"address_retired": 1}


def test_an_erased_address_stays_suppressed_by_its_hash_alone(acme: TenantUnderTest) -> None:
    suppressions.put("acme", suppressions.clean("acme", "sms", PHONE), "opted_out")
    erasure.erase("acme", f"addr:{hashed(PHONE)}")
    (row,) = suppressions.states("acme", [("sms", hashed(PHONE))]).values()
    assert (row.address, row.reason) == (None, "opted_out")


def test_the_api_puts_lists_reads_and_lifts(acme: TenantUnderTest, client: Client) -> None:
    url = f"/api/v1/suppressions/sms/{quote(PHONE, safe='')}"
    put = client.put(url, "{}", content_type="application/json", headers=acme.headers())
    assert (put.status_code, put.json()["reason"], put.json()["address"]) == (200, "opted_out", PHONE)
    again = client.put(url, '{"reason": "bounced"}', content_type="application/json", headers=acme.headers())
    assert again.json() == put.json() == client.get(url, headers=acme.headers()).json()
    hook = "/api/v1/suppressions/http/" + quote("https://hooks.example/a/b?c=d", safe="")
    assert client.put(hook, "{}", content_type="application/json", headers=acme.headers()).status_code == 200
    listed = client.get("/api/v1/suppressions?limit=1", headers=acme.headers()).json()
    assert [row["channel"] for row in listed["data"]] == ["http"]
    rest = client.get(f"/api/v1/suppressions?cursor={listed['next_cursor']}", headers=acme.headers()).json()
    assert [row["address"] for row in rest["data"]] == [PHONE]
    assert client.delete(url, headers=acme.headers()).status_code == 204
    assert client.delete(url, headers=acme.headers()).status_code == 204
    assert client.get(url, headers=acme.headers()).status_code == 404


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("sms/12", "{}", "invalid_address"),
        ("pigeon/x", "{}", "unknown_channel"),
        ("websocket/x", "{}", "invalid_address"),
        ("sms/%2B34600000001", '{"reason": "whim"}', "invalid"),
    ],
)
def test_what_is_no_suppression_is_refused(
    acme: TenantUnderTest, client: Client, path: str, body: str, code: str
) -> None:
    answer = client.put(f"/api/v1/suppressions/{path}", body, content_type="application/json", headers=acme.headers())
    assert (answer.status_code, answer.json()["code"]) == (400, code)


def _as(user: User | None) -> Client:
    assert user is not None
    client = Client()
    client.force_login(user)
    return client


def test_developers_suppress_and_lift_in_the_console(acme: TenantUnderTest) -> None:
    client = _as(acme.owner)
    form = {"channel": "sms", "address": PHONE, "reason": "bounced"}
    assert client.post("/t/acme/suppressions", form).status_code == 302
    page = client.get("/t/acme/suppressions").content.decode()
    assert "+34*****001" in page and PHONE not in page
    assert "bounced" in client.get(f"/t/acme/suppressions?address={quote(PHONE)}").content.decode()
    assert "Not suppressed" in client.get("/t/acme/suppressions?address=%2B34600000009").content.decode()
    assert client.post("/t/acme/suppressions", form | {"address": "12"}).context["form"].errors["address"]
    client.post("/t/acme/suppressions/lift", {"channel": "sms", "hash": hashed(PHONE)})
    assert suppressed(PHONE) == {}
    entries = AuditEntry.objects.order_by("id").values_list("action", "target")
    wanted = [("suppression.put", f"addr:{hashed(PHONE)}"), ("suppression.lifted", f"addr:{hashed(PHONE)}")]
    assert [entry for entry in entries if entry[0].startswith("suppression")] == wanted


def test_a_viewer_reads_the_list_and_a_stranger_does_not(acme: TenantUnderTest, globex: TenantUnderTest) -> None:
    form = {"channel": "sms", "address": PHONE, "reason": "bounced"}
    suppressions.put("acme", suppressions.clean("acme", "sms", PHONE), "bounced")
    bob, charlie = _as(acme.viewer), _as(globex.owner)
    page = bob.get("/t/acme/suppressions").content.decode()
    assert "+34*****001" in page and "Lift" not in page
    assert bob.post("/t/acme/suppressions", form).status_code == 403
    assert bob.post("/t/acme/suppressions/lift").status_code == 403
    paths = ["suppressions", "suppressions/lift"]
    assert charlie.get("/t/acme/suppressions").status_code == 404
    assert [charlie.post(f"/t/acme/{path}", form).status_code for path in paths] == [404, 404]
    assert "+34*****001" not in charlie.get("/t/globex/suppressions").content.decode()
