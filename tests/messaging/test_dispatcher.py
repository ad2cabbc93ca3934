"""What a dispatcher makes of a job: sent once, tried again, given up, not sent at all."""

import asyncio
import io
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

from feedback.events import DeliveryEvent, Status, delivery_id
from messaging import claims
from messaging.channels.base import Outcome, Outgoing, Recipient
from messaging.channels.http import Http
from messaging.jobs import Deliver, Target
from sprayer_project import amqp, redis
from subscriptions import services as subscriptions
from subscriptions.addresses import address_hash
from tenants.selectors import audit_entries
from tenants.services import set_channel_config
from tests.conftest import TenantUnderTest
from tests.live import wait_for
from tests.messaging.dispatching import OneTryHttp, dispatching, ended, handle, item, send
from tests.resilience import sink

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("acme", "sandbox")]


class BrokenHttp(Http):
    """An adapter with a bug."""

    async def send(
        self, config: Mapping[str, Any], message: Outgoing, recipients: Sequence[Recipient]
    ) -> AsyncIterator[Outcome]:
        if message.content["title"] == "Trouble":
            raise LookupError("a bug")
        async for outcome in super().send(config, message, recipients):
            yield outcome


class ForgetfulHttp(OneTryHttp):
    """Has no outcome for anybody."""

    async def send(
        self, config: Mapping[str, Any], message: Outgoing, recipients: Sequence[Recipient]
    ) -> AsyncIterator[Outcome]:
        for outcome in list[Outcome]():
            yield outcome


class OneHangs(OneTryHttp):
    """Keeps r0 waiting until it is released."""

    def __init__(self) -> None:
        self.release = threading.Event()

    async def send(
        self, config: Mapping[str, Any], message: Outgoing, recipients: Sequence[Recipient]
    ) -> AsyncIterator[Outcome]:
        if recipients[0].receiver == "r0":
            await asyncio.to_thread(self.release.wait, 60)
        async for outcome in super().send(config, message, recipients):
            yield outcome


def job(message: str, receiver: str = "r0", **fields: Any) -> Deliver:
    values = {"tenant": "acme", "mode": "live", "channel": "http", "targets": (Target(receiver),)} | fields
    return Deliver(message=message, **values)


def delivery_of(message: str, path: str, receiver: str = "r0") -> str:
    hashed = address_hash("acme", "http", sink.address(f"{path}?receiver={receiver}"))
    return delivery_id(message, receiver, "http", hashed)


def test_what_fails_for_the_moment_is_tried_again() -> None:
    message = send(to=sink.prepare("acme", "flaky/1/x"))
    with dispatching():
        (row,) = ended(message, Status.DELIVERED)
    assert row.attempts == 2
    assert set(row.times) == {"deferred", "delivered"}
    assert sink.arrived("acme") == [message, message]


def test_what_never_succeeds_fails_when_its_retries_are_used_up() -> None:
    message = send(to=sink.prepare("acme", "status/503"))
    with dispatching():
        (row,) = ended(message, Status.FAILED)
    assert (row.attempts, row.reason, row.dead) == (3, "endpoint_unavailable", True)


def test_a_permanent_failure_is_a_dead_letter_that_is_listed() -> None:
    message = send(to=sink.prepare("acme", "status/404"))
    with dispatching():
        (row,) = ended(message, Status.FAILED)
    listed = io.StringIO()
    call_command("dead_letters", "list", "acme", stdout=listed)
    assert row.id in listed.getvalue() and "endpoint_refused" in listed.getvalue()
    assert row.attempts == 1


def test_retrying_a_failed_delivery_opens_a_round_that_can_succeed(client: Client, acme: TenantUnderTest) -> None:
    message = send(to=sink.prepare("acme", "flaky/1/x"))
    with dispatching(OneTryHttp()):
        (failed,) = ended(message, Status.FAILED)
        answer = client.post(f"/api/v1/deliveries/{failed.id}/retry", headers=acme.headers())
        assert (answer.status_code, answer.json()["round"]) == (202, 2)
        (row,) = ended(message, Status.DELIVERED)
    assert (row.round, row.attempts, row.dead) == (2, 2, False)
    again = client.post(f"/api/v1/deliveries/{row.id}/retry", headers=acme.headers())
    assert (again.status_code, again.json()["code"]) == (409, "delivery_delivered")


def test_replaying_dead_letters_tries_them_again() -> None:
    message = send(to=sink.prepare("acme", "flaky/1/x"))
    with dispatching(OneTryHttp()):
        ended(message, Status.FAILED)
        assert sink.arrived("acme") == [message]
        call_command("dead_letters", "replay", "acme", "--all", stdout=io.StringIO())
        (row,) = ended(message, Status.DELIVERED)
    assert (row.round, sink.arrived("acme")) == (2, [message, message])
    listed = io.StringIO()
    call_command("dead_letters", "list", "acme", stdout=listed)
    assert listed.getvalue() == ""
    entry = audit_entries("acme")[0]
    assert (entry.action, entry.detail) == ("dead_letters.replayed", {"mode": "live", "count": 1})


def test_a_job_that_comes_twice_is_sent_once() -> None:
    message = send(to=sink.prepare("acme", "orders"))
    handle(job(message))
    handle(job(message))
    handle(job(message), job(message))
    assert sink.arrived("acme") == [message]


def test_a_job_that_comes_twice_at_once_is_sent_once() -> None:
    message = send(to=sink.prepare("acme", "orders"))
    handle(job(message), job(message), job(message))
    assert sink.arrived("acme") == [message]


