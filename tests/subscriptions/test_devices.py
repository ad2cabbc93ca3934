"""A device has one receiver: whoever registered its address last."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from deploy.local.stack import Stack
from messaging.channels import registry
from messaging.sandbox.browser import browser
from subscriptions import documents, selectors, services
from subscriptions.addresses import is_device
from subscriptions.inputs import AddressInput, ReceiverInput
from tests.conftest import TenantUnderTest
from tests.subscriptions.test_api import call
from tests.subscriptions.test_services import pending, resolved, server_of_acme, subscribed

pytestmark = pytest.mark.services

TOKEN = AddressInput("ios", "ab" * 32)
OTHER = AddressInput("ios", "cd" * 32)
PHONE = AddressInput("sms", "+34600000001")


def put(name: str, *addresses: AddressInput, tenant: str = "acme") -> None:
    services.put_receiver(tenant, name, addresses)


def in_record(name: str, tenant: str = "acme") -> list[str]:
    return [address.address for address in selectors.receiver(tenant, name).addresses]


def in_index(*names: str, channel: str = "ios") -> dict[str, list[str]]:
    return {name: [found.address for found in row.addresses] for name, row in resolved([*names], channel).items()}


def test_phones_and_browsers_are_devices_and_nothing_else_is() -> None:
    assert {name for name in registry() if is_device(name)} == {"ios", "android", "webpush"}
    assert not is_device("a channel that is no more")


@pytest.mark.parametrize(
    ("channel", "address"),
    [("ios", "ab" * 32), ("android", "dGhpcyBpcyBh:APA91bToken"), ("webpush", browser("ok-alice").subscription)],
)
def test_a_device_moves_to_who_registers_it_later(acme: TenantUnderTest, channel: str, address: Any) -> None:
    device = {"channel": channel, "address": address}
    phone = {"channel": "sms", "address": "+34600000001"}
    call(acme, "PUT", "receivers/alice", {"addresses": [device, phone]})
    call(acme, "PUT", "receivers/bob", {"addresses": [device]})
    alice, bob = (call(acme, "GET", f"receivers/{name}").json()["addresses"] for name in ("alice", "bob"))
    assert [row["channel"] for row in alice] == ["sms"]
    assert [(row["channel"], row["status"]) for row in bob] == [(channel, "active")]
    found = in_index("alice", "bob", channel=channel)
    assert (found["alice"], len(found["bob"])) == ([], 1)
    assert pending() == 0


def test_numbers_and_mailboxes_are_shared() -> None:
    mailbox, webhook = AddressInput("email", "info@example.com"), AddressInput("http", "https://example.com/hook")
    for name in ("alice", "bob"):
        put(name, PHONE, mailbox, webhook)
    assert len(in_record("alice")) == len(in_record("bob")) == 3


def test_another_tenants_receiver_keeps_the_same_device() -> None:
    put("alice", TOKEN, tenant="globex")
    put("bob", TOKEN)
    assert in_record("alice", "globex") == in_record("bob") == ["ab" * 32]


def test_a_device_can_move_back_and_its_neighbours_stay() -> None:
    put("alice", TOKEN, OTHER)
    put("bob", TOKEN)
    put("alice", TOKEN, OTHER)
    assert (in_record("alice"), in_record("bob")) == (["ab" * 32, "cd" * 32], [])
    assert in_index("alice", "bob") == {"alice": ["ab" * 32, "cd" * 32], "bob": []}
    services.patch_receiver("acme", "bob", addresses=[OTHER])
    assert (in_record("alice"), in_record("bob")) == (["ab" * 32], ["cd" * 32])


def test_who_is_changed_otherwise_takes_no_device_back() -> None:
    put("alice", TOKEN)
    put("bob", TOKEN)
    services.patch_receiver("acme", "alice", attributes={"league": "second"})
    assert (in_record("alice"), in_record("bob")) == ([], ["ab" * 32])


def test_of_a_batch_the_last_has_the_device() -> None:
    names = ["carol", "alice", "bob"]
    services.put_receivers("acme", [ReceiverInput(name, [TOKEN, PHONE]) for name in names])
    assert in_index(*names) == {"carol": [], "alice": [], "bob": ["ab" * 32]}
    assert [len(in_record(name)) for name in names] == [1, 1, 2]


def test_a_device_that_was_dead_for_one_moves_and_is_alive_for_the_next() -> None:
    put("alice", TOKEN)
    (address,) = selectors.receiver("acme", "alice").addresses
    services.retire_address("acme", "ios", address.hash, "unregistered", datetime.now(UTC) + timedelta(seconds=1))
    put("bob", TOKEN)
    assert (in_record("alice"), in_record("bob")) == ([], ["ab" * 32])
    assert in_index("alice", "bob") == {"alice": [], "bob": ["ab" * 32]}


def test_a_group_reaches_the_device_by_its_new_receiver() -> None:
    services.put_group("acme", "news")
    for name in ("alice", "bob"):
        put(name, *([TOKEN] if name == "alice" else []))
        services.subscribe("acme", "news", name)
    assert subscribed("news", "ios") == ["alice"]
    put("bob", TOKEN)
    assert subscribed("news", "ios") == ["bob"]


def test_of_many_who_register_devices_at_once_one_has_each() -> None:
    tokens = [AddressInput("ios", f"{number:064x}") for number in range(8)]
    names = [f"r{number}" for number in range(6)]
    for name in names:
        put(name)
    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(partial(put, name, *tokens)) for name in names for _ in range(2)]:
            done.result(30)
    services.finish_pending(100)
    held = [address for name in names for address in in_record(name)]
    assert sorted(held) == sorted(token.address for token in tokens)
    assert in_index(*names) == {name: in_record(name) for name in names}


def test_a_death_between_the_registration_and_the_move_is_made_good() -> None:
    put("alice", TOKEN)
    put("bob")
    (address,) = documents.receivers().find_one({"name": "alice"}, {"addresses": 1})["addresses"]  # type: ignore[index]
    later = address | {"active_at": address["active_at"] + timedelta(seconds=1)}
    change = {"$set": {"addresses": [later], "index_pending": True}, "$inc": {"version": 1}}
    documents.receivers().update_one({"name": "bob"}, change)
    assert in_record("alice") == in_record("bob")
    services.finish_pending(100)
    assert (in_record("alice"), in_record("bob")) == ([], ["ab" * 32])
    assert in_index("alice", "bob") == {"alice": [], "bob": ["ab" * 32]}
    assert pending() == 0


def test_without_redis_a_device_moves_in_the_record_and_later_in_the_index(stack: Stack) -> None:
    put("alice", TOKEN)
    assert in_index("alice") == {"alice": ["ab" * 32]}
    server = server_of_acme(stack)
    server.kill()
    put("bob", TOKEN)
    assert (in_record("alice"), in_record("bob")) == ([], ["ab" * 32])
    server.start()
    services.finish_pending(100)
    assert in_index("alice", "bob") == {"alice": [], "bob": ["ab" * 32]}


def test_a_device_that_registered_again_is_not_retired_by_what_was_known_before() -> None:
    put("alice", TOKEN)
    (before,) = selectors.receiver("acme", "alice").addresses
    documents.receivers().update_one(
        {"name": "alice"}, {"$set": {"addresses.0.active_at": before.active_at - timedelta(hours=1)}}
    )
    put("alice", TOKEN)
    assert pending() == 0
    (again,) = selectors.receiver("acme", "alice").addresses
    assert again.active_at >= before.active_at and again.created_at == before.created_at
    services.retire_address("acme", "ios", again.hash, "unregistered", again.active_at - timedelta(minutes=1))
    assert [row.status for row in selectors.receiver("acme", "alice").addresses] == ["active"]
    services.retire_address("acme", "ios", again.hash, "unregistered", again.active_at + timedelta(minutes=1))
    assert [row.status for row in selectors.receiver("acme", "alice").addresses] == ["retired"]
