"""Forms of the console's pages about a tenant, its people and its keys."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError

from tenants.models import MOST_RETENTION, ApiKey, Tenant, one_line
from tenants.rights import ROLES, SCOPES, may_give, may_make_key

_NO_END = "0"
_LIVES = {"7": "7 days", "30": "30 days", "90": "90 days", "365": "1 year", _NO_END: "It does not expire"}
_OVERLAPS = {"0": "At once", "1": "In an hour", "24": "In a day", "168": "In a week", "720": "In 30 days"}
"""Hours that a replaced key goes on."""
ROLE_MEANINGS = {
    "viewer": "sees everything, changes nothing",
    "developer": "also sends, makes keys and webhooks",
    "admin": "also sets up channels, members and this tenant",
    "owner": "also deletes it",
}


class NameField(forms.CharField):
    """What a person, a tenant or a key is called."""

    default_validators = [one_line]


class NameForm(forms.Form):
    name = NameField(
        label="Your name", max_length=200, required=False, widget=forms.TextInput(attrs={"autocomplete": "name"})
    )


class NewTenantForm(forms.Form):
    name = NameField(max_length=200, help_text="Your organisation or team, as people call it.")
    slug = forms.CharField(
        max_length=40,
        help_text="In addresses and in the API: 2 to 40 lower-case letters, digits and hyphens. It never changes.",
    )


class TenantForm(forms.Form):
    """A tenant's own settings. It may keep things shorter than the operators say, and longer where they did say so."""

    name = NameField(max_length=200)
    retention_days = forms.IntegerField(
        label="Retention in days", required=False, min_value=1, max_value=MOST_RETENTION
    )
    confirm = forms.BooleanField(label="Remove at once, for ever, what is older than the shorter time", required=False)

    def __init__(self, tenant: Tenant, data: Any = None) -> None:
        super().__init__(data, initial={"name": tenant.name, "retention_days": tenant.retention_days or None})
        self.before = settings.RETENTION_DAYS if tenant.retention_days is None else tenant.retention_days
        self.most = 0 if 0 in (self.before, settings.RETENTION_DAYS) else max(self.before, settings.RETENTION_DAYS)
        default = f"{settings.RETENTION_DAYS} days" if settings.RETENTION_DAYS else "for ever"
        kept = "How long messages and deliveries are kept after their end."
        self.fields["retention_days"].help_text = f"{kept} Empty: as the operators say, {default}."
        self.stored = tenant.retention_days

    def clean_retention_days(self) -> int | None:
        days: int | None = self.cleaned_data["retention_days"]
        if days is not None and self.most and days > self.most:
            raise ValidationError(f"At most {self.most}: ask the operators for more.")
        if days is None and self.stored == 0:
            return 0
        return days

    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        if "retention_days" not in values:
            return values
        days = settings.RETENTION_DAYS if values["retention_days"] is None else values["retention_days"]
        shorter = days != 0 and (self.before == 0 or days < self.before)
        if shorter and not values.get("confirm"):
            self.add_error("confirm", "Shorter than now: tick this to say that older messages may go.")
        return values


class RoleForm(forms.Form):
    """Which role; those that the giver may give."""

    explained = False
    role = forms.ChoiceField()

    def __init__(self, giver: str, data: Any = None, initial: str = "viewer", auto_id: str = "id_%s") -> None:
        super().__init__(data, initial={"role": initial}, auto_id=auto_id)
        self.fields["role"] = forms.ChoiceField(
            choices=[
                (role, f"{role}: {ROLE_MEANINGS[role]}" if self.explained else role)
                for role in ROLES
                if may_give(giver, role)
            ]
        )


class InvitationForm(RoleForm):
    explained = True
    email = forms.EmailField(label="E-mail address", widget=forms.EmailInput(attrs={"autocomplete": "off"}))

    field_order = ["email", "role"]


class AuditFilter(forms.Form):
    """Whose entries, and which."""

    by = forms.ChoiceField(label="Who", required=False)
    action = forms.ChoiceField(label="What", required=False)

    def __init__(self, data: Any, people: Iterable[str], actions: Iterable[str]) -> None:
        super().__init__(data)
        self.fields["by"] = forms.ChoiceField(
            label="Who", required=False, choices=[("", "Anybody"), *((name, name) for name in people)]
        )
        self.fields["action"] = forms.ChoiceField(
            label="What", required=False, choices=[("", "Anything"), *((name, name) for name in actions)]
        )


class SlugForm(forms.Form):
    """The slug, typed to confirm what cannot be undone."""

    slug = forms.CharField(label="Slug", widget=forms.TextInput(attrs={"autocomplete": "off"}))


class KeyForm(forms.Form):
    """A new API key, with scopes that its maker's role may give."""

    name = NameField(max_length=100, help_text="Where it will be used, so that you recognise it: billing service.")
    mode = forms.ChoiceField(
        choices=[("test", "Test"), ("live", "Live")],
        initial="test",
        widget=forms.RadioSelect,
        help_text="Test keys send to the sandbox: nothing reaches a real phone or mailbox.",
    )
    scopes = forms.MultipleChoiceField(
        initial=["messages:send", "messages:read"],
        widget=forms.CheckboxSelectMultiple,
        help_text="Give it what it needs and no more. admin includes all the others, and only admins can give it.",
        error_messages={"required": "Choose at least one scope."},
    )
    life = forms.ChoiceField(label="Expires after", choices=list(_LIVES.items()), initial="90")

    def __init__(self, maker: str, data: Any = None) -> None:
        super().__init__(data)
        scopes = self.fields["scopes"]
        assert isinstance(scopes, forms.MultipleChoiceField)
        scopes.choices = [(scope, scope) for scope in SCOPES if may_make_key(maker, [scope])]

    def clean_mode(self) -> str:
        return ApiKey.Mode(self.cleaned_data["mode"]).value

    def expires_at(self) -> datetime | None:
        """When a key of this valid form expires."""
        life = self.cleaned_data["life"]
        return None if life == _NO_END else datetime.now(UTC) + timedelta(days=int(life))


class KeyRotationForm(forms.Form):
    """How long the old key goes on."""

    overlap = forms.TypedChoiceField(
        label="The old key ends",
        choices=list(_OVERLAPS.items()),
        initial="24",
        widget=forms.RadioSelect,
        coerce=lambda hours: timedelta(hours=int(hours)),
        help_text="Until then both are taken: change your application in the meantime.",
    )
