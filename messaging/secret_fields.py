"""Which fields of a channel's Config are write-only."""

from typing import Any

from django import forms


class SecretText(forms.Textarea):
    """For a secret of several lines, such as a key file: like forms.PasswordInput, it never shows what it holds."""

    def format_value(self, value: Any) -> None:
        return None


def secret_fields(config: type[forms.Form]) -> frozenset[str]:
    """The fields of a Config that are write-only: those whose widget is a forms.PasswordInput or a SecretText.

    Once stored, such a value is never shown; left empty in the form, it stays. One that the form itself makes where
    none is given is shown once, after saving.
    """
    widgets = {name: field.widget for name, field in config.base_fields.items()}
    return frozenset(name for name, widget in widgets.items() if isinstance(widget, forms.PasswordInput | SecretText))
