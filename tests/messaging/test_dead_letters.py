"""Dead letters: grouped, judged before they are replayed, replayed and dropped; many in steps that may be repeated."""

import io
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from feedback import dead
from feedback import services as feedback
from feedback.events import DeliveryEvent, Status, delivery_id
from feedback.selectors import states
from messaging import dead_letters, errands, jobs
from messaging.dead_letters import Chosen
from messaging.documents import Errand
from sprayer_project import amqp, mongo
from sprayer_project.ids import new_id
from subscriptions import services as subscriptions
from subscriptions.addresses import address_hash
from subscriptions.inputs import AddressInput
from tenants.models import AuditEntry, User
from tests.conftest import TenantUnderTest

pytestmark = pytest.mark.services
PHONE = "+34600000017"
HASH = address_hash("acme", "sms", PHONE)


def letter(receiver: str = "ann", reason: str = "timeout", hashed: str = HASH, **more: Any) -> str:
    """A dead letter's id."""
    message, channel = more.pop("message", None) or new_id("msg"), more.pop("channel", "sms")
    event = DeliveryEvent(
        tenant=more.pop("tenant", "acme"),
        mode=more.pop("mode", "test"),
        message=message,
        delivery=delivery_id(message, receiver, channel, hashed),
        receiver=receiver,
        channel=channel,
        status=Status.FAILED,
        at=more.pop("at", None) or datetime.now(UTC),
        attempt=1,
        address_hash=hashed,
        address_masked="+34*****017",
        reason=reason,
        dead=True,
        expires_at=datetime.now(UTC) + more.pop("left", timedelta(hours=1)),
        **more,
    )
    feedback.write([event])
    return event.delivery


def standing(identifier: str) -> tuple[str, int]:
    row = states("acme", [identifier])[identifier]
    return row.status.value, row.round


def listed(mode: str = "test") -> dict[tuple[str, str], int]:
    return {(group.channel, group.reason): group.count for group in dead.groups("acme", mode).groups}


@pytest.fixture
def ann() -> None:
    subscriptions.put_receiver("acme", "ann", [AddressInput("sms", PHONE)])


def _as(user: User | None) -> Client:
    assert user is not None
    client = Client()
    client.force_login(user)
    return client


def test_dead_letters_are_counted_by_channel_and_reason_for_each_tenant_and_mode() -> None:
    for reason in ("timeout", "timeout", "quota"):
        letter(reason=reason)
    letter(channel="http", hashed="h")
    letter(mode="live")
    letter(tenant="globex")
    assert listed() == {("sms", "timeout"): 2, ("sms", "quota"): 1, ("http", "timeout"): 1}
    assert listed("live") == {("sms", "timeout"): 1}


def test_what_is_counted_is_bounded() -> None:
    for _ in range(4):
        letter()
    three, four = (dead.groups("acme", "test", most=most, patience=60) for most in (3, 4))
    assert (three.counted, three.more, four.counted, four.more) == (3, True, 4, False)


def test_counting_goes_back_as_far_as_there_is_time_for() -> None:
    now = datetime.now(UTC)
    ages = (timedelta(), timedelta(hours=5), timedelta(days=40), timedelta(days=400))
    for age in ages:
        letter(message=new_id("msg", now - age), at=now - age)
    everything, hurried = dead.groups("acme", "test", patience=60), dead.groups("acme", "test", patience=0)
    (group,) = everything.groups
    assert (group.count, everything.counted, everything.more) == (4, 4, False)
    assert abs(group.newest - now) < timedelta(seconds=1)
    assert (hurried.counted, hurried.more) == (1, True)


def test_a_preview_says_what_each_would_come_to(acme: TenantUnderTest, ann: None) -> None:
    subscriptions.add_address("acme", "ann", AddressInput("sms", "+34600000018"))
    retired = address_hash("acme", "sms", "+34600000018")
    subscriptions.retire_address("acme", "sms", retired, "unknown_handset", datetime.now(UTC))
    subscriptions.add_address("acme", "ann", AddressInput("sms", "+34600000019"))
    opted_out = address_hash("acme", "sms", "+34600000019")
    subscriptions.retire_address("acme", "sms", opted_out, "opted_out", datetime.now(UTC))
    letter()
    letter(f"addr:{HASH}")
    letter(left=timedelta(seconds=-1))
    letter("nobody")
    letter(hashed="another address")
    letter(hashed=retired)
    letter(hashed=opted_out)
    found = dead_letters.preview("acme", Chosen("test", channel="sms", reason="timeout"))
    assert found.outcomes == {
        "will_send": 2,
        "expired": 1,
        "no_receiver": 1,
        "no_address": 1,
        "address_retired": 1,
        "opted_out": 1,
    }
    assert (found.count, found.more, found.channels) == (7, False, {"sms": 7})


