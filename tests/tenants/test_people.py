import pytest
from django.contrib.auth.models import AnonymousUser

from sprayer_project.errors import Conflict, Invalid, NotFound
from tenants import selectors, services
from tenants.models import Membership, Tenant, User
from tenants.rights import Forbidden
from tests.conftest import TenantUnderTest

PASSWORD = "correct horse battery"


@pytest.mark.parametrize(
    ("role", "rights"),
    [
        ("viewer", {"read"}),
        ("developer", {"read", "send", "keys", "webhooks"}),
        ("admin", {"read", "send", "keys", "webhooks", "channels", "members", "settings"}),
        ("owner", {"read", "send", "keys", "webhooks", "channels", "members", "settings", "delete"}),
    ],
)
def test_each_role_has_its_rights_and_no_other(role: str, rights: set[str]) -> None:
    every = ("read", "send", "keys", "webhooks", "channels", "members", "settings", "delete")
    assert {right for right in every if selectors.can(role, right)} == rights


def test_a_member_finds_the_membership(acme: TenantUnderTest) -> None:
    assert selectors.membership(acme.owner, "acme").role == "owner"
    assert [member.tenant.slug for member in selectors.memberships(acme.owner)] == ["acme"]


def test_a_stranger_and_nobody_find_no_tenant(acme: TenantUnderTest, globex: TenantUnderTest) -> None:
    for user in (globex.owner, AnonymousUser(), None):
        with pytest.raises(NotFound):
            selectors.membership(user, "acme")


def test_nobody_opens_an_inactive_tenant(acme: TenantUnderTest) -> None:
    Tenant.objects.filter(slug="acme").update(is_active=False)
    with pytest.raises(NotFound):
        selectors.membership(acme.owner, "acme")


def test_a_viewer_may_read_and_not_send(acme: TenantUnderTest) -> None:
    member = selectors.membership(acme.viewer, "acme")
    assert selectors.require(member, "read").role == "viewer"
    with pytest.raises(Forbidden) as refused:
        selectors.require(member, "send")
    assert (refused.value.status, refused.value.code) == (403, "missing_right")


def test_a_member_gets_another_role_and_never_two(acme: TenantUnderTest) -> None:
    services.add_member("acme", "Bob@Acme.example", "developer", by=acme.owner)
    assert [(member.user.email, member.role) for member in selectors.members("acme")] == [
        ("alice@acme.example", "owner"),
        ("bob@acme.example", "developer"),
    ]


def test_a_tenant_keeps_its_last_owner(acme: TenantUnderTest) -> None:
    with pytest.raises(Conflict):
        services.add_member("acme", acme.owner.email, "viewer")
    with pytest.raises(Conflict):
        services.remove_member("acme", acme.owner)
    services.add_member("acme", "bob@acme.example", "owner")
    services.remove_member("acme", acme.owner)
    assert [member.user.email for member in selectors.members("acme")] == ["bob@acme.example"]


def test_an_unknown_role_is_refused(acme: TenantUnderTest) -> None:
    with pytest.raises(Invalid):
        services.add_member("acme", "bob@acme.example", "emperor")
    assert Membership.objects.get(user__email="bob@acme.example").role == "viewer"


def test_a_known_owner_keeps_the_password(acme: TenantUnderTest) -> None:
    services.create_tenant("hooli", "", "gavin@hooli.example", PASSWORD)
    with pytest.raises(Conflict) as refused:
        services.create_tenant("pied-piper", "", "gavin@hooli.example", "another password")
    assert refused.value.code == "user_exists"
    assert not Tenant.objects.filter(slug="pied-piper").exists()
    services.create_tenant("pied-piper", "", "gavin@hooli.example")
    assert User.objects.get(email="gavin@hooli.example").check_password(PASSWORD)


@pytest.mark.parametrize(("email", "password"), [("no address", None), ("a@b.example", "short"), ("", None)])
def test_a_bad_owner_is_refused(db: None, email: str, password: str | None) -> None:
    with pytest.raises(Invalid):
        services.create_tenant("acme", "", email, password)
    assert not User.objects.exists()
