"""Feedback webhooks from the event to the tenant's endpoint, with the servers that are between them."""

import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
import pytest_asyncio
from django.core import mail
from prometheus_client import REGISTRY
from pytest_django import Settings
from standardwebhooks import WebhookVerificationError

from feedback import services, webhook_delivery, webhook_events, webhook_lanes, webhook_notices, webhooks
from feedback.documents import WebhookBatch, WebhookLane, collection
from feedback.events import ConnectionEvent, Status
from feedback.models import Webhook
from feedback.webhooks import Actor
from sprayer_project import amqp, outbound, worker
from sprayer_project.ids import new_id
from subscriptions.inputs import AddressInput
from subscriptions.services import put_receiver, retire_address
from tenants import selectors
from tests.conftest import TenantUnderTest
from tests.feedback.hooks import Endpoint, delivering, endpoint, happen, hook, until
from tests.feedback.stories import START, event, nameless

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("acme", "quick")]


@pytest.fixture
def quick(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches close at once, retries come soon."""
    webhooks.forget()
    settings.FEEDBACK_WEBHOOK_LINGER = 0.05
    monkeypatch.setattr(webhook_lanes, "DELAYS", (0.2,))


@pytest_asyncio.fixture
async def tenant() -> AsyncIterator[Endpoint]:
    """The tenant's endpoint; the queue of events exists before the first event."""
    await worker.in_thread(amqp.depth, amqp.WEBHOOK_QUEUE)
    async with endpoint() as opened:
        yield opened


def read(row: Webhook) -> Webhook:
    return Webhook.objects.get(pk=row.pk)


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("sprayer_webhook_events_total", {"outcome": outcome}) or 0.0


def log_of(row: Webhook) -> list[dict[str, Any]]:
    """Oldest first."""
    lane = webhook_lanes.states("acme", [row.id], log=True)[row.id]
    return [dict(entry) for entry in reversed(lane.log)]


async def test_an_event_arrives_signed_in_the_form_of_the_contract(tenant: Endpoint) -> None:
    row, secret = await hook(tenant.url)
    before = counted("delivered")
    found = event(status=Status.FAILED, reason="gone", attempt=1, metadata={"order": "17"})
    async with delivering():
        await happen(found)
        await until(lambda: tenant.got, "the request")
    (got,) = tenant.got
    body = got.verify(secret)
    assert body["type"] == "delivery.batch" and re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]{12}Z", body["timestamp"])
    assert body["data"] == [
        {
            "event_id": found.event,
            "type": "delivery.failed",
            "message": found.message,
            "delivery": found.delivery,
            "receiver": "alice",
            "channel": "sms",
            "status": "failed",
            "at": "2026-11-01T12:00:00.000Z",
            "reason": "gone",
            "metadata": {"order": "17"},
        }
    ]
    assert got.headers["sprayer-tenant"] == "acme"
    await until(lambda: log_of(row), "the log")
    (entry,) = log_of(row)
    assert (entry["id"], entry["attempt"], entry["events"], entry["status"]) == (got.id, 1, 1, 204)
    assert collection(WebhookBatch).count_documents({}) == 0
    assert counted("delivered") == before + 1
    with pytest.raises(WebhookVerificationError):
        replace(got, body=got.body.replace(b"failed", b"sent")).verify(secret)


async def test_during_a_rotation_both_secrets_verify_and_afterwards_the_new_one_alone(tenant: Endpoint) -> None:
    row, old = await hook(tenant.url)
    _, new = await worker.in_thread(webhooks.rotate, row, timedelta(hours=1), Actor())
    async with delivering():
        await happen(event())
        await until(lambda: tenant.got, "the request")
        for secret in (old, new):
            assert tenant.got[0].verify(secret)
        _, newest = await worker.in_thread(webhooks.rotate, row, timedelta(0), Actor())
        await happen(event("bob"))
        await until(lambda: len(tenant.got) == 2, "the second request")
    assert tenant.got[1].verify(newest)
    for secret in (old, new):
        with pytest.raises(WebhookVerificationError):
            tenant.got[1].verify(secret)