def test_a_live_preview_says_that_the_channel_has_no_credentials(acme: TenantUnderTest, ann: None) -> None:
    identifier = letter(mode="live")
    assert dead_letters.preview("acme", Chosen("live", (identifier,))).outcomes == {"channel_off": 1}


def test_some_are_replayed_and_what_cannot_be_is_counted(ann: None) -> None:
    good, late = letter(), letter(left=timedelta(seconds=-1))
    assert dead_letters.replay("acme", "test", [good, late]) == {"will_send": 1, "expired": 1}
    assert standing(good) == ("queued", 2) and standing(late) == ("failed", 1)
    assert listed() == {("sms", "timeout"): 1}
    assert amqp.depth(amqp.job_queue("sms", "single")) == 1


def _errand(kind: str, **chosen: Any) -> str:
    newest = dead.newest("acme", "test")
    arguments = asdict(Chosen("test", channel="sms", reason="timeout", newest=newest, **chosen)) | {"ids": []}
    return errands.begin("acme", kind, "alice@acme.example", arguments).id


def test_all_of_a_reason_are_replayed_in_steps_and_later_ones_are_left(
    acme: TenantUnderTest, ann: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "STEP", 2)
    meant = [letter() for _ in range(5)]
    other = letter(reason="quota")
    errand = _errand("replay")
    later = letter()
    assert errands.go_on() == 3
    row = errands.one("acme", errand, ("replay", "drop"))
    assert (row.status, row.progress["done"], row.progress["outcomes"]) == ("done", 5, {"will_send": 5})
    assert {standing(identifier) for identifier in meant} == {("queued", 2)}
    assert standing(other) == standing(later) == ("failed", 1)
    assert errands.go_on() == 0


def test_an_errand_whose_sweeper_was_killed_goes_on_from_the_last_finished_step(
    acme: TenantUnderTest, ann: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "STEP", 2)
    meant = [letter() for _ in range(4)]
    errand = _errand("replay")
    killed = errands._taken()  # leased, its step done, and never written down
    assert killed is not None
    dead_letters.replay_step(errands._row(killed))
    assert errands.go_on() == 0, "another sweeper leaves it alone while the lease holds"
    mongo.database()["errands"].update_one({"_id": errand}, {"$set": {"look_at": datetime.now(UTC)}})
    errands.go_on()
    assert {standing(identifier) for identifier in meant} == {("queued", 2)}, "none was replayed twice"
    assert errands.one("acme", errand, ("replay", "drop")).status == "done"


