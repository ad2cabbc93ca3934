"""The console's pages of receivers and groups, through Django's test client."""

import asyncio
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from django.test import Client

from messaging.realtime import tokens
from sprayer_project import redis
from subscriptions import selectors, services
from subscriptions.addresses import address_hash
from subscriptions.inputs import AddressInput
from tenants.models import AuditEntry, User
from tests.conftest import TenantUnderTest
from tests.messaging import inboxes

pytestmark = pytest.mark.services
PHONE = "+34600000017"
AWKWARD = "a/b?c#d%e <f>"


def _as(user: User | None) -> Client:
    assert user is not None
    client = Client()
    client.force_login(user)
    return client


def _text(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, path
    return answer.content.decode()


@pytest.fixture
def audience() -> None:
    services.put_receiver("acme", "ann", [AddressInput("sms", PHONE)], {"league": "second"}, "es", "Europe/Madrid")
    services.put_group("acme", "news", "The news", ["sms", "websocket"])
    services.subscribe("acme", "news", "ann")


GET = [
    *("receivers", "receivers/ann", "receiver/new", "receiver/edit/ann", "receiver/delete/ann", "receiver/erase/ann"),
    *("groups", "groups/news", "group/new", "group/edit/news", "group/delete/news"),
]
POST = [
    *("receiver/new", "receiver/edit/ann", "receiver/delete/ann", "receiver/erase/ann", "receiver/token/ann"),
    *("receiver/address/add/ann", "receiver/address/remove/ann", "receiver/address/reactivate/ann"),
    *("receiver/subscribe/ann", "receiver/unsubscribe/ann", "group/new", "group/edit/news", "group/delete/news"),
    *("group/subscribe/news", "group/unsubscribe/news"),
]
READ = ["receivers", "receivers/ann", "groups", "groups/news"]


def test_an_owner_opens_every_page(acme: TenantUnderTest, audience: None) -> None:
    client = _as(acme.owner)
    assert {path: client.get(f"/t/acme/{path}").status_code for path in GET} == dict.fromkeys(GET, 200)


def test_a_viewer_reads_and_changes_nothing(acme: TenantUnderTest, audience: None) -> None:
    client = _as(acme.viewer)
    answers = {path: client.get(f"/t/acme/{path}").status_code for path in GET}
    assert answers == {path: 200 if path in READ else 403 for path in GET}
    assert {client.post(f"/t/acme/{path}").status_code for path in POST} == {403}
    assert "Take out" not in _text(client, "/t/acme/receivers/ann")
    assert selectors.receiver("acme", "ann").addresses and selectors.group("acme", "news")


def test_a_stranger_finds_nothing(acme: TenantUnderTest, globex: TenantUnderTest, audience: None) -> None:
    client = _as(globex.owner)
    assert {client.get(f"/t/acme/{path}").status_code for path in GET} == {404}
    assert {client.post(f"/t/acme/{path}").status_code for path in POST} == {404}
    assert [client.get(f"/t/globex/{path}").status_code for path in ("receivers/ann", "groups/news")] == [404, 404]


def test_empty_lists_say_what_to_do(acme: TenantUnderTest) -> None:
    client = _as(acme.owner)
    assert "PUT /api/v1/receivers" in _text(client, "/t/acme/receivers")
    assert "PUT /api/v1/groups" in _text(client, "/t/acme/groups")


def test_receivers_are_searched_by_name_and_by_address(acme: TenantUnderTest, audience: None) -> None:
    services.put_receiver("acme", "bea")
    client = _as(acme.viewer)
    assert "/receivers/bea" not in _text(client, "/t/acme/receivers?name=an")
    page = _text(client, f"/t/acme/receivers?address={quote(PHONE)}")
    assert "/receivers/ann" in page and "/receivers/bea" not in page
    assert "No receiver fits" in _text(client, "/t/acme/receivers?address=%2B34600000009")


def test_a_receivers_page_shows_its_health_and_no_whole_address(acme: TenantUnderTest, audience: None) -> None:
    services.retire_address("acme", "sms", address_hash("acme", "sms", PHONE), "unknown_handset", datetime.now(UTC))
    page = _text(_as(acme.owner), "/t/acme/receivers/ann")
    assert "unknown_handset" in page and "Use again" in page and PHONE not in page
    assert "Europe/Madrid" in page and "league" in page and "/groups/news" in page


def test_any_name_has_its_page(acme: TenantUnderTest) -> None:
    client = _as(acme.owner)
    answer = client.post("/t/acme/receiver/new", {"name": AWKWARD, "attributes": '{"a": 1}'})
    assert answer.status_code == 302 and selectors.receiver("acme", AWKWARD).attributes == {"a": 1}
    assert "a/b?c#d%e &lt;f&gt;" in _text(client, answer["Location"])
    assert client.post("/t/acme/receiver/new", {"name": AWKWARD}).context["form"].errors


def test_a_receiver_is_changed_and_the_audit_log_does_not_name_it(acme: TenantUnderTest, audience: None) -> None:
    form = {"locale": "pt-BR", "timezone": "", "attributes": '{"team": "blue"}'}
    assert _as(acme.owner).post("/t/acme/receiver/edit/ann", form).status_code == 302
    row = selectors.receiver("acme", "ann")
    assert (row.locale, row.timezone, row.attributes) == ("pt-BR", None, {"team": "blue"})
    assert [address.address for address in row.addresses] == [PHONE]
    entry = AuditEntry.objects.get(action="receiver.changed")
    assert (entry.by, entry.target) == (acme.owner, str(row.id))


@pytest.mark.parametrize(
    ("form", "field"),
    [({"locale": "?"}, "locale"), ({"timezone": "Mars"}, "timezone"), ({"attributes": "[1]"}, "attributes")],
)
def test_what_is_refused_of_a_receiver_is_said_at_the_field(
    acme: TenantUnderTest, audience: None, form: dict[str, str], field: str
) -> None:
    assert field in _as(acme.owner).post("/t/acme/receiver/edit/ann", form).context["form"].errors
    assert selectors.receiver("acme", "ann").locale == "es"


def test_an_address_is_added_and_taken_out(acme: TenantUnderTest, audience: None) -> None:
    client = _as(acme.owner)
    client.post("/t/acme/receiver/address/add/ann", {"channel": "email", "address": "ann@acme.example"})
    client.post("/t/acme/receiver/address/remove/ann", {"hash": address_hash("acme", "sms", PHONE)})
    assert [row.address for row in selectors.receiver("acme", "ann").addresses] == ["ann@acme.example"]
    answer = client.post("/t/acme/receiver/address/add/ann", {"channel": "sms", "address": "12"})
    assert answer.status_code == 400 and answer.context["address_form"].errors["address"]


def test_a_retired_address_is_used_again_unless_its_owner_put_it_aside(acme: TenantUnderTest, audience: None) -> None:
    client, hashed = _as(acme.owner), address_hash("acme", "sms", PHONE)
    services.retire_address("acme", "sms", hashed, "unknown_handset", datetime.now(UTC))
    client.post("/t/acme/receiver/address/reactivate/ann", {"hash": hashed})
    assert selectors.receiver("acme", "ann").addresses[0].status == "active"
    services.add_address("acme", "ann", AddressInput("email", "ann@acme.example"))
    mailbox = address_hash("acme", "email", "ann@acme.example")
    services.retire_address("acme", "email", mailbox, "opted_out", datetime.now(UTC))
    assert "Use again" not in _text(client, "/t/acme/receivers/ann")
    answer = client.post("/t/acme/receiver/address/reactivate/ann", {"hash": mailbox}, follow=True)
    assert "does not want messages there" in answer.content.decode()


def test_a_receiver_is_subscribed_on_channels_and_unsubscribed(acme: TenantUnderTest, audience: None) -> None:
    services.put_group("acme", "sports")
    client = _as(acme.owner)
    client.post("/t/acme/receiver/subscribe/ann", {"other": "sports", "channels": ["sms"]})
    found = selectors.receiver_subscriptions("acme", "ann", None, 10).data
    assert [(row.group, row.channels) for row in found] == [("news", None), ("sports", ("sms",))]
    client.post("/t/acme/receiver/unsubscribe/ann", {"group": "sports"})
    assert [row.group for row in selectors.receiver_subscriptions("acme", "ann", None, 10).data] == ["news"]
    answer = client.post("/t/acme/receiver/subscribe/ann", {"other": "nothing"})
    assert answer.context["subscription_form"].errors


def test_what_waits_in_an_inbox_is_shown_and_stays(acme: TenantUnderTest, audience: None) -> None:
    async def fill() -> None:
        for title in ("First goal", "Second goal"):
            await inboxes.send(inboxes.message(title=title), "ann")
        await redis.aclose()

    asyncio.run(fill())
    for _ in range(2):
        page = _text(_as(acme.viewer), "/t/acme/receivers/ann")
        assert "2 waiting" in page and page.index("First goal") < page.index("Second goal")
        assert "not connected" in page


def test_a_token_is_shown_once_and_connects_this_receiver(acme: TenantUnderTest, audience: None) -> None:
    client = _as(acme.owner)
    token = client.post("/t/acme/receiver/token/ann").context["token"]
    claims = tokens.verify(token)
    assert (claims.tenant, claims.receiver) == ("acme", "ann")
    assert token not in _text(client, "/t/acme/receivers/ann")


def test_a_receiver_is_deleted_after_having_been_asked(acme: TenantUnderTest, audience: None) -> None:
    client = _as(acme.owner)
    assert "1 address" in _text(client, "/t/acme/receiver/delete/ann") and selectors.receiver("acme", "ann")
    client.post("/t/acme/receiver/delete/ann")
    assert selectors.unknown_receivers("acme", ["ann"]) == ["ann"]


def test_erasing_says_what_it_does_and_leaves_a_mark_in_the_audit_log(acme: TenantUnderTest, audience: None) -> None:
    client = _as(acme.owner)
    assert "cannot be undone" in _text(client, "/t/acme/receiver/erase/ann")
    client.post("/t/acme/receiver/erase/ann")
    assert selectors.unknown_receivers("acme", ["ann"]) == ["ann"]
    entry = AuditEntry.objects.get(action="receiver.erased")
    assert entry.by == acme.owner and entry.target.startswith("erased:") and "ann" not in entry.target


def test_groups_show_whom_they_reach(acme: TenantUnderTest, audience: None) -> None:
    client = _as(acme.viewer)
    page = _text(client, "/t/acme/groups")
    assert "sms 1" in page and "The news" in page and "/t/acme/send" not in page
    assert "/receivers/ann" in _text(client, "/t/acme/groups/news?name=a")
    assert "No member" in _text(client, "/t/acme/groups/news?name=b")


def test_a_group_is_created_changed_and_deleted(acme: TenantUnderTest) -> None:
    client = _as(acme.owner)
    client.post("/t/acme/group/new", {"name": "club/a", "title": "A", "channels": ["sms"]})
    assert selectors.group("acme", "club/a").channels == ("sms",)
    assert client.post("/t/acme/group/new", {"name": "club/a"}).context["form"].errors
    client.post("/t/acme/group/edit/club/a", {"title": "B"})
    row = selectors.group("acme", "club/a")
    assert (row.title, row.channels) == ("B", None)
    client.post("/t/acme/group/delete/club/a")
    assert selectors.unknown_groups("acme", ["club/a"]) == ["club/a"]
    actions = list(AuditEntry.objects.filter(target="club/a").order_by("id").values_list("action", flat=True))
    assert actions == ["group.created", "group.changed", "group.deleted"]


def test_members_come_and_go_on_the_groups_page(acme: TenantUnderTest, audience: None) -> None:
    services.put_receiver("acme", "bea")
    client = _as(acme.owner)
    client.post("/t/acme/group/subscribe/news", {"other": "bea", "channels": ["websocket"]})
    assert [row.receiver for row in selectors.group_subscriptions("acme", "news", None, None, 10).data] == [
        "ann",
        "bea",
    ]
    client.post("/t/acme/group/unsubscribe/news", {"receiver": "ann"})
    assert [row.receiver for row in selectors.group_subscriptions("acme", "news", None, None, 10).data] == ["bea"]
    assert client.post("/t/acme/group/subscribe/news", {"other": "nobody"}).context["form"].errors