def test_a_call_that_hangs_holds_up_nobody_who_came_in_the_same_batch() -> None:
    names = sink.prepare("acme", "orders", receivers=101)
    message, channel = send(to=names), OneHangs()
    carried = [item(*(job(message, name) for name in names[start : start + 50])) for start in range(0, 101, 50)]
    with ThreadPoolExecutor(1) as executor:
        done = executor.submit(handle, *carried, channel=channel)
        wait_for(lambda: len(sink.arrived("acme")) == 100, 15, "everybody but the one who hangs")
        assert not done.done()
        channel.release.set()
        done.result(30)
    assert sink.arrived("acme") == [message] * 101


def test_an_outcome_that_was_marked_and_not_reported_is_reported_by_whoever_gets_the_job_again() -> None:
    message = send(to=sink.prepare("acme", "orders"))
    delivery = delivery_of(message, "orders")
    event = DeliveryEvent(
        tenant="acme",
        mode="live",
        message=message,
        delivery=delivery,
        receiver="r0",
        channel="http",
        status=Status.DELIVERED,
        at=datetime.now(UTC),
        attempt=1,
    )
    mark(delivery, claims.done_mark(event.encoded()))
    with dispatching():
        ended(message, Status.DELIVERED)
    assert sink.arrived("acme") == []


def test_the_job_of_an_earlier_attempt_is_a_stale_copy() -> None:
    message = send(to=sink.prepare("acme", "orders"))
    mark(delivery_of(message, "orders"), claims.next_mark(2))
    handle(job(message, attempt=1))
    assert sink.arrived("acme") == []
    handle(job(message, attempt=2))
    assert sink.arrived("acme") == [message]


def test_a_delivery_that_a_killed_dispatcher_had_claimed_is_sent_when_the_lease_is_over() -> None:
    message = send(to=sink.prepare("acme", "orders"))
    free = time.time() + 2
    mark(delivery_of(message, "orders"), "h:another process", seconds=2)
    with dispatching():
        (row,) = ended(message, Status.DELIVERED)
    assert row.at.timestamp() >= free
    assert sink.arrived("acme") == [message]


def test_claims_that_redis_lost_are_made_up_for_by_the_record() -> None:
    message = send(to=sink.prepare("acme", "orders"))
    with dispatching():
        ended(message, Status.DELIVERED)
    redis.client("acme").flushall()
    handle(job(message))
    assert sink.arrived("acme") == [message]


def test_an_expired_message_is_not_sent() -> None:
    message = send(to=sink.prepare("acme", "orders"), ttl=1)
    due = time.monotonic() + 1
    wait_for(lambda: time.monotonic() > due, 2, "the expiry")
    with dispatching():
        ended(message, Status.EXPIRED)
    assert sink.arrived("acme") == []


def test_a_receiver_without_an_address_is_suppressed() -> None:
    sink.prepare("acme", "orders")
    subscriptions.put_receiver("acme", "nobody")
    message = send(to=["nobody"])
    with dispatching():
        (row,) = ended(message, Status.SUPPRESSED)
    assert (row.reason, row.receiver) == ("no_address", "nobody")


def test_a_receiver_that_was_deleted_after_the_message_was_accepted_is_suppressed() -> None:
    message = send(to=sink.prepare("acme", "orders"))
    subscriptions.delete_receiver("acme", "r0")
    with dispatching():
        (row,) = ended(message, Status.SUPPRESSED)
    assert row.reason == "no_receiver"


def test_an_endpoint_that_is_gone_is_retired() -> None:
    (receiver,) = sink.prepare("acme", "status/410")
    first = send(to=[receiver])
    with dispatching():
        (row,) = ended(first, Status.FAILED)
        assert row.reason == "gone"
        (row,) = ended(send(to=[receiver]), Status.SUPPRESSED)
    assert row.reason == "retired"
    assert sink.arrived("acme") == [first]


def test_an_adapter_with_a_bug_gives_recorded_deferrals_and_does_not_stop_the_queue() -> None:
    names = sink.prepare("acme", "orders", receivers=3)
    before = send(to=names)
    troubled = send(to=names, content={"title": "Trouble"})
    after = send(to=names)
    with dispatching(BrokenHttp()):
        ended(before, Status.DELIVERED, 3)
        ended(after, Status.DELIVERED, 3)
        rows = ended(troubled, Status.DEFERRED, 3)
    assert {row.reason for row in rows} == {"internal_error"}


def test_an_adapter_that_forgets_recipients_gives_recorded_failures() -> None:
    message = send(to=sink.prepare("acme", "orders", receivers=2))
    with dispatching(ForgetfulHttp()):
        rows = ended(message, Status.FAILED, 2)
    assert {row.reason for row in rows} == {"no_outcome"}


def test_a_job_that_comes_before_its_time_waits() -> None:
    message = send(to=sink.prepare("acme", "orders"))
    handle(job(message, due=time.time() + 30))
    assert sink.arrived("acme") == []
    assert amqp.depth("retry.15") == 1


def test_a_channel_that_was_switched_off_gives_a_dead_letter() -> None:
    message = send(to=sink.prepare("acme", "orders"))
    set_channel_config("acme", "http", {}, enabled=False)
    with dispatching():
        (row,) = ended(message, Status.FAILED)
    assert (row.reason, row.dead) == ("channel_off", True)


def mark(delivery: str, value: str, seconds: int = 60) -> None:
    redis.client("acme").set(redis.key("acme", "claim", delivery, "1"), value, ex=seconds)
