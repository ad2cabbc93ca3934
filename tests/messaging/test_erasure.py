"""Whoever is erased is nowhere, whatever arrives later; what was counted stays counted."""

import io
import json
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pika
import pytest
from django.conf import settings
from django.test import Client
from pymongo.database import Database

from feedback import selectors as feedback
from feedback import webhook_delivery, webhooks
from feedback.documents import WebhookBatch, collection
from feedback.events import AddressEvent, ConnectionEvent, DeliveryEvent, Status, delivery_id
from feedback.feeder import decode
from feedback.search import Wanted, deliveries
from feedback.services import write
from messaging import channels, erasure, errands, imports, payloads, sweeper
from messaging.documents import Erasure, Message
from messaging.services import accept
from sprayer_project import amqp, mongo, redis
from sprayer_project.ids import new_id
from subscriptions import importing
from subscriptions import selectors as subscribers
from subscriptions import services as subscriptions
from subscriptions.addresses import address_hash
from subscriptions.inputs import AddressInput
from tenants.selectors import audit_entries
from tenants.services import create_api_key, set_channel_config
from tests.conftest import TenantUnderTest
from tests.messaging.inboxes import message as to_inbox
from tests.messaging.inboxes import send
from tests.resilience.load import run

pytestmark = [pytest.mark.services, pytest.mark.django_db]

NAME, NUMBER = "zoe-the-erased", "+12025550177"
LATER = timedelta(minutes=1)


@pytest.fixture
def zoe(acme: TenantUnderTest) -> TenantUnderTest:
    for channel in ("sms", "websocket"):
        set_channel_config("acme", channel, {})
    subscriptions.put_receiver("acme", NAME, [AddressInput("sms", NUMBER)], {"city": "Sevilla-of-zoe"})
    subscriptions.put_receiver("acme", "bob", [AddressInput("sms", "+12025550178")])
    subscriptions.put_group("acme", "news")
    subscriptions.subscribe("acme", "news", NAME)
    return acme


def erase(tenant: TenantUnderTest, name: str = NAME, key: str = "") -> Any:
    path = f"/api/v1/receivers/{name}/erase"
    return Client().post(path, headers=tenant.headers(key or tenant.key))


def message(**body: Any) -> str:
    wanted = {"to": {"receivers": [NAME]}, "channels": ["sms"], "content": {"title": "Dear zoe-the-erased"}} | body
    return accept("acme", "live", wanted).id


def event(identifier: str, receiver: str = NAME, status: Status = Status.SENT, **fields: Any) -> DeliveryEvent:
    hashed = address_hash("acme", "sms", NUMBER)
    values: dict[str, Any] = {"address_hash": hashed, "address_masked": "+1*****177", "at": datetime.now(UTC)}
    return DeliveryEvent(
        tenant="acme",
        mode="live",
        message=identifier,
        delivery=delivery_id(identifier, receiver, "sms", hashed),
        receiver=receiver,
        channel="sms",
        status=status,
        **(values | fields),
    )


def said(*words: str) -> list[str]:
    """Where MongoDB or Redis still say one of the words; the note of the erasure, which goes by itself, left out."""
    database: Database[dict[str, Any]] = mongo.database()
    found = [
        name
        for name in database.list_collection_names()
        if name != "erasures" and any(word in str(list(database[name].find())) for word in words)
    ]
    client = redis.client("acme")
    # What lapses within the hour is the index's memory of a deletion.
    lasting = [str(key) for key in client.scan_iter() if not 0 < int(str(client.ttl(key))) <= 3600]
    return found + [key for key in lasting if any(word in f"{key} {_value(client, key)}" for word in words)]


def _value(client: Any, key: str) -> str:
    readers = {"string": client.get, "hash": client.hgetall, "set": client.smembers, "stream": client.xrange}
    kind = client.type(key)
    return str(client.zrange(key, 0, -1) if kind == "zset" else readers[kind](key))


def _queued() -> list[DeliveryEvent]:
    """The events that wait for the feeder."""
    with closing(pika.BlockingConnection(pika.URLParameters(settings.AMQP_URL.split(",")[0]))) as connection:
        _, _, body = connection.channel().basic_get(amqp.RECORD_QUEUE, auto_ack=True)
    return [] if body is None else decode(body)[0]


