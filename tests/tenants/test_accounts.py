"""Signing up, logging in and all that belongs to a person, through Django's test client."""

import re

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from cryptography.fernet import Fernet
from django.core import mail
from django.core.management import call_command
from django.test import Client
from pytest_django import Settings

from tenants import services
from tenants.models import Membership, Tenant, User
from tests.conftest import TenantUnderTest
from tests.environment import free_port
from tests.mails import link_in, one_time_code

pytestmark = pytest.mark.services

_CODE = r"^(?:.*id=\"codes\">)?(\d{8})$"
PASSWORD = "correct horse battery"
ALICE = "alice@acme.example"


@pytest.fixture(autouse=True)
def _quick_hashes(settings: Settings) -> None:
    """What makes guessing slow makes tests slow."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def alice(acme: TenantUnderTest) -> User:
    """She can log in."""
    acme.owner.set_password(PASSWORD)
    acme.owner.save()
    return acme.owner


@pytest.fixture
def open_house(db: None, settings: Settings) -> None:
    """Everybody may sign up."""
    settings.SIGNUP = True


def log_in(client: Client, password: str = PASSWORD, email: str = ALICE) -> str:
    """Where it leads; empty: nowhere."""
    answer = client.post("/accounts/login/", {"login": email, "password": password})
    return answer.headers.get("Location", "")


def link_of_last_mail() -> str:
    return link_in(str(mail.outbox[-1].body))


def sign_up(client: Client, email: str = "dora@example.org") -> str:
    form = {"name": "Dora", "email": email, "password1": PASSWORD}
    return client.post("/accounts/signup/", form).headers.get("Location", "")


def test_a_person_logs_in_by_e_mail_in_any_case(alice: User) -> None:
    client = Client()
    assert log_in(client, email="ALICE@Acme.example") == "/"
    assert client.get("/")["Location"] == "/t/acme/"


def test_an_operators_word_is_enough_that_an_address_is_real(alice: User) -> None:
    log_in(Client())
    assert EmailAddress.objects.get(user=alice).verified
    assert not mail.outbox


def test_a_wrong_password_is_refused_in_words(alice: User) -> None:
    page = Client().post("/accounts/login/", {"login": ALICE, "password": "wrong"}).content.decode()
    assert "There is no account with this e-mail" in page


def test_somebody_without_a_password_cannot_log_in(acme: TenantUnderTest) -> None:
    assert not acme.owner.has_usable_password()
    assert log_in(Client(), "x") == ""


def test_ten_wrong_passwords_lock_the_right_one_out(alice: User) -> None:
    spellings = ("alice@acme.example", "Alice@acme.EXAMPLE")
    for number in range(10):
        log_in(Client(), "wrong password", spellings[number % 2])
    page = Client().post("/accounts/login/", {"login": ALICE, "password": PASSWORD})
    assert "Too many attempts" in page.content.decode()


def test_many_attempts_from_one_place_are_answered_429(alice: User) -> None:
    answers = [Client().post("/accounts/login/", {"login": f"{n}@x.example", "password": "x"}) for n in range(31)]
    assert answers[-1].status_code == 429
    assert "Too many attempts" in answers[-1].content.decode()


def test_nobody_signs_up_where_it_is_off(db: None) -> None:
    client = Client()
    assert "Sign-up is closed" in client.get("/accounts/signup/").content.decode()
    sign_up(client)
    assert not User.objects.exists()
    assert "Sign up" not in client.get("/accounts/login/").content.decode()


def test_who_signs_up_is_let_in_by_the_mails_link_alone(open_house: None) -> None:
    client = Client()
    assert sign_up(client) == "/accounts/confirm-email/"
    assert client.get("/accounts/")["Location"].startswith("/accounts/login/")
    assert log_in(Client(), email="dora@example.org") == "/accounts/confirm-email/"
    link = link_of_last_mail()
    assert "Is <strong>dora@example.org</strong> yours" in client.get(link).content.decode()
    client.post(link)
    assert client.get("/accounts/").status_code == 200
    assert User.objects.get().name == "Dora"


def test_an_address_that_is_known_learns_of_the_attempt_and_nobody_else_does(open_house: None, alice: User) -> None:
    assert sign_up(Client(), ALICE) == "/accounts/confirm-email/"
    assert "It has an account already" in str(mail.outbox[-1].body)
    assert User.objects.filter(email=ALICE).count() == 1


def test_a_mail_server_that_is_away_costs_no_account(open_house: None, settings: Settings) -> None:
    settings.EMAIL_BACKEND, settings.EMAIL_HOST, settings.EMAIL_PORT = (
        "django.core.mail.backends.smtp.EmailBackend",
        "127.0.0.1",
        1,
    )
    client = Client()
    assert sign_up(client) == "/accounts/confirm-email/"
    assert "The mail server did not take our mail" in client.get("/accounts/confirm-email/").content.decode()
    assert User.objects.filter(email="dora@example.org").exists()


def test_a_new_person_makes_a_first_tenant_and_owns_it(open_house: None) -> None:
    client = Client()
    client.force_login(User.objects.create_user("dora@example.org"))
    assert "Make a tenant" in client.get("/").content.decode()
    assert client.post("/accounts/tenants/new", {"name": "Dora & Co", "slug": "dora"})["Location"] == "/t/dora/"
    assert Membership.objects.get(tenant__slug="dora").role == "owner"
    assert not Tenant.objects.get(slug="dora").api_keys.exists()


@pytest.mark.parametrize("name", ["Dora\nBcc: all@example.org", "Dora\r", "\x00Dora", "Do\u2028ra", "Do\x85ra"])
def test_a_name_is_one_line(open_house: None, alice: User, name: str) -> None:
    client = Client()
    client.force_login(alice)
    name = f"{name}."  # what ends it is stripped
    forms = {
        "/accounts/tenants/new": {"slug": "dora"},
        "/t/acme/settings": {"retention_days": ""},
        "/accounts/": {},
        "/t/acme/keys/new": {"mode": "test", "scopes": ["messages:send"], "life": "90"},
    }
    for path, form in forms.items():
        page = client.post(path, form | {"name": name}).content.decode()
        assert 'aria-invalid="true"' in page and "control characters" in page, path
    Client().post("/accounts/signup/", {"name": name, "email": "dora@example.org", "password1": PASSWORD})
    assert (User.objects.count(), Tenant.objects.get().name) == (2, "Acme")


@pytest.mark.parametrize("slug", ["acme", "Not a slug", ""])
def test_a_slug_that_is_taken_or_bad_is_refused_at_its_field(open_house: None, alice: User, slug: str) -> None:
    client = Client()
    client.force_login(alice)
    page = client.post("/accounts/tenants/new", {"name": "Other", "slug": slug}).content.decode()
    assert 'aria-invalid="true"' in page
    assert Tenant.objects.count() == 1


def test_a_person_owns_so_many_tenants_and_an_operator_any_number(
    open_house: None, alice: User, settings: Settings
) -> None:
    settings.OWNED_TENANTS = 2
    client = Client()
    client.force_login(alice)

    def make(slug: str) -> str:
        return client.post("/accounts/tenants/new", {"name": "Other", "slug": slug}, follow=True).content.decode()

    assert "you own it" in make("second")
    assert "You own 2 tenants" in make("third")
    assert not Tenant.objects.filter(slug="third").exists()
    alice.is_staff = True
    alice.save()
    assert "you own it" in make("third")


def test_where_nobody_signs_up_only_operators_make_tenants(alice: User) -> None:
    client = Client()
    client.force_login(alice)
    assert client.post("/accounts/tenants/new", {"name": "Other", "slug": "other"}).status_code == 403
    alice.is_staff = True
    alice.save()
    assert client.post("/accounts/tenants/new", {"name": "Other", "slug": "other"}).status_code == 302


def test_a_person_without_a_tenant_is_told_what_to_do(db: None) -> None:
    client = Client()
    client.force_login(User.objects.create_user("new@acme.example"))
    assert "manage.py create_tenant my-team --owner new@acme.example" in client.get("/").content.decode()


def test_a_forgotten_password_is_replaced_by_the_mails_link(alice: User) -> None:
    client = Client()
    client.post("/accounts/password/reset/", {"email": ALICE})
    form = client.get(link_of_last_mail(), follow=True)
    action = form.redirect_chain[-1][0]
    client.post(action, {"password1": "other long password", "password2": "other long password"})
    assert log_in(Client(), "other long password") == "/"
    assert log_in(Client()) == ""


def test_a_changed_password_ends_the_other_sessions_and_is_told_by_mail(alice: User) -> None:
    here, there = Client(), Client()
    for client in (here, there):
        log_in(client)
    form = {"oldpassword": PASSWORD} | dict.fromkeys(("password1", "password2"), "other long password")
    here.post("/accounts/password/change/", form)
    assert "password has been changed" in str(mail.outbox[-1].body)
    assert here.get("/accounts/").status_code == 200
    assert there.get("/accounts/").status_code == 302


def test_another_e_mail_address_counts_once_its_link_was_opened(alice: User) -> None:
    client = Client()
    log_in(client)
    _again(client)
    client.post("/accounts/email/", {"email": "alice@new.example", "action_add": ""})
    alice.refresh_from_db()
    assert alice.email == ALICE
    client.post(link_of_last_mail())
    alice.refresh_from_db()
    assert alice.email == "alice@new.example"
    assert log_in(Client(), email="alice@new.example") == "/"


def _again(client: Client) -> None:
    """What touches an account's security asks once more who it is."""
    assert client.post("/accounts/reauthenticate/", {"password": PASSWORD}).status_code == 302


