"""Search by the beginning of a name and by an address; pages that stay while rows come and go."""

import pytest

from subscriptions import browsing, services
from subscriptions.inputs import AddressInput, ReceiverInput

pytestmark = pytest.mark.services
NAMES = ["ann", "anna", "annette", "bea", "Ünal", "a/b"]


@pytest.fixture(autouse=True)
def people() -> None:
    phones = [AddressInput("sms", "+34600000001"), AddressInput("http", "https://hooks.example/ann")]
    services.put_receivers("acme", [ReceiverInput(name, phones if name == "ann" else ()) for name in NAMES])
    services.put_receiver("globex", "ann", phones)


def found(prefix: str, cursor: str | None = None, limit: int = 50) -> list[str]:
    return [row.name for row in browsing.receivers("acme", prefix, cursor, limit).data]


def test_names_are_found_by_their_beginning() -> None:
    assert found("ann") == ["ann", "anna", "annette"] and found("Ü") == ["Ünal"] and found("x") == []
    assert found("") == sorted(NAMES)


def test_a_page_goes_on_behind_the_last_name_whatever_came_or_went() -> None:
    first = browsing.receivers("acme", "ann", None, 2)
    services.delete_receiver("acme", "anna")
    services.put_receiver("acme", "ann0")
    assert [row.name for row in first.data] == ["ann", "anna"]
    assert found("ann", first.next_cursor, 2) == ["annette"]


@pytest.mark.parametrize(
    ("address", "names"),
    [("+34600000001", ["ann"]), ("https://hooks.example/ann", ["ann"]), ("+34600000002", []), ("{bad", [])],
)
def test_an_address_finds_its_receivers_of_this_tenant(address: str, names: list[str]) -> None:
    rows = browsing.receivers_at("acme", address)
    assert [row.name for row in rows] == names
    assert all(row.version != browsing.receivers_at("globex", address)[0].version for row in rows)


def test_members_are_searched_paged_and_counted() -> None:
    group = services.put_group("acme", "news")
    services.subscribe_many("acme", "news", [(name, None) for name in NAMES])
    page = browsing.members("acme", "news", "ann", None, 2)
    assert [row.receiver for row in page.data] == ["ann", "anna"]
    assert [row.receiver for row in browsing.members("acme", "news", "ann", page.next_cursor, 2).data] == ["annette"]
    assert browsing.member_count("acme", group, 10) == browsing.Count(6)
    assert browsing.member_count("acme", group, 5) == browsing.Count(5, more=True)


def test_groups_are_found_by_their_beginning() -> None:
    for name in ("news", "newsletter", "sports"):
        services.put_group("acme", name)
    assert [row.name for row in browsing.groups("acme", "new", None, 50).data] == ["news", "newsletter"]
