"""What django-allauth asks of a project: who may sign up, how links and mails leave, how secrets are kept."""

from typing import Any

import structlog
from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.models import EmailAddress
from allauth.core import context
from allauth.mfa.adapter import DefaultMFAAdapter
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest
from django.urls import reverse

from tenants import console, encryption, invitations
from tenants.models import User

log = structlog.get_logger(__name__)


def vouch(user: User) -> None:
    """Whoever signs up has an address to verify. One without was made by an operator, whose word is enough."""
    if not EmailAddress.objects.filter(user=user).exists():
        EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)


class AccountAdapter(DefaultAccountAdapter):
    """https://docs.allauth.org/en/latest/account/adapter.html"""

    error_messages = DefaultAccountAdapter.error_messages | {
        "email_password_mismatch": "There is no account with this e-mail address and password.",
        "too_many_login_attempts": "Too many attempts with this e-mail address: try again in 15 minutes.",
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """With an invitation also where nobody else may."""
        return bool(settings.SIGNUP) or invitations.remembered(request) is not None

    def is_email_verified(self, request: HttpRequest, email: str) -> bool:
        """An invitation's link was mailed to the address, and here it was opened."""
        invitation = invitations.remembered(request)
        return invitation is not None and invitation.email == email.lower()

    def pre_login(self, request: HttpRequest, user: User, **details: Any) -> Any:
        vouch(user)
        return super().pre_login(request, user, **details)

    def get_email_confirmation_url(self, request: HttpRequest, emailconfirmation: Any) -> str:
        return settings.PUBLIC_URL + reverse("account_confirm_email", args=[emailconfirmation.key])

    def get_reset_password_from_key_url(self, key: str) -> str:
        """key is uidb36-token, as allauth's own view takes it."""
        uid, _, token = key.partition("-")
        return settings.PUBLIC_URL + reverse("account_reset_password_from_key", kwargs={"uidb36": uid, "key": token})

    def send_mail(self, template_prefix: str, email: str, context_: dict[str, Any]) -> None:
        """A mail server that is away costs the mail, not the request; the person is told."""
        links = {
            "console_url": settings.PUBLIC_URL,
            "signup_url": settings.PUBLIC_URL + reverse("account_signup") if settings.SIGNUP else "",
            "password_reset_url": settings.PUBLIC_URL + reverse("account_reset_password"),
        }
        given = {name: value for name, value in context_.items() if name != "signup_url"}
        try:
            super().send_mail(template_prefix, email, links | given)
        except OSError as error:
            log.warning("a mail was not sent", mail=template_prefix, error=type(error).__name__)
            messages.error(context.request, "The mail server did not take our mail: try again in a few minutes.")

    def get_client_ip(self, request: HttpRequest) -> str:
        return console.ip_of(request) or super().get_client_ip(request)


class SecondFactorAdapter(DefaultMFAAdapter):
    """Secrets of second factors are encrypted at rest, as all others are."""

    def encrypt(self, text: str) -> str:
        return encryption.encrypt({"secret": text})

    def decrypt(self, encrypted_text: str) -> str:
        return str(encryption.decrypt(encrypted_text)["secret"])
