"""Forms of the accounts and keys pages."""

from datetime import UTC, datetime, timedelta
from typing import Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm

from tenants.models import ApiKey
from tenants.rights import SCOPES

_NO_END = "0"
_LIVES = {"7": "7 days", "30": "30 days", "90": "90 days", "365": "1 year", _NO_END: "It does not expire"}


class LoginForm(AuthenticationForm):
    error_messages = {
        "invalid_login": "There is no account with this e-mail address and password.",
        "inactive": "This account is not active: ask the operators.",
    }

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.fields["username"].label = "E-mail address"
        self.fields["username"].widget = forms.EmailInput(attrs={"autofocus": True, "autocomplete": "username"})


class PasswordForm(PasswordChangeForm):
    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.fields["old_password"].widget.attrs.pop("autofocus", None)
        self.fields["new_password1"].help_text = "At least 10 characters, and not a common password."
        self.fields["new_password2"].help_text = ""


class KeyForm(forms.Form):
    """A new API key."""

    name = forms.CharField(
        max_length=100, help_text="Where it will be used, so that you recognise it: billing service."
    )
    mode = forms.ChoiceField(
        choices=[("test", "Test"), ("live", "Live")],
        initial="test",
        widget=forms.RadioSelect,
        help_text="Test keys send to the sandbox: nothing reaches a real phone or mailbox.",
    )
    scopes = forms.MultipleChoiceField(
        choices=[(scope, scope) for scope in SCOPES],
        initial=["messages:send", "messages:read"],
        widget=forms.CheckboxSelectMultiple,
        help_text="Give it what it needs and no more. admin includes all the others.",
        error_messages={"required": "Choose at least one scope."},
    )
    life = forms.ChoiceField(label="Expires after", choices=list(_LIVES.items()), initial="90")

    def clean_mode(self) -> str:
        return ApiKey.Mode(self.cleaned_data["mode"]).value

    def expires_at(self) -> datetime | None:
        """When a key of this valid form expires."""
        life = self.cleaned_data["life"]
        return None if life == _NO_END else datetime.now(UTC) + timedelta(days=int(life))