def _turn_on(client: Client) -> str:
    """A second factor; answers its secret."""
    _again(client)
    page = client.get("/accounts/2fa/totp/activate/").content.decode()
    found = re.search(r'id="secret">(\w+)<', page)
    assert found
    client.post("/accounts/2fa/totp/activate/", {"code": one_time_code(found[1])})
    return found[1]


def test_with_a_second_factor_the_password_alone_lets_nobody_in(alice: User) -> None:
    client = Client()
    log_in(client)
    _turn_on(client)
    other = Client()
    assert log_in(other) == "/accounts/2fa/authenticate/"
    assert other.get("/accounts/")["Location"].startswith("/accounts/login/")
    assert "Incorrect code" in other.post("/accounts/2fa/authenticate/", {"code": "000000"}).content.decode()


def test_recovery_codes_are_shown_once_and_each_lets_in_once(alice: User) -> None:
    client = Client()
    log_in(client)
    _turn_on(client)
    page = client.get("/accounts/2fa/recovery-codes/").content.decode()
    codes = re.findall(_CODE, page, re.MULTILINE)
    assert len(codes) == 10
    assert codes[0] not in client.get("/accounts/2fa/recovery-codes/").content.decode()
    answers = []
    for _ in range(2):
        other = Client()
        log_in(other)
        answers.append(other.post("/accounts/2fa/authenticate/", {"code": codes[0]}).status_code)
    assert answers == [302, 200]