def test_name_and_addresses_are_nowhere_and_totals_stay(zoe: TenantUnderTest) -> None:
    alone = message(metadata={"customer": NAME})
    shared = message(
        to={"receivers": ["bob", NAME]}, metadata={"customer": NAME, "order": "17"}, content={"title": "Hi"}
    )
    plain = message(to={"addresses": [{"channel": "sms", "address": NUMBER}]})
    anonymous = f"addr:{address_hash('acme', 'sms', NUMBER)}"
    write(
        [
            event(alone, status=Status.DELIVERED),
            event(shared),
            event(shared, "bob", address_masked=""),
            event(plain, anonymous),
        ]
    )
    before = [feedback.totals("acme", one).channels for one in (alone, shared, plain)]
    answer = erase(zoe)
    assert answer.status_code == 200 and answer.json()["status"] == "erased"
    mark = answer.json()["receiver"]
    assert [feedback.totals("acme", one).channels for one in (alone, shared, plain)] == before
    rows = deliveries("acme", "live", Wanted(), list(channels.registry())).data
    assert sorted(row.receiver for row in rows) == sorted(["bob", mark, mark, mark])
    assert {row.address_masked for row in rows if row.receiver == mark} == {""}
    records = {record["_id"]: record for record in Message._get_collection().find()}
    assert records[alone]["content"] == {} == records[alone]["metadata"]
    assert records[shared]["content"] == {"title": "Hi"}
    assert records[shared]["metadata"] == {"customer": mark, "order": "17"}
    assert records[shared]["to"]["receivers"] == ["bob", mark]
    assert subscribers.unknown_receivers("acme", [NAME]) == [NAME]
    assert said(NAME, NUMBER, "Sevilla-of-zoe", "*****177") == []


def test_the_mark_finds_what_was_erased_and_the_name_nothing(zoe: TenantUnderTest) -> None:
    identifier = message()
    write([event(identifier)])
    mark = erase(zoe).json()["receiver"]

    def found(receiver: str) -> list[str]:
        path = "/api/v1/deliveries"
        rows = Client().get(path, {"receiver": receiver}, headers=zoe.headers()).json()["data"]
        return [row["message"] for row in rows]

    assert found(mark) == [identifier] and found(NAME) == []
    shown = Client().get(f"/api/v1/messages/{identifier}", headers=zoe.headers()).json()
    assert shown["to"]["receivers"] == [mark]
    told = Client().get(f"/api/v1/messages/{identifier}/explain", {"receiver": mark}, headers=zoe.headers())
    assert told.status_code == 200


def test_a_late_event_brings_nothing_back(zoe: TenantUnderTest) -> None:
    identifier = message()
    write([event(identifier)])
    mark = erase(zoe).json()["receiver"]
    write([event(identifier, status=Status.DELIVERED)])
    (row,) = deliveries("acme", "live", Wanted(), ["sms"]).data
    assert (row.receiver, row.address_masked, row.address_hash, row.status) == (mark, "", "", Status.DELIVERED)


def test_a_row_that_a_job_under_way_writes_is_found_by_a_later_look(zoe: TenantUnderTest) -> None:
    identifier = message()
    mark = erase(zoe).json()["receiver"]
    write([event(identifier, status=Status.SUPPRESSED, reason="no_receiver")])
    for seconds in (60, 3600, 86_400, 86_400):
        due = datetime.now(UTC) - timedelta(seconds=1)
        (note,) = Erasure._get_collection().find()
        assert note["look_at"] - note["at"] <= timedelta(seconds=seconds)
        Erasure._get_collection().update_one({}, {"$set": {"look_at": due}})
        assert erasure.go_on() == 1
        if seconds == 60:
            assert [row.receiver for row in deliveries("acme", "live", Wanted(), ["sms"]).data] == [mark]
            assert said(NAME, "*****177") == []
        if not Erasure._get_collection().count_documents({}):
            break
    assert Erasure._get_collection().count_documents({}) == 0
    assert erasure.go_on in sweeper.EVERY_MINUTE