async def test_a_webhook_gets_what_its_patterns_mode_and_tenant_allow(
    tenant: Endpoint, globex: TenantUnderTest
) -> None:
    async with endpoint() as others, endpoint() as tests:
        await hook(tenant.url, events=["delivery.failed", "delivery.opened"])
        await hook(others.url, "globex")
        await hook(tests.url, mode="test")
        events = [
            event("a", Status.FAILED),
            event("b", Status.SENT),
            event("c", Status.DELIVERED, fact="opened"),
            event("d", Status.FAILED, mode="test"),
            event("e", Status.FAILED, tenant="globex"),
        ]
        async with delivering():
            await happen(*events)
            await until(lambda: len(tenant.events) == 2 and others.got and tests.got, "the requests")
        assert [found["receiver"] for found in tenant.events] == ["a", "c"]
        assert [found["type"] for found in tenant.events] == ["delivery.failed", "delivery.opened"]
        assert [found["receiver"] for found in others.events] == ["e"]
        assert [found["receiver"] for found in tests.events] == ["d"]


async def test_what_fails_is_repeated_after_the_time_asked_for_with_the_same_id_and_then_never_again(
    tenant: Endpoint,
) -> None:
    row, secret = await hook(tenant.url)
    tenant.answers = [(503, {"Retry-After": "1"})]
    async with delivering():
        await happen(event())
        await until(lambda: len(log_of(row)) == 2, "the second attempt")
        await happen(event("bob"))
        await until(lambda: len(log_of(row)) == 3, "the next batch")
    first, second, third = tenant.got
    assert first.id == second.id != third.id and first.body == second.body
    assert second.verify(secret)
    failed, repeated, _ = log_of(row)
    assert (failed["status"], failed["attempt"], repeated["status"], repeated["attempt"]) == (503, 1, 204, 2)
    assert repeated["at"] >= failed["next_at"] >= failed["at"] + timedelta(seconds=1)
    assert failed["next_at"].tzinfo is not None


async def test_a_restart_with_a_pending_retry_loses_nothing(tenant: Endpoint) -> None:
    row, _ = await hook(tenant.url)
    tenant.answers = [(500, {"Retry-After": "1"})]
    async with delivering():
        await happen(event())
        await until(lambda: log_of(row), "the first attempt")
    assert len(tenant.got) == 1
    async with delivering():
        await until(lambda: len(tenant.got) == 2, "the repeat")
    assert tenant.got[0].id == tenant.got[1].id


async def test_what_a_killed_daemon_held_is_taken_over_when_its_hold_ends(tenant: Endpoint) -> None:
    row, _ = await hook(tenant.url)
    await worker.in_thread(webhook_delivery.keep, [f"[{event().to_json()}]".encode()])
    (held,) = await worker.in_thread(webhook_lanes.claim, 10)
    assert await worker.in_thread(webhook_lanes.claim, 10) == []
    over = {"$set": {"held_until": datetime.now(UTC)}}
    await worker.in_thread(collection(WebhookLane).update_one, {"_id": row.id}, over)
    async with delivering():
        await until(lambda: tenant.got, "the request")
    attempt = await webhook_delivery.post(await target(row), _batch(row), 5)
    assert await worker.in_thread(webhook_lanes.record, held, [attempt]) is None
    await outbound.aclose()


async def test_many_events_travel_in_bodies_of_bounded_size(tenant: Endpoint) -> None:
    await hook(tenant.url)
    message = new_id("msg")
    events = [event(f"r{number}", message=message, reason="x" * (number % 200)) for number in range(600)]
    async with delivering():
        await happen(*events)
        await until(lambda: len(tenant.events) == 600, "the events")
    assert {found["event_id"] for found in tenant.events} == {found.event for found in events}
    assert 6 <= len(tenant.got) <= 20
    assert all(len(got.body) <= webhook_events.MOST_BYTES and len(got.events) <= 100 for got in tenant.got)


async def test_410_turns_a_webhook_off_at_once_and_its_people_are_told(tenant: Endpoint, acme: TenantUnderTest) -> None:
    row, _ = await hook(tenant.url)
    tenant.always = 410
    async with delivering():
        await happen(event())
        await until(lambda: not read(row).enabled, "the end")
        await happen(event("bob"))
        await until(lambda: amqp.depth(amqp.WEBHOOK_QUEUE) == 0, "the empty queue")
    assert len(tenant.got) == 1 and collection(WebhookBatch).count_documents({}) == 0
    assert ((await fresh(row)).disabled_reason, log_of(row)[-1]["status"]) == ("gone", 410)
    await webhook_notices.send_due()
    await webhook_notices.send_due()
    (sent,) = mail.outbox
    assert sent.to == ["alice@acme.example"] and f"/t/acme/webhooks/{row.id}" in sent.body
    assert "answered 410" in sent.body
    audit = selectors.audit_entries("acme").filter(action="webhook.disabled", target=row.id)
    assert await worker.in_thread(audit.exists)