def test_secrets_of_second_factors_are_encrypted_and_follow_the_keys(alice: User, settings: Settings) -> None:
    client = Client()
    log_in(client)
    secret = _turn_on(client)
    assert secret not in str(list(Authenticator.objects.values_list("data", flat=True)))
    new = Fernet.generate_key().decode()
    settings.ENCRYPTION_KEYS = [new, *settings.ENCRYPTION_KEYS]
    call_command("rotate_encryption", verbosity=0)
    settings.ENCRYPTION_KEYS = [new]
    page = client.get("/accounts/2fa/recovery-codes/").content.decode()
    assert len(re.findall(_CODE, page, re.MULTILINE)) == 10


def test_the_operators_pages_ask_for_the_second_factor_too(db: None) -> None:
    answer = Client().get("/operators/", follow=True)
    assert answer.redirect_chain[-1][0].startswith("/accounts/login/")


def test_sessions_elsewhere_are_ended(alice: User) -> None:
    here, there = Client(HTTP_USER_AGENT="Here"), Client(HTTP_USER_AGENT="There")
    for client in (here, there):
        log_in(client)
    page = here.get("/accounts/sessions/").content.decode()
    assert "Here" in page and "There" in page
    here.post("/accounts/sessions/")
    assert there.get("/accounts/").status_code == 302
    assert here.get("/accounts/").status_code == 200


def test_a_person_has_a_name(alice: User) -> None:
    client = Client()
    client.force_login(alice)
    client.post("/accounts/", {"name": "Alice Liddell"})
    alice.refresh_from_db()
    assert alice.name == "Alice Liddell"


def test_a_tenant_made_by_command_is_its_owners_at_the_console(db: None) -> None:
    services.create_tenant("hooli", "", "gavin@hooli.example", PASSWORD)
    client = Client()
    assert log_in(client, email="gavin@hooli.example") == "/"


def test_behind_a_proxy_the_proxys_word_says_where_a_request_comes_from(alice: User, settings: Settings) -> None:
    settings.BEHIND_PROXY = True
    client = Client(HTTP_X_FORWARDED_FOR="198.51.100.9, 203.0.113.7")
    log_in(client)
    assert "203.0.113.7" in client.get("/accounts/sessions/").content.decode()
    nonsense = Client(HTTP_X_FORWARDED_FOR="nonsense")
    log_in(nonsense)
    assert "127.0.0.1" in nonsense.get("/accounts/sessions/").content.decode()


def test_while_the_cache_is_away_nobody_logs_in_and_who_is_in_goes_on(alice: User, settings: Settings) -> None:
    inside = Client()
    log_in(inside)
    away = {"LOCATION": f"redis://127.0.0.1:{free_port()}/0"}
    settings.CACHES = {"default": settings.CACHES["default"] | away}
    answer = Client().post("/accounts/login/", {"login": ALICE, "password": PASSWORD})
    assert answer.status_code == 429
    assert inside.get("/accounts/").status_code == 200
