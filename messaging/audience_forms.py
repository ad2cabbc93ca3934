"""Forms of the console about receivers and groups."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from django import forms

from messaging import channels
from messaging.channel_forms import address_of
from sprayer_project import json_text
from sprayer_project.errors import SprayerError
from subscriptions.inputs import AddressInput
from subscriptions.reaching import ReceiverRow


def labels(only_addressed: bool = False) -> list[tuple[str, str]]:
    """(name, label) of channels."""
    found = channels.registry().items()
    return [(name, channel.label) for name, channel in found if channel.needs_address or not only_addressed]


def address_input(channel: str, text: str) -> AddressInput:
    """A Web Push subscription is an object, written as JSON; a channel that wants text refuses an object."""
    return AddressInput(channel, address_of(text))


class AddressForm(forms.Form):
    channel = forms.ChoiceField()
    address = forms.CharField(max_length=4_096, help_text="As +34600000001, a mailbox, a URL or a token.")

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.auto_id = "address_%s"
        self.fields["channel"] = forms.ChoiceField(choices=labels(only_addressed=True))
        self.order_fields(["channel", "address"])

    def value(self) -> AddressInput:
        return address_input(self.cleaned_data["channel"], self.cleaned_data["address"])


class ReceiverForm(forms.Form):
    """A receiver without its addresses; with a name field where it is new."""

    name = forms.CharField(
        max_length=256, strip=False, help_text="Your own name for it, such as the id of a user: 1 to 256 bytes."
    )
    locale = forms.CharField(required=False, max_length=40, help_text="A language tag such as es or pt-BR.")
    timezone = forms.CharField(required=False, max_length=64, help_text="An IANA name such as Europe/Madrid.")
    attributes = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 4, "class": "mono", "spellcheck": "false"}),
        help_text='A JSON object of your own, for filters: {"league": "second"}',
    )

    def __init__(self, row: ReceiverRow | None, data: Mapping[str, Any] | None):
        kept = json.dumps(row.attributes, indent=2, ensure_ascii=False) if row and row.attributes else ""
        initial = {"locale": row.locale, "timezone": row.timezone, "attributes": kept} if row else {}
        super().__init__(data, initial=initial)
        if row:
            del self.fields["name"]

    def clean_attributes(self) -> dict[str, Any]:
        raw = self.cleaned_data["attributes"].strip()
        try:
            found = json_text.parse(raw) if raw else {}
        except ValueError as error:
            raise forms.ValidationError(f"This is not JSON: {error}") from error
        if not isinstance(found, dict):
            raise forms.ValidationError("Attributes are one JSON object.")
        return found

    def values(self) -> dict[str, Any]:
        """Arguments of the services, of this valid form."""
        texts = {name: self.cleaned_data[name] or None for name in ("locale", "timezone")}
        return texts | {"attributes": self.cleaned_data["attributes"]}


class GroupForm(forms.Form):
    """A group; with a name field where it is new."""

    name = forms.CharField(max_length=256, strip=False, help_text="What messages name it by: 1 to 256 bytes.")
    title = forms.CharField(required=False, max_length=256, help_text="What people call it.")
    channels = forms.MultipleChoiceField(
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="The only channels on which it reaches its members. None chosen: every channel.",
    )

    def __init__(self, *args: Any, new: bool, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.fields["channels"].choices = labels()  # type: ignore[attr-defined]
        if not new:
            del self.fields["name"]


class SubscriptionForm(forms.Form):
    """One more subscription: of a receiver to a group, or of a group for a receiver."""

    other = forms.CharField(max_length=256, strip=False)
    channels = forms.MultipleChoiceField(
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="None chosen: every channel that the receiver has.",
    )

    def __init__(self, label: str, choices: Sequence[str] | None, data: Mapping[str, Any] | None = None):
        super().__init__(data, auto_id="subscription_%s")
        self.fields["other"].label = label
        known = [(name, text) for name, text in labels() if choices is None or name in choices]
        self.fields["channels"].choices = known  # type: ignore[attr-defined]

    def chosen(self) -> list[str] | None:
        return self.cleaned_data["channels"] or None


def refuse(form: forms.Form, error: SprayerError, fields: Mapping[str, str] | None = None) -> None:
    """Put what a service refused at the field that its pointer names, by the pointer's first part."""
    for found in error.errors:
        name = found.pointer.strip("/").partition("/")[0]
        name = (fields or {}).get(name, name)
        form.add_error(name if name in form.fields else None, found.detail)
    if not error.errors:
        form.add_error(None, error.detail)