async def test_an_endpoint_that_fails_for_days_is_turned_off(tenant: Endpoint, settings: Settings) -> None:
    row, _ = await hook(tenant.url)
    settings.FEEDBACK_WEBHOOK_PATIENCE = 1
    tenant.always = 404
    async with delivering():
        await happen(event())
        await until(lambda: not read(row).enabled, "the end")
    off = await fresh(row)
    assert off.disabled_reason == "failing" and off.notice_at is not None
    assert await worker.in_thread(webhook_lanes.waiting, row.id) == 0
    assert len(tenant.got) >= 2
    assert (await state(row)).dropped == 1
    await worker.in_thread(webhooks.change, off, Actor(), {"enabled": True})
    assert (await state(row)).failing_since is None


async def test_after_failures_in_a_row_an_endpoint_is_probed_and_then_gets_everything(tenant: Endpoint) -> None:
    row, _ = await hook(tenant.url)
    tenant.always = 503
    async with delivering():
        await happen(event())
        await until(lambda: len(log_of(row)) >= webhook_lanes.FAILURES, "the failures")
        await happen(*(event(f"r{number}") for number in range(250)))
        await until(lambda: webhook_lanes.waiting(row.id) >= 4, "the batches")
        assert len({got.id for got in tenant.got}) <= 2
        tenant.always = 204
        await until(lambda: webhook_lanes.waiting(row.id) == 0, "the rest")
    assert {found["receiver"] for found in tenant.events} == {"alice", *(f"r{number}" for number in range(250))}
    assert (await state(row)).failing_since is None


async def test_a_private_address_is_never_asked(tenant: Endpoint, settings: Settings) -> None:
    row, _ = await hook(tenant.url)
    allowed, settings.WEBHOOK_ALLOW_PRIVATE = settings.WEBHOOK_ALLOW_PRIVATE, []
    async with delivering():
        await happen(event())
        await until(lambda: log_of(row), "the attempt")
    settings.WEBHOOK_ALLOW_PRIVATE = allowed
    assert tenant.got == []
    assert log_of(row)[0]["error"] == "blocked_address" and "status" not in log_of(row)[0]


async def test_a_redirect_is_a_failure_and_not_followed(tenant: Endpoint) -> None:
    row, _ = await hook(tenant.url)
    async with endpoint() as elsewhere:
        tenant.answers = [(307, {"Location": elsewhere.url})]
        async with delivering():
            await happen(event())
            await until(lambda: len(log_of(row)) == 2, "the second attempt")
        assert elsewhere.got == []
    assert [entry["status"] for entry in log_of(row)] == [307, 204]


async def test_an_endpoint_that_does_not_answer_delays_nobody_else(tenant: Endpoint, globex: TenantUnderTest) -> None:
    async with endpoint() as slow:
        slow.gate.clear()
        await hook(slow.url, "globex")
        await hook(tenant.url)
        async with delivering():
            await happen(*(event(f"r{number}", tenant="globex") for number in range(900)))
            await until(lambda: len(slow.got) == webhook_delivery.PARALLEL, "what the slow one holds")
            for receiver in ("alice", "bob"):
                await happen(event(receiver))
                await until(partial(_got, tenant, receiver), "the other tenant's event")
            assert len(slow.got) == webhook_delivery.PARALLEL
            slow.gate.set()
            await until(lambda: len(slow.events) == 900, "the slow one's events")


async def test_too_much_waiting_is_dropped_and_counted(tenant: Endpoint, settings: Settings) -> None:
    row, _ = await hook(tenant.url)
    settings.FEEDBACK_WEBHOOK_BACKLOG, before = 2, counted("dropped")
    many = [event(f"r{number}").to_json() for number in range(350)]
    await worker.in_thread(webhook_delivery.keep, [f"[{','.join(many)}]".encode()])
    assert await worker.in_thread(webhook_lanes.waiting, row.id) == 2
    async with delivering():
        await until(lambda: webhook_lanes.waiting(row.id) == 0, "what was kept")
    dropped = (await state(row)).dropped
    assert dropped > 100 and dropped + len(tenant.events) == 350
    assert counted("dropped") == before + dropped


