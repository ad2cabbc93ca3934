from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from tenants.authentication import caller_of
from tenants.management.commands.create_api_key import moment
from tenants.models import Membership, User
from tests.conftest import TenantUnderTest


def _run(*arguments: str) -> tuple[str, str]:
    """What the command wrote to standard output and standard error."""
    out, err = StringIO(), StringIO()
    call_command(*arguments, stdout=out, stderr=err, no_color=True)
    return out.getvalue(), err.getvalue()


def test_create_tenant_prints_a_first_live_key_that_works(db: None) -> None:
    out, err = _run("create_tenant", "acme", "--owner", "alice@acme.example", "--name", "Acme")
    caller = caller_of(out.strip())
    assert (caller.tenant, caller.mode, caller.scopes) == ("acme", "live", frozenset({"admin"}))
    assert "acme" in err
    owner = Membership.objects.get(tenant__slug="acme", role="owner").user
    assert owner.email == "alice@acme.example"
    assert not owner.has_usable_password()


def test_create_tenant_sets_the_owners_password(db: None) -> None:
    _run("create_tenant", "acme", "--owner", "alice@acme.example", "--password", "correct horse battery")
    assert User.objects.get().check_password("correct horse battery")


@pytest.mark.parametrize("arguments", [("acme", "--owner", "a@b.example"), ("No Slug", "--owner", "a@b.example")])
def test_create_tenant_says_why_it_refuses(acme: TenantUnderTest, arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError):
        _run("create_tenant", *arguments)


def test_create_api_key_prints_a_key_with_the_scopes_asked_for(acme: TenantUnderTest) -> None:
    scopes = ("--scope", "messages:send", "--scope", "messages:read")
    out, err = _run("create_api_key", "acme", *scopes, "--test", "--expires", "30d", "--name", "shop")
    caller = caller_of(out.strip())
    assert (caller.tenant, caller.mode, caller.scopes) == ("acme", "test", frozenset(scopes[1::2]))
    assert "until" in err


def test_create_api_key_for_an_unknown_tenant_says_so(db: None) -> None:
    with pytest.raises(CommandError, match="no tenant 'nobody'"):
        _run("create_api_key", "nobody", "--scope", "admin")


def test_create_api_key_with_a_time_that_has_passed_says_so(acme: TenantUnderTest) -> None:
    with pytest.raises(CommandError, match="future"):
        _run("create_api_key", "acme", "--scope", "admin", "--expires", "2020-01-01")


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("90m", timedelta(minutes=90)),
        ("12h", timedelta(hours=12)),
        ("30d", timedelta(days=30)),
        ("8w", timedelta(weeks=8)),
    ],
)
def test_an_expiry_may_be_a_duration(text: str, after: timedelta) -> None:
    assert abs(moment(text) - datetime.now(UTC) - after) < timedelta(seconds=5)


def test_an_expiry_may_be_a_time(db: None) -> None:
    assert moment("2027-01-31T12:00:00Z") == datetime(2027, 1, 31, 12, tzinfo=UTC)
    assert moment("2027-01-31") == datetime(2027, 1, 31, tzinfo=UTC)


@pytest.mark.parametrize("text", ["tomorrow", "30", "d", "-1d", "9999999d", "999999w"])
def test_any_other_expiry_is_refused(text: str) -> None:
    with pytest.raises(CommandError, match="--expires"):
        moment(text)