def test_what_a_webhook_has_still_to_get_names_it_no_more(zoe: TenantUnderTest) -> None:
    hook, _ = webhooks.create("acme", "live", "https://hooks.example/x", ["delivery.*"], webhooks.Actor(user=zoe.owner))
    old, young = new_id("msg", datetime.now(UTC) - timedelta(minutes=1)), new_id("msg", datetime.now(UTC) + LATER)
    told = [
        event(old, metadata={"customer": NAME, "order": NAME + "!"}),
        event(old, f"addr:{address_hash('acme', 'sms', NUMBER)}"),
        event(old, "bob", status=Status.FAILED),
        event(young),
    ]
    webhook_delivery.keep([b"[%b]" % b",".join(one.encoded() for one in told)])
    mark = erase(zoe).json()["receiver"]
    (batch,) = collection(WebhookBatch).find({"webhook": hook.id})
    items = json.loads(batch["body"])["data"]
    assert [item["receiver"] for item in items] == [mark, mark, "bob", NAME]
    assert items[0]["metadata"] == {"customer": mark, "order": NAME + "!"}
    assert [item["status"] for item in items] == ["sent", "sent", "failed", "sent"]


def test_what_a_webhook_has_still_to_hear_of_a_receiver_names_it_no_more(zoe: TenantUnderTest) -> None:
    patterns = ["connection.*", "address.*"]
    webhooks.create("acme", "live", "https://hooks.example/x", patterns, webhooks.Actor(user=zoe.owner))
    told = list[ConnectionEvent | AddressEvent]()
    for at in (datetime.now(UTC) - LATER, datetime.now(UTC) + LATER):
        of_zoe: dict[str, Any] = {"tenant": "acme", "receiver": NAME, "at": at, "event": new_id("evt", at)}
        told.append(ConnectionEvent(**of_zoe, channel="websocket", connected=True))
        retired: dict[str, Any] = {"address_masked": "+1*****177", "reason": "bounced"}
        told.append(AddressEvent(**of_zoe, **retired, channel="sms", active=False))
    webhook_delivery.keep([b"[%b]" % b",".join(one.encoded() for one in told)])
    answer = erase(zoe)
    assert answer.status_code == 200
    found = [json.loads(batch["body"])["data"] for batch in collection(WebhookBatch).find({"tenant": "acme"})]
    assert sorted(len(items) for items in found) == [2, 2]
    for items in found:
        assert [item["receiver"] for item in items] == [answer.json()["receiver"], NAME]
        assert [item.get("address") for item in items] in ([None, None], ["", "+1*****177"])


def test_an_erasure_that_fails_holds_up_no_other(zoe: TenantUnderTest, globex: TenantUnderTest) -> None:
    for tenant in (zoe, globex):
        assert erase(tenant).status_code == 200
    due = datetime.now(UTC) - timedelta(seconds=1)
    Erasure._get_collection().update_many({}, {"$set": {"look_at": due, "looks": 0}})
    broken = {"_id": "whb_1", "tenant": "acme", "webhook": "wh_1", "body": f'{{"receiver":"{NAME}"', "events": 1}
    collection(WebhookBatch).insert_one(broken)
    assert erasure.go_on() == 1
    waiting = {note["tenant"]: note["looks"] for note in Erasure._get_collection().find()}
    assert waiting == {"acme": 0, "globex": 1}
    collection(WebhookBatch).delete_one({"_id": "whb_1"})
    assert erasure.go_on() == 1


def test_what_was_still_to_be_tried_is_cancelled(zoe: TenantUnderTest) -> None:
    identifier = message()
    later = datetime.now(UTC) + timedelta(hours=1)
    deferred = event(identifier, status=Status.DEFERRED, attempt=1, due_at=later)
    write([deferred])
    erase(zoe)
    written = [event for event in _queued() if event.delivery == deferred.delivery]
    write(written)
    row = feedback.states("acme", [deferred.delivery])[deferred.delivery]
    assert (row.status, row.reason) == (Status.CANCELLED, "erased")
    assert NAME not in str(written)


def test_it_may_be_repeated_and_a_new_receiver_of_that_name_keeps_its_data(zoe: TenantUnderTest) -> None:
    write([event(message())])
    marks = {erase(zoe).json()["receiver"] for _ in range(2)}
    assert len(marks) == 1
    subscriptions.put_receiver("acme", NAME, [AddressInput("sms", NUMBER)])
    Erasure._get_collection().update_one({}, {"$set": {"at": datetime.now(UTC) - timedelta(milliseconds=5)}})
    fresh = message()
    write([event(fresh)])
    Erasure._get_collection().update_one({}, {"$set": {"look_at": datetime.now(UTC) - timedelta(seconds=1)}})
    assert erasure.go_on() == 1
    (row,) = deliveries("acme", "live", Wanted(receiver=NAME), ["sms"]).data
    assert row.message == fresh
    assert subscribers.receiver("acme", NAME).addresses[0].address == NUMBER


