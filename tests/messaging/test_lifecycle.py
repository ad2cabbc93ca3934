"""What the way of a message does over the wire: the requests that a gateway saw are the evidence."""

import asyncio
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from feedback import selectors as feedback
from feedback.events import Status
from messaging import sweeper
from messaging.jobs import Deliver, Target
from messaging.sandbox.server import Sandbox
from messaging.services import accept
from sprayer_project import worker
from subscriptions import services as subscriptions
from subscriptions.inputs import AddressInput, ReceiverInput
from tests.conftest import TenantUnderTest
from tests.live import wait_for
from tests.messaging import endpoints
from tests.messaging.dispatching import dispatching, ended, handle, send
from tests.messaging.endpoints import Endpoint, configure, endpoint, until
from tests.resilience import sink

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True)]

PUBLIC = "93.184.216.34"
HOSTS, HANGING, FAILING, WEBHOOKS = 20, 3, 2, 400


def job(message: str, receiver: str = "r0", **fields: Any) -> Deliver:
    values = {"tenant": "acme", "mode": "live", "channel": "http", "targets": (Target(receiver),)} | fields
    return Deliver(message=message, **values)


def test_a_cancelled_message_makes_no_further_request(acme: TenantUnderTest, client: Client, sandbox: Sandbox) -> None:
    (flaky,) = sink.prepare("acme", "flaky/1/x")
    good = AddressInput("http", sink.address("orders?receiver=good"))
    subscriptions.put_receiver("acme", "good", [good])
    message, unsent = send(to=[flaky, "good"]), send(to=[flaky])
    handle(job(message, flaky), job(message, "good"))
    assert sink.arrived("acme") == [message, message]
    for one in (message, unsent):
        assert client.post(f"/api/v1/messages/{one}/cancel", headers=acme.headers()).status_code == 200
    handle(job(message, flaky, attempt=2), job(unsent, flaky))
    with dispatching():
        ended(unsent, Status.CANCELLED)
        wait_for(lambda: statuses(message) == {flaky: "cancelled", "good": "delivered"}, 15, "both outcomes")
    assert sink.arrived("acme") == [message, message]


def test_a_scheduled_message_arrives_when_its_time_has_come_and_not_before(
    acme: TenantUnderTest, sandbox: Sandbox
) -> None:
    names = sink.prepare("acme", "orders")
    at = datetime.now(UTC) + timedelta(seconds=1.2)
    message = send(to=names, send_at=at.isoformat())
    with dispatching():
        assert sweeper.release_scheduled() == 0
        assert sink.arrived("acme") == []
        wait_for(sweeper.release_scheduled, 10, "the time")
        ended(message, Status.DELIVERED)
    (arrival,) = sandbox.arrivals.newest("http", "acme", 10)
    assert datetime.fromisoformat(arrival["at"]) >= at


@pytest.mark.usefixtures("acme", "sandbox")
def test_a_name_that_leads_to_a_private_address_the_second_time_is_refused(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    answers, connected = [PUBLIC, "127.0.0.1"], list[str]()
    look_up, connect = socket.getaddrinfo, asyncio.SelectorEventLoop.sock_connect

    def rebinding(host: Any, port: Any, *args: Any, **named: Any) -> Any:
        return look_up(answers.pop(0) if host == "hooks.example.test" else host, port, *args, **named)

    async def refusing(loop: Any, sock: socket.socket, address: Any) -> None:
        if address[0] == PUBLIC:
            connected.append(address[0])
            raise ConnectionRefusedError
        await connect(loop, sock, address)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    monkeypatch.setattr(asyncio.SelectorEventLoop, "sock_connect", refusing)
    (name,) = sink.prepare("acme", "orders")
    url = f"http://hooks.example.test:{settings.SANDBOX_PORT}/http/orders"
    subscriptions.put_receiver("acme", name, [AddressInput("http", url)])
    message = send(to=[name])
    handle(job(message))
    handle(job(message, attempt=2))
    with dispatching():
        (row,) = ended(message, Status.FAILED)
    assert (row.reason, row.attempts) == ("blocked_address", 2)
    assert (connected, answers) == ([PUBLIC], [])
    assert sink.arrived("acme") == []


async def test_hosts_that_hang_or_fail_do_not_keep_the_others_from_their_webhooks(
    acme: TenantUnderTest, settings: Settings
) -> None:
    settings.PAGE_SIZE = 40
    answered = WEBHOOKS // HOSTS * (HOSTS - HANGING - FAILING)
    async with AsyncExitStack() as stack:
        found = [await stack.enter_async_context(endpoint(f"127.0.0.{number}")) for number in range(2, 2 + HOSTS)]
        hanging, failing, good = found[:HANGING], found[HANGING : HANGING + FAILING], found[HANGING + FAILING :]
        await configure("acme", timeout=30, retry_delays=[60])
        for one in hanging:
            one.gate.clear()
        for one in failing:
            one.status = 500
        await stack.enter_async_context(endpoints.dispatching())
        message = await _to_all(found)
        await until(lambda: sum(len(one.arrivals) for one in good) == answered, 20, "every webhook of the good hosts")

        async def recorded() -> bool:
            return (await endpoints.statuses("acme", [message])).get("delivered") == answered

        await until(recorded, 10, "every delivery of the good hosts")
        assert sum(len(one.arrivals) for one in hanging) > 0
        assert not any(one.answered for one in hanging)
        assert all(len(one.arrivals) == len({path for _, path in one.arrivals}) for one in found)
        for one in hanging:
            one.gate.set()


async def _to_all(found: Sequence[Endpoint]) -> str:
    """A message to WEBHOOKS receivers, the hosts in turn."""
    names = [f"r{number:03}" for number in range(WEBHOOKS)]
    inputs = [
        ReceiverInput(name, [AddressInput("http", f"{found[number % HOSTS].url}/{name}")])
        for number, name in enumerate(names)
    ]
    for row in await worker.in_thread(subscriptions.put_receivers, "acme", inputs):
        assert not isinstance(row, Exception), row
    body = {"to": {"receivers": names}, "channels": ["http"], "content": {"title": "Hi"}}
    return (await worker.in_thread(accept, "acme", "live", body)).id


def statuses(message: str) -> dict[str, str]:
    return {row.receiver: row.status for row in feedback.deliveries("acme", "live", message).data}
