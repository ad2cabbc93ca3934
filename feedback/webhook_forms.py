"""Forms of the console's webhook pages."""

from datetime import timedelta
from typing import Any

from django import forms

from feedback import webhooks
from feedback.webhook_events import EVERY, PATTERNS
from sprayer_project.errors import Invalid
from sprayer_project.webhook_urls import MAX_URL

_OVERLAPS = {"86400": "1 day", "3600": "1 hour", "604800": "7 days", "0": "None: the old one ends now"}


class WebhookForm(forms.Form):
    """Where the events of an existing webhook go, and which ones."""

    url = forms.CharField(
        label="URL", max_length=MAX_URL, help_text="Yours, at a public address: https://hooks.example.com/sprayer"
    )
    events = forms.MultipleChoiceField(
        choices=[
            (pattern, "everything" if pattern == EVERY else pattern.removeprefix("delivery.")) for pattern in PATTERNS
        ],
        initial=[EVERY],
        widget=forms.CheckboxSelectMultiple,
        help_text="What shall be posted there. Events of connections and addresses come in bodies of their own.",
        error_messages={"required": "Choose at least one."},
    )

    def clean_url(self) -> str:
        try:
            return webhooks.checked_url(self.cleaned_data["url"])
        except Invalid as error:
            raise forms.ValidationError(error.detail) from error


class NewWebhookForm(WebhookForm):
    mode = forms.ChoiceField(
        choices=[("live", "Live"), ("test", "Test")],
        initial="live",
        widget=forms.RadioSelect,
        help_text="Whose events: those of live or of test messages. Both are posted to your URL.",
    )


class RotationForm(forms.Form):
    overlap = forms.ChoiceField(label="The old secret signs as well for", choices=list(_OVERLAPS.items()))

    def clean_overlap(self) -> timedelta:
        return timedelta(seconds=int(self.cleaned_data["overlap"]))


def values_of(form: WebhookForm) -> dict[str, Any]:
    """What a valid form changes of a webhook."""
    return {name: form.cleaned_data[name] for name in ("url", "events")}
