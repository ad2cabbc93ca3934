"""What a message may say for one channel alone, as form fields: made from the channel's own Content."""

import json
from collections.abc import Mapping
from typing import Any

from django import forms
from rest_framework import serializers

from messaging.channels import registry
from messaging.channels.base import Channel
from messaging.forms import LongText
from sprayer_project import json_text

_MORE = {"rows": 3, "class": "mono", "spellcheck": "false"}


class JsonField(forms.CharField):
    """JSON, or a plain word where no bracket begins it; None for nothing."""

    def __init__(self, **options: Any):
        super().__init__(widget=forms.Textarea(attrs=_MORE), **options)

    def prepare_value(self, value: Any) -> Any:
        return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    def clean(self, value: Any) -> Any:
        text = str(super().clean(self.prepare_value(value))).strip()
        if not text:
            return None
        try:
            return json_text.parse(text)
        except ValueError as error:
            if text[0] in '{["':
                raise forms.ValidationError(f"This is not JSON: {error}") from error
            return text


def fields() -> dict[str, forms.Field]:
    """One field for each of every channel's Content, by name_of."""
    return {
        name_of(name, said): _field(field)
        for name, channel in registry().items()
        for said, field in _content(channel).items()
    }


def name_of(channel: str, field: str) -> str:
    return f"override-{channel}-{field}"


def names_of(channel: Channel) -> list[str]:
    """The names of a channel's form fields."""
    return [name_of(channel.name, field) for field in _content(channel)]


def given(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The overrides of a message, of cleaned values: what is empty is not said."""
    found: dict[str, dict[str, Any]] = {}
    for name, channel in registry().items():
        said = {field: values.get(name_of(name, field)) for field in _content(channel)}
        if kept := {field: value for field, value in said.items() if value not in (None, "")}:
            found[name] = kept
    return found


def initial(overrides: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the fields show of a message's overrides."""
    return {
        name_of(channel, field): json.dumps(value) if isinstance(value, bool) else value
        for channel, said in overrides.items()
        for field, value in said.items()
    }


def _content(channel: Channel) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
    return dict(channel.Content().fields)


def _field(field: serializers.Field[Any, Any, Any, Any]) -> forms.Field:
    said: dict[str, Any] = {
        "required": False,
        "label": field.label or str(field.field_name).replace("_", " ").capitalize(),
        "help_text": field.help_text or "",
    }
    match field:
        case serializers.BooleanField():
            return forms.TypedChoiceField(choices=[("", "—"), ("true", "Yes"), ("false", "No")], coerce=_truth, **said)
        case serializers.ChoiceField():
            return forms.ChoiceField(choices=[("", "—"), *field.choices.items()], **said)
        case serializers.IntegerField():
            return forms.IntegerField(**said)
        case serializers.FloatField():
            return forms.FloatField(**said)
        case serializers.CharField():
            return LongText(**said) if field.style.get("base_template") else forms.CharField(strip=False, **said)
    return JsonField(**{**said, "help_text": said["help_text"] or "As JSON."})


def _truth(word: str) -> bool:
    return word == "true"
