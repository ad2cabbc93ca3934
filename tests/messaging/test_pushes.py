"""Push channels from the API's message to the gateway and back: what becomes of dead addresses among good ones."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from feedback import selectors as feedback
from feedback.events import Status
from messaging.channels import registry
from messaging.sandbox.browser import browser
from messaging.sandbox.ios import LONG_GONE, REASON_TOKENS, Gateway
from messaging.sandbox.server import Sandbox
from sprayer_project import paging
from subscriptions import documents, selectors, services
from subscriptions.inputs import AddressInput, ReceiverInput
from tenants.services import set_channel_config
from tests.conftest import TenantUnderTest
from tests.live import wait_for
from tests.messaging.dispatching import dispatching, ended, send

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True)]

UNREGISTERED = next(token for token, reason in REASON_TOKENS.items() if reason == "Unregistered")
PUSH = ("ios", "android", "webpush")
DEAD, CHUNK = 50, 500


def dead(name: str, number: int) -> Any:
    """An address that the provider does not know any more."""
    return {
        "ios": f"{UNREGISTERED}{number:056x}",
        "android": f"sandbox-unregistered-{number}",
        "webpush": browser(f"410-{number}").subscription,
    }[name]


def requests(sandbox: Sandbox, name: str) -> Counter[str]:
    """How often the gateway was asked for each address, as its log has it; what APNs refuses is counted alone."""
    gateway = sandbox.gateways[name]
    found = gateway.arrivals.newest(name, gateway.owner("acme"), 1_000)
    seen = Counter(str(row.get("token") or row.get("subscription") or row["message"]["token"]) for row in found)
    if isinstance(gateway, Gateway) and gateway.requests > seen.total():
        seen[UNREGISTERED] = gateway.requests - seen.total()
    return seen


@contextmanager
def pushing(name: str, sandbox: Sandbox, settings: Settings) -> Iterator[None]:
    """A live channel whose provider is the sandbox, and a dispatcher of it."""
    urls = {"apns_development": f"{sandbox.url}/ios", "fcm": f"{sandbox.url}/android"}
    settings.PROVIDER_URLS = settings.PROVIDER_URLS | urls | {"google_oauth": f"{sandbox.url}/android"}
    found = type(registry()[name])()
    set_channel_config("acme", name, dict(found.sandbox_config("acme")))
    with dispatching(found):
        yield


def register(receiver: str, name: str, *addresses: Any) -> None:
    services.put_receiver("acme", receiver, [AddressInput(name, address) for address in addresses])


def health(client: Client, tenant: TenantUnderTest, receiver: str) -> list[tuple[str, str | None]]:
    """Status and reason of each address in the API."""
    answer = client.get(f"/api/v1/receivers/{receiver}", headers=tenant.headers())
    return [(row["status"], row["reason"]) for row in answer.json()["addresses"]]


def rows(message: str) -> list[feedback.DeliveryRow]:
    found, cursor = list[feedback.DeliveryRow](), None
    while True:
        page = feedback.deliveries("acme", "live", message, cursor=cursor, limit=paging.MAX_LIMIT)
        found += page.data
        if (cursor := page.next_cursor) is None:
            return found


@pytest.mark.parametrize("name", PUSH)
def test_of_a_chunk_with_dead_addresses_the_others_are_sent_and_each_is_asked_for_once(
    name: str, acme: TenantUnderTest, client: Client, sandbox: Sandbox, settings: Settings
) -> None:
    channel = registry()[name]
    addresses = {
        f"r{number:03}": dead(name, number) if number % 10 == 0 else channel.sandbox_address(f"phone-{number}")
        for number in range(CHUNK)
    }
    inputs = [ReceiverInput(receiver, [AddressInput(name, address)]) for receiver, address in addresses.items()]
    assert not [row for row in services.put_receivers("acme", inputs) if isinstance(row, Exception)]
    with pushing(name, sandbox, settings):
        message = send(to=list(addresses), channels=[name])
        totals = {name: {"sent": CHUNK - DEAD, "failed": DEAD}}
        wait_for(lambda: feedback.count("acme", message).channels == totals, 60, "every outcome")
    seen = requests(sandbox, name)
    assert seen.total() == CHUNK
    assert sorted(seen.values(), reverse=True)[1] == 1
    found = rows(message)
    assert {(row.attempts, row.status) for row in found} == {(1, Status.SENT), (1, Status.FAILED)}
    failed = {row.receiver: row.reason for row in found if row.status is Status.FAILED}
    assert failed == {f"r{number:03}": "unregistered" for number in range(0, CHUNK, 10)}
    assert sum(health(client, acme, receiver) == [("retired", "unregistered")] for receiver in failed) == DEAD
    retired = {"tenant": "acme", "addresses.status": "retired"}
    assert documents.receivers().count_documents(retired) == DEAD


@pytest.mark.parametrize("name", PUSH)
def test_a_receiver_with_a_live_and_a_dead_address_has_one_delivery_sent_and_one_failed(
    name: str, acme: TenantUnderTest, client: Client, sandbox: Sandbox, settings: Settings
) -> None:
    register("alice", name, registry()[name].sandbox_address("alice"), dead(name, 1))
    with pushing(name, sandbox, settings):
        message = send(to=["alice"], channels=[name])
        wait_for(lambda: len(rows(message)) == 2, 15, "both outcomes")
        assert requests(sandbox, name).total() == 2
        assert sorted((row.status, row.attempts) for row in rows(message)) == [("failed", 1), ("sent", 1)]
        assert health(client, acme, "alice") == [("active", None), ("retired", "unregistered")]
        ended(send(to=["alice"], channels=[name]), Status.SENT)
    assert requests(sandbox, name).total() == 3


def test_a_device_that_registered_after_apple_lost_it_is_not_retired(
    acme: TenantUnderTest, client: Client, sandbox: Sandbox, settings: Settings
) -> None:
    address = f"{LONG_GONE}{7:056x}"
    register("alice", "ios", address)
    with pushing("ios", sandbox, settings):
        (row,) = ended(send(to=["alice"], channels=["ios"]), Status.FAILED)
        assert row.reason == "unregistered"
        assert health(client, acme, "alice") == [("active", None)]
        registered("alice", timedelta(hours=2))
        register("alice", "ios", address)
        ended(send(to=["alice"], channels=["ios"]), Status.FAILED)
        assert health(client, acme, "alice") == [("active", None)]
        registered("alice", timedelta(hours=2))
        ended(send(to=["alice"], channels=["ios"]), Status.FAILED)
    assert health(client, acme, "alice") == [("retired", "unregistered")]
    (found,) = selectors.receiver("acme", "alice").addresses
    assert found.retired_at is not None
    assert timedelta(minutes=59) < datetime.now(UTC) - found.retired_at < timedelta(minutes=61)


def registered(receiver: str, ago: timedelta) -> None:
    """Let its address be of that time."""
    change = {"$set": {"addresses.0.active_at": datetime.now(UTC) - ago}}
    documents.receivers().update_one({"name": receiver}, change)
