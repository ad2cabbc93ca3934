"""Django-allauth's forms in the console's words."""

from collections.abc import Mapping
from typing import Any, ClassVar

from allauth.account import forms as account
from allauth.core import context
from allauth.mfa.base import forms as mfa
from allauth.mfa.totp import forms as totp
from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest

from tenants import invitations
from tenants.adapters import vouch
from tenants.forms import NameField
from tenants.models import User

_ADDRESS = "E-mail address"
_PASSWORD_HELP = "At least 10 characters, and not a common password."
_CODE = "Code from your authenticator app"


class InOurWords:
    """Labels and help for fields by name; no placeholders, which vanish when one types."""

    words: ClassVar[Mapping[str, str]] = {}
    help: ClassVar[Mapping[str, str]] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        fields: Mapping[str, forms.Field] = self.fields  # type: ignore[attr-defined]
        for name, field in fields.items():
            field.widget.attrs.pop("placeholder", None)
            field.label = self.words.get(name, field.label)
            field.help_text = self.help.get(name, "")


class LoginForm(InOurWords, account.LoginForm):
    words = {"login": _ADDRESS, "password": "Password"}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["login"].widget.attrs |= {"autofocus": True, "autocomplete": "username"}


class SignupForm(InOurWords, account.SignupForm):
    name = NameField(label="Your name", max_length=200, widget=forms.TextInput(attrs={"autocomplete": "name"}))

    words = {"email": _ADDRESS, "password1": "Password"}
    help = {"password1": _PASSWORD_HELP}
    field_order = ["name", "email", "password1"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._invitation = invitations.remembered(context.request)
        if self._invitation:
            self.fields["email"].initial = self._invitation.email

    def clean_email(self) -> str:
        """Where nobody may sign up, the invited one may, and as nobody else."""
        email = str(super().clean_email())
        if not settings.SIGNUP and (self._invitation is None or email != self._invitation.email):
            raise ValidationError("The invitation is for another address: sign up with the one that it was mailed to.")
        return email

    def save(self, request: HttpRequest) -> User:
        """Never a person without an address to confirm: that is what operators make."""
        with transaction.atomic():
            user: User = super().save(request)
        return user

    def custom_signup(self, request: HttpRequest, user: User) -> None:
        user.name = self.cleaned_data["name"]
        user.save(update_fields=["name"])


class AddressForm(InOurWords, account.AddEmailForm):
    words = {"email": "New e-mail address"}
    help = {"email": "It counts once you have opened the link that we mail to it."}


class PasswordForm(InOurWords, account.ChangePasswordForm):
    words = {"oldpassword": "Your password now", "password1": "New password", "password2": "New password, once more"}
    help = {"password1": _PASSWORD_HELP}


class ForgottenForm(InOurWords, account.ResetPasswordForm):
    words = {"email": _ADDRESS}

    def clean_email(self) -> str:
        if not settings.SENDS_MAIL:
            raise ValidationError("This installation sends no mail: ask its operators for a new password.")
        email = str(super().clean_email())
        for user in self.users:
            vouch(user)
        return email


class NewPasswordForm(InOurWords, account.ResetPasswordKeyForm):
    words = {"password1": "New password", "password2": "New password, once more"}
    help = {"password1": _PASSWORD_HELP}


class ReauthenticateForm(InOurWords, account.ReauthenticateForm):
    words = {"password": "Password"}


class SecondFactorForm(InOurWords, mfa.AuthenticateForm):
    words = {"code": "Code"}
    help = {"code": "From your authenticator app, or one of your recovery codes."}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["code"].widget.attrs |= {"autofocus": True, "inputmode": "numeric"}


class SecondFactorAgainForm(InOurWords, mfa.ReauthenticateForm):
    words = SecondFactorForm.words
    help = SecondFactorForm.help


class AuthenticatorForm(InOurWords, totp.ActivateTOTPForm):
    words = {"code": _CODE}
