"""Inviting, joining, roles, removing and leaving, through Django's test client."""

from datetime import UTC, datetime

import pytest
from django.core import mail
from django.test import Client
from pytest_django import Settings

from tenants import invitations, selectors, services
from tenants.models import Invitation, Membership, User
from tests.conftest import TenantUnderTest
from tests.mails import link_in

pytestmark = pytest.mark.services

DORA = "dora@example.org"
PASSWORD = "correct horse battery"
MEMBERS = "/t/acme/settings/members"
LEAVE = "/accounts/tenants/acme/leave"


@pytest.fixture(autouse=True)
def _quick_hashes(settings: Settings) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def _as(user: User | None) -> Client:
    assert user is not None
    client = Client()
    client.force_login(user)
    return client


def _invite(acme: TenantUnderTest, email: str = DORA, role: str = "viewer") -> str:
    """The path of the link in the mail."""
    before = len(mail.outbox)
    _as(acme.owner).post(f"{MEMBERS}/invite", {"email": email, "role": role})
    assert len(mail.outbox) == before + 1
    return link_in(str(mail.outbox[-1].body))


def _member(email: str) -> Membership:
    return selectors.members("acme").get(user__email=email)


def test_the_invited_sign_up_where_nobody_else_may_and_need_no_second_mail(acme: TenantUnderTest) -> None:
    link, client = _invite(acme), Client()
    assert "Sign up to join" in client.get(link).content.decode()
    form = {"name": "Dora", "email": DORA, "password1": PASSWORD}
    assert client.post(f"/accounts/signup/?next={link}", form)["Location"] == link
    assert client.post(link)["Location"] == "/t/acme/"
    assert _member(DORA).role == "viewer"
    assert len(mail.outbox) == 1


def test_an_invitation_lets_nobody_sign_up_as_somebody_else(acme: TenantUnderTest) -> None:
    link, client = _invite(acme), Client()
    client.get(link)
    form = {"name": "Eve", "email": "eve@example.org", "password1": PASSWORD}
    assert "The invitation is for another address" in client.post("/accounts/signup/", form).content.decode()
    assert not User.objects.filter(email="eve@example.org").exists()


def test_a_known_person_logs_in_and_joins(acme: TenantUnderTest, globex: TenantUnderTest) -> None:
    link = _invite(acme, globex.owner.email, "developer")
    assert "Log in to join" in Client().get(link).content.decode()
    _as(globex.owner).post(link)
    assert _member(globex.owner.email).role == "developer"
    assert not Invitation.objects.exists()


def test_an_invitation_is_for_one_mailbox(acme: TenantUnderTest, globex: TenantUnderTest) -> None:
    link, charlie = _invite(acme), _as(globex.owner)
    assert "You are logged in as charlie@globex.example" in charlie.get(link).content.decode()
    charlie.post(link)
    assert not selectors.members("acme").filter(user=globex.owner).exists()


@pytest.mark.parametrize("how", ["taken back", "too old", "invited again", "forged", "used"])
def test_a_link_ends(acme: TenantUnderTest, globex: TenantUnderTest, how: str) -> None:
    link, charlie = _invite(acme, globex.owner.email), _as(globex.owner)
    row = Invitation.objects.get()
    if how == "taken back":
        _as(acme.owner).post(f"/t/acme/settings/invitations/{row.id}/take-back")
    elif how == "too old":
        Invitation.objects.update(expires_at=datetime.now(UTC))
    elif how == "invited again":
        _invite(acme, globex.owner.email)
    elif how == "forged":
        link = link[:-3] + "abc"
    else:
        charlie.post(link)
        services.remove_member("acme", globex.owner)
    answer = charlie.post(link)
    assert answer.status_code == 404
    assert "This invitation has ended" in answer.content.decode()
    assert not selectors.members("acme").filter(user=globex.owner).exists()


def test_all_of_it_is_in_the_audit_log(acme: TenantUnderTest, globex: TenantUnderTest) -> None:
    _as(globex.owner).post(_invite(acme, globex.owner.email))
    path = f"{MEMBERS}/{_member(globex.owner.email).pk}"
    alice = _as(acme.owner)
    alice.post(f"{path}/role", {"role": "admin"})
    alice.post(f"{path}/remove")
    entries = selectors.audit_entries("acme").filter(target=globex.owner.email).reverse()
    assert [(entry.action, entry.by_email, entry.ip) for entry in entries] == [
        ("member.invited", "alice@acme.example", "127.0.0.1"),
        ("member.joined", "charlie@globex.example", "127.0.0.1"),
        ("member.set", "alice@acme.example", "127.0.0.1"),
        ("member.removed", "alice@acme.example", "127.0.0.1"),
    ]


