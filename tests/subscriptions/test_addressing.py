"""Single addresses: what is done to one leaves the others as they are."""

from datetime import UTC, datetime

import pytest

from sprayer_project.errors import Conflict, Invalid, NotFound
from subscriptions import selectors, services
from subscriptions.addresses import address_hash
from subscriptions.inputs import AddressInput

pytestmark = pytest.mark.services
PHONE, OTHER, MAIL = "+34600000001", "+34600000002", "ann@acme.example"


@pytest.fixture(autouse=True)
def ann() -> None:
    services.put_receiver("acme", "ann", [AddressInput("sms", PHONE), AddressInput("email", MAIL)])


def health() -> dict[str, tuple[str, str | None]]:
    return {row.address: (row.status, row.reason) for row in selectors.receiver("acme", "ann").addresses}


def retire(channel: str, address: str, reason: str) -> None:
    hashed = address_hash("acme", channel, address)
    services.retire_address("acme", channel, hashed, reason, datetime.now(UTC))


def test_an_address_more_leaves_a_retired_one_retired() -> None:
    retire("sms", PHONE, "unknown_handset")
    services.add_address("acme", "ann", AddressInput("sms", OTHER))
    assert health() == {PHONE: ("retired", "unknown_handset"), MAIL: ("active", None), OTHER: ("active", None)}


def test_adding_the_same_address_again_changes_nothing() -> None:
    before = selectors.receiver("acme", "ann")
    assert services.add_address("acme", "ann", AddressInput("sms", PHONE)).version == before.version


def test_a_wrong_address_is_refused_with_its_pointer() -> None:
    with pytest.raises(Invalid) as refused:
        services.add_address("acme", "ann", AddressInput("sms", "12"))
    assert [error.pointer for error in refused.value.errors] == ["/addresses/0/address"]


def test_an_address_is_taken_out_alone() -> None:
    services.remove_address("acme", "ann", address_hash("acme", "sms", PHONE))
    assert list(health()) == [MAIL]


def test_a_retired_address_is_used_again() -> None:
    retire("sms", PHONE, "unknown_handset")
    services.reactivate_address("acme", "ann", address_hash("acme", "sms", PHONE))
    assert health()[PHONE] == ("active", None)


def test_what_its_owner_put_aside_is_not_used_again_before_it_was_taken_out() -> None:
    retire("email", MAIL, "opted_out")
    hashed = address_hash("acme", "email", MAIL)
    with pytest.raises(Conflict):
        services.reactivate_address("acme", "ann", hashed)
    assert health()[MAIL] == ("retired", "opted_out")
    services.remove_address("acme", "ann", hashed)
    services.add_address("acme", "ann", AddressInput("email", MAIL))
    assert health()[MAIL] == ("active", None)


def test_a_receiver_that_is_not_there_is_not_found() -> None:
    with pytest.raises(NotFound):
        services.add_address("acme", "bea", AddressInput("sms", PHONE))
    with pytest.raises(NotFound):
        services.reactivate_address("acme", "ann", "no such hash")