async def test_what_waits_for_a_deleted_webhook_goes_with_it(tenant: Endpoint) -> None:
    row, _ = await hook(tenant.url)
    await worker.in_thread(webhook_delivery.keep, [f"[{event().to_json()}]".encode()])
    await worker.in_thread(webhooks.delete, await fresh(row), Actor())
    async with delivering():
        await until(lambda: not collection(WebhookBatch).count_documents({}), "the end of what waited")
    await webhook_delivery.prune()
    assert collection(WebhookLane).count_documents({}) == 0 and tenant.got == []


async def test_an_event_that_names_only_the_providers_id_comes_once_its_delivery_is_known(tenant: Endpoint) -> None:
    await hook(tenant.url)
    sent = event(status=Status.SENT, provider_id="SM1", attempt=1)
    opened = nameless(event(status=Status.DELIVERED, provider_id="SM1", fact="opened", seconds=3))
    async with delivering():
        await happen(sent, opened)
        await until(lambda: tenant.got, "the first event")
        assert await worker.in_thread(services.write, [opened]) == []
        found = await worker.in_thread(services.write, [sent])
        await worker.in_thread(services.tell_found, found)
        await until(lambda: len(tenant.events) == 2, "the second event")
    assert [(got["type"], got["delivery"]) for got in tenant.events] == [
        ("delivery.sent", sent.delivery),
        ("delivery.opened", sent.delivery),
    ]
    assert tenant.events[1]["event_id"] == opened.event and tenant.events[1]["at"] > f"{START:%Y}"


def _got(at: Endpoint, receiver: str) -> bool:
    return receiver in {found["receiver"] for found in at.events}


async def fresh(row: Webhook) -> Webhook:
    return await worker.in_thread(read, row)


async def target(row: Webhook) -> webhooks.Target:
    found = await worker.in_thread(webhooks.target, row.id)
    assert found is not None
    return found


async def state(row: Webhook) -> webhook_lanes.Lane:
    return (await worker.in_thread(webhook_lanes.states, "acme", [row.id]))[row.id]


def _batch(row: Webhook) -> webhook_events.Batch:
    return webhook_events.test_batch("acme", row.id, datetime.now(UTC))


async def test_events_of_connections_and_addresses_come_in_bodies_of_their_own_to_who_wants_them(
    tenant: Endpoint, globex: TenantUnderTest
) -> None:
    phone = AddressInput("sms", "+34600000001")
    row = await worker.in_thread(put_receiver, "acme", "alice", [phone])
    async with endpoint() as picky, endpoint() as others:
        await hook(tenant.url, mode="test", events=["delivery.*", "connection.*", "address.*"])
        await hook(picky.url, events=["connection.disconnected", "address.retired"])
        await hook(others.url, "globex", events=["connection.*", "address.*"])
        async with delivering():
            come = ConnectionEvent(tenant="acme", receiver="bob", channel="websocket", connected=True, at=START)
            await services.areport([come, replace(come, connected=False, event=new_id("evt"))])
            at = datetime.now(UTC) + timedelta(milliseconds=5)
            await worker.in_thread(retire_address, "acme", "sms", row.addresses[0].hash, "unregistered", at)
            await until(lambda: len(picky.events) == 2, "the retirement")
            await worker.in_thread(put_receiver, "acme", "alice", [phone])
            await until(lambda: len(tenant.events) == 4, "the address, active again")
            await happen(event(mode="test"))
            await until(lambda: len(tenant.events) == 5, "the delivery")
    assert {json.loads(got.body)["type"] for got in tenant.got} == {
        "connection.batch",
        "address.batch",
        "delivery.batch",
    }
    assert all(
        json.loads(got.body)["type"].startswith(found["type"].split(".")[0])
        for got in tenant.got
        for found in got.events
    )
    by_type = {found["type"]: found for found in tenant.events}
    assert by_type["connection.connected"] == {
        "event_id": come.event,
        "type": "connection.connected",
        "receiver": "bob",
        "channel": "websocket",
        "at": "2026-11-01T12:00:00.000Z",
    }
    retired = by_type["address.retired"]
    assert (retired["receiver"], retired["channel"], retired["reason"]) == ("alice", "sms", "unregistered")
    assert retired["address"] == "+34*****001" and by_type["address.active"]["address"] == "+34*****001"
    assert sorted(found["type"] for found in picky.events) == ["address.retired", "connection.disconnected"]
    assert others.got == []