def test_inviting_a_member_says_so(acme: TenantUnderTest) -> None:
    form = {"email": "Bob@acme.example", "role": "admin"}
    assert "is a member already" in _as(acme.owner).post(f"{MEMBERS}/invite", form).content.decode()
    assert _member("bob@acme.example").role == "viewer"


def test_a_tenant_cannot_flood_mailboxes(acme: TenantUnderTest) -> None:
    alice = _as(acme.owner)
    form = {"email": DORA, "role": "viewer"}
    answers = [alice.post(f"{MEMBERS}/invite", form) for _ in range(31)]
    assert "invitations in an hour" in answers[-1].content.decode()
    assert len(mail.outbox) == 30


def test_a_person_cannot_flood_mailboxes_from_several_tenants(acme: TenantUnderTest, globex: TenantUnderTest) -> None:
    services.add_member("globex", acme.owner.email, "admin")
    alice = _as(acme.owner)
    form = {"email": DORA, "role": "viewer"}
    answers = [alice.post(f"/t/{slug}/settings/members/invite", form) for slug in ["acme", "globex"] * 16]
    assert "invitations in an hour" in answers[-1].content.decode()
    assert len(mail.outbox) == 30
    assert _as(globex.owner).post("/t/globex/settings/members/invite", form).status_code == 302


def test_a_mail_server_that_is_away_is_told_to_the_inviter(acme: TenantUnderTest, settings: Settings) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    page = _as(acme.owner).post(f"{MEMBERS}/invite", {"email": DORA, "role": "viewer"}).content.decode()
    assert "The mail server did not take the mail" in page


def test_where_no_mail_is_sent_nobody_is_invited(acme: TenantUnderTest, settings: Settings) -> None:
    settings.SENDS_MAIL = False
    assert "This installation sends no mail" in _as(acme.owner).get(MEMBERS).content.decode()


def test_no_page_shows_an_invitations_link(acme: TenantUnderTest) -> None:
    link = _invite(acme)
    assert link.rsplit("/")[-1] not in _as(acme.owner).get(MEMBERS).content.decode()


def test_nobody_gives_or_takes_a_role_above_the_own(acme: TenantUnderTest) -> None:
    admin = services.add_member("acme", "ada@acme.example", "admin").user
    ada, alice = _as(admin), _member(acme.owner.email)
    assert ada.post(f"{MEMBERS}/{alice.pk}/role", {"role": "viewer"}).status_code == 403
    assert ada.post(f"{MEMBERS}/{alice.pk}/remove").status_code == 403
    bob = _member("bob@acme.example")
    ada.post(f"{MEMBERS}/{bob.pk}/role", {"role": "owner"})
    ada.post(f"{MEMBERS}/invite", {"email": DORA, "role": "owner"})
    assert _member("bob@acme.example").role == "viewer"
    assert not Invitation.objects.exists()


def test_the_last_owner_cannot_leave(acme: TenantUnderTest) -> None:
    alice = _as(acme.owner)
    assert "A tenant keeps an owner" in alice.post(LEAVE, follow=True).content.decode()
    services.add_member("acme", "bob@acme.example", "owner")
    assert alice.post(LEAVE)["Location"] == "/"
    assert [member.user.email for member in selectors.members("acme")] == ["bob@acme.example"]


def test_a_viewer_sees_the_members_and_changes_nothing(acme: TenantUnderTest) -> None:
    bob, alice = _as(acme.viewer), _member(acme.owner.email)
    page = bob.get(MEMBERS).content.decode()
    assert "alice@acme.example" in page and "Send the invitation" not in page and "Remove" not in page
    changes = ("invite", f"{alice.pk}/role", f"{alice.pk}/remove")
    assert [bob.post(f"{MEMBERS}/{change}").status_code for change in changes] == [403] * 3
    assert "Leave Acme?" in bob.get(LEAVE).content.decode()


def test_a_stranger_finds_no_members(acme: TenantUnderTest, globex: TenantUnderTest) -> None:
    charlie, alice = _as(globex.owner), _member(acme.owner.email)
    assert [charlie.get(path).status_code for path in (MEMBERS, LEAVE)] == [404] * 2
    assert charlie.post(f"{MEMBERS}/invite", {"email": DORA, "role": "viewer"}).status_code == 404
    assert charlie.post(f"/t/globex/settings/members/{alice.pk}/remove").status_code == 404
    assert selectors.members("acme").count() == 2


def test_an_inactive_tenants_invitation_ends(acme: TenantUnderTest) -> None:
    row = invitations.invite(_member(acme.owner.email).tenant, DORA, "viewer", acme.owner)
    row.tenant.is_active = False
    row.tenant.save()
    assert Client().get(link_in(str(mail.outbox[-1].body))).status_code == 404