FANS = f"receiver,group,sms\nann,fans,+34600000001\n{NAME},fans,{NUMBER}\n"


def uploaded(text: str = FANS) -> str:
    """A file that waits for the sweeper."""
    identifier = errands.new_errand_id()
    kept = imports.keep("acme", identifier, io.BytesIO(text.encode()), "csv")
    errands.begin("acme", "import", "ann@acme.example", {"rows": kept.rows, "chunks": kept.chunks}, identifier)
    return identifier


def refused(identifier: str) -> str:
    return b"".join(imports.report(errands.one("acme", identifier, ("import",)))).decode()


def fans() -> list[str]:
    return [row.receiver for row in subscribers.group_subscriptions("acme", "fans", None, None, 10).data]


def test_a_file_that_is_not_yet_written_does_not_bring_it_back(zoe: TenantUnderTest, globex: TenantUnderTest) -> None:
    identifier = uploaded()
    erase(globex)
    erase(zoe)
    assert said(NAME, NUMBER) == []
    assert errands.go_on() == 1
    assert fans() == ["ann"] and subscribers.unknown_receivers("acme", [NAME]) == [NAME]
    assert dict(errands.one("acme", identifier, ("import",)).progress) == {"chunk": 1, "done": 2, "bad": 0}


def test_a_report_of_refused_rows_names_it_no_more(zoe: TenantUnderTest) -> None:
    identifier = uploaded(f"{FANS}{NAME},fans,12\n")
    errands.go_on()
    assert fans() == ["ann"] and refused(identifier).count(NAME) == 2
    mark = erase(zoe).json()["receiver"]
    assert [line.split(",")[:2] for line in refused(identifier).splitlines()[1:]] == [["3", mark], ["4", mark]]
    assert said(NAME, NUMBER) == []


def test_what_a_sweeper_writes_meanwhile_is_taken_back(zoe: TenantUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rows, times = importing.put, iter([True])

    def erased_before(*rows: Any) -> Any:
        """The moment between reading a chunk and writing its rows."""
        if next(times, False):
            erase(zoe)
        return write_rows(*rows)

    monkeypatch.setattr(importing, "put", erased_before)
    identifier = uploaded()
    assert errands.go_on() == 2
    assert fans() == ["ann"] and said(NAME, NUMBER) == []
    row = errands.one("acme", identifier, ("import",))
    assert (row.status, dict(row.progress)) == ("done", {"chunk": 1, "done": 2, "bad": 0})


def test_only_an_admin_key_erases_and_only_its_own_tenants(zoe: TenantUnderTest, globex: TenantUnderTest) -> None:
    _, weak = create_api_key("acme", "live", ["subscriptions:write", "messages:send"])
    assert erase(zoe, key=weak).status_code == 403
    assert erase(globex).status_code == 200
    assert subscribers.receiver("acme", NAME).name == NAME
    erase(zoe)
    entry = audit_entries("acme").filter(action="receiver.erased").get()
    assert entry.target.startswith("erased:") and NAME not in str(vars(entry))


def test_an_inbox_is_emptied(zoe: TenantUnderTest) -> None:
    client = redis.client("acme")
    run(_into_inbox())
    assert [key for key in client.scan_iter() if "inbox" in str(key)]
    erase(zoe)
    assert [key for key in client.scan_iter() if "inbox" in str(key)] == []


async def _into_inbox() -> None:
    await send(to_inbox(title="Dear zoe"), NAME)
    await redis.aclose()


def test_a_payload_of_an_erased_address_sends_to_nobody(zoe: TenantUnderTest) -> None:
    identifier = message(to={"addresses": [{"channel": "sms", "address": NUMBER}]})
    erase(zoe, f"addr:{address_hash('acme', 'sms', NUMBER)}")
    record = Message._get_collection().find_one({"_id": identifier})
    assert record and payloads.of_record(record).addresses == {}