def test_an_errand_that_fails_again_and_again_ends(
    acme: TenantUnderTest, ann: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    letter()
    errand = errands.begin("acme", "replay", "alice@acme.example", {"mode": "test", "nonsense": 1}).id
    for _ in range(5):
        errands.go_on()
        mongo.database()["errands"].update_many({"status": "running"}, {"$set": {"look_at": datetime.now(UTC)}})
    assert errands.one("acme", errand, ("replay", "drop")).status == "failed"
    assert errands.go_on() == 0


def test_all_of_a_reason_are_dropped_and_stay_failed(acme: TenantUnderTest) -> None:
    meant, other = letter(), letter(reason="quota")
    _errand("drop")
    errands.go_on()
    assert listed() == {("sms", "quota"): 1}
    assert standing(meant) == standing(other) == ("failed", 1)


def test_a_job_of_a_replay_names_the_address(ann: None) -> None:
    identifier = letter()
    dead_letters.replay("acme", "test", [identifier])
    row = states("acme", [identifier])[identifier]
    assert (row.receiver, row.address_hash, row.round) == ("ann", HASH, 2)
    assert jobs.Target(row.receiver, row.address_hash) == jobs.Target("ann", HASH)


def test_the_command_takes_a_channel_and_a_reason(acme: TenantUnderTest, ann: None) -> None:
    meant, other = letter(), letter(reason="quota")
    arguments = ["acme", "--all", "--test", "--reason", "timeout"]
    call_command("dead_letters", "replay", *arguments, stdout=io.StringIO())
    assert standing(meant) == ("queued", 2) and standing(other) == ("failed", 1)
    call_command("dead_letters", "drop", "acme", other, "--test", stdout=io.StringIO())
    assert listed() == {}
    entries = AuditEntry.objects.filter(by=None).order_by("id").values_list("action", flat=True)
    assert [one for one in entries if one.startswith("dead")] == ["dead_letters.replayed", "dead_letters.dropped"]
    with pytest.raises(CommandError, match="1 of 1"):
        call_command("dead_letters", "drop", "acme", other, "--test", stderr=io.StringIO())


PAGES = ["dead-letters?mode=test", "dead-letters/group?mode=test&channel=sms&reason=timeout"]
PREVIEW = "dead-letters/preview?mode=test&channel=sms&reason=timeout&action=replay"
ALL = {"mode": "test", "channel": "sms", "reason": "timeout"}


def test_a_viewer_looks_and_a_stranger_finds_nothing(acme: TenantUnderTest, globex: TenantUnderTest, ann: None) -> None:
    identifier = letter()
    errand = _errand("replay")
    pages, acts = [*PAGES, f"dead-letters/errands/{errand}"], ["act", f"errands/{errand}/stop"]
    bob, charlie = _as(acme.viewer), _as(globex.owner)
    assert [bob.get(f"/t/acme/{page}").status_code for page in [*pages, PREVIEW]] == [200, 200, 200, 403]
    assert [bob.post(f"/t/acme/dead-letters/{act}").status_code for act in acts] == [403, 403]
    assert {charlie.get(f"/t/acme/{page}").status_code for page in [*pages, PREVIEW]} == {404}
    assert [charlie.post(f"/t/acme/dead-letters/{act}").status_code for act in acts] == [404, 404]
    assert charlie.get(f"/t/globex/dead-letters/errands/{errand}").status_code == 404
    charlie.post("/t/globex/dead-letters/act", {"action": "drop", "mode": "test", "id": identifier})
    assert listed() == {("sms", "timeout"): 1}
    assert "Replay" not in bob.get(f"/t/acme/{PAGES[1]}").content.decode()


def test_the_pages_lead_from_a_group_over_a_preview_to_the_errand(acme: TenantUnderTest, ann: None) -> None:
    letter()
    client = _as(acme.owner)
    assert "sms" in client.get(f"/t/acme/{PAGES[0]}").content.decode()
    page = client.get(f"/t/acme/{PREVIEW}").content.decode()
    assert "Replay 1 dead letter?" in page and "are tried again" in page
    answer = client.post("/t/acme/dead-letters/act", ALL | {"action": "replay", "newest": dead.newest("acme", "test")})
    assert "hx-get" in client.get(answer["Location"]).content.decode()
    errands.go_on()
    page = client.get(answer["Location"], headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in page and "hx-get" not in page and "are tried again" in page
    assert listed() == {}
    entry = AuditEntry.objects.get(action="dead_letters.replayed")
    assert (entry.by, entry.detail["reason"]) == (acme.owner, "timeout")
    assert "No dead letter" in client.get(f"/t/acme/{PAGES[0]}").content.decode()


def test_the_chosen_are_done_at_once(acme: TenantUnderTest, ann: None) -> None:
    first, second, third = letter(), letter(), letter()
    client = _as(acme.owner)
    assert first in client.get(f"/t/acme/{PAGES[1]}").content.decode()
    page = client.get(f"/t/acme/dead-letters/preview?mode=test&id={first}&action=drop").content.decode()
    assert "Drop 1 dead letter?" in page
    client.post("/t/acme/dead-letters/act", {"mode": "test", "action": "drop", "id": first})
    client.post("/t/acme/dead-letters/act", {"mode": "test", "action": "replay", "id": [second]})
    assert [standing(one) for one in (first, second, third)] == [("failed", 1), ("queued", 2), ("failed", 1)]
    assert listed() == {("sms", "timeout"): 1}
    assert AuditEntry.objects.filter(action__startswith="dead_letters.").count() == 2


def test_an_errand_is_stopped(acme: TenantUnderTest, ann: None) -> None:
    letter()
    errand = _errand("replay")
    _as(acme.owner).post(f"/t/acme/dead-letters/errands/{errand}/stop")
    assert errands.go_on() == 0 and errands.one("acme", errand, ("replay", "drop")).status == "stopped"
    assert Errand._get_collection().find_one({"_id": errand})["forget_at"]


def test_who_has_chosen_nothing_is_told_so(acme: TenantUnderTest) -> None:
    client = _as(acme.owner)
    answer = client.get("/t/acme/dead-letters/preview?action=replay", follow=True)
    assert "Choose at least one dead letter." in answer.content.decode()
    assert client.get("/t/acme/dead-letters/group")["Location"] == "/t/acme/dead-letters"
    assert client.post("/t/acme/dead-letters/act", {"action": "replay"}).status_code == 400
    assert client.get("/t/acme/dead-letters/preview?id=x&action=burn").status_code == 400
