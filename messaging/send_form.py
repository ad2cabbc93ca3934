"""A message as people write it: everything that POST /api/v1/messages takes."""

import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.forms import BoundField

from messaging import channels, override_fields
from messaging.forms import LongText, in_zone, time_field, zone_field
from messaging.override_fields import JsonField
from messaging.selectors import MessageRow
from messaging.serializers import MAX_TTL
from subscriptions.addresses import written

_NAMES = {"rows": 2, "spellcheck": "false"}


def _lines(label: str, help_text: str) -> LongText:
    return LongText(required=False, label=label, help_text=help_text, widget=forms.Textarea(attrs=_NAMES))


@dataclass(frozen=True, slots=True)
class Override:
    """A channel's own fields on the page."""

    name: str
    label: str
    fields: list[BoundField]
    in_use: bool


class SendForm(forms.Form):
    """A message to receivers, groups and plain addresses, with all that it may say."""

    mode = forms.ChoiceField(
        choices=[("test", "Test"), ("live", "Live")],
        initial="test",
        widget=forms.RadioSelect,
        help_text="Test messages go to the sandbox. Live ones reach people.",
    )
    receivers = _lines("Receivers", "One name a line.")
    groups = _lines("Groups", "One name a line.")
    address_channel = forms.ChoiceField(required=False, label="Channel of the addresses")
    addresses = _lines("Plain addresses", "One a line, as +34600000001, a mailbox or a URL. No receiver is needed.")
    channels = forms.MultipleChoiceField(
        required=False, widget=forms.CheckboxSelectMultiple, help_text="None chosen: every channel that the target has."
    )
    title = forms.CharField(required=False, max_length=1_000)
    body = LongText(required=False)
    type = forms.CharField(required=False, max_length=100, help_text="Your own word for this kind: score.changed.")
    json_data = JsonField(required=False, label="JSON data", help_text='For your own code: {"match": 17}')
    ttl = forms.IntegerField(
        required=False, min_value=1, max_value=MAX_TTL, label="Time to live", help_text="Seconds; empty: a day, 86400."
    )
    send_at = time_field("Send at", help_text="In your own time zone. Empty: now.")
    priority = forms.ChoiceField(required=False, choices=[("normal", "Normal"), ("high", "High")])
    collapse_key = forms.CharField(
        required=False, max_length=64, help_text="A newer message with this key replaces what is not yet sent of it."
    )
    metadata = JsonField(required=False, help_text='Echoed in events: {"order": "17"}')
    attributes = JsonField(required=False, help_text='For filters: {"league": "second"}')
    again = forms.CharField(required=False, max_length=64, widget=forms.HiddenInput)
    same_addresses = forms.BooleanField(required=False, label="The same plain addresses as before")
    """Those of the message `again`, which are known masked alone."""
    zone = zone_field()
    idempotency_key = forms.CharField(
        max_length=64, widget=forms.HiddenInput, initial=lambda: f"console-{uuid.uuid4()}"
    )

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.fields.update(override_fields.fields())
        known = channels.registry()
        named = [(name, channel.label) for name, channel in known.items()]
        addressed = [(name, channel.label) for name, channel in known.items() if channel.needs_address]
        for field, choices in (("channels", named), ("address_channel", addressed)):
            choice_field = self.fields[field]
            assert isinstance(choice_field, forms.ChoiceField)
            choice_field.choices = choices

    def clean_addresses(self) -> list[Any]:
        """A browser's subscription is written as JSON."""
        lines = _names(self.cleaned_data["addresses"])
        try:
            return [written(line) for line in lines]
        except ValueError as error:
            raise forms.ValidationError(f"This is not JSON: {error}") from error

    def overrides(self) -> Iterator[Override]:
        """Each channel's own fields; a channel without any is left out."""
        for name, channel in channels.registry().items():
            if fields := [self[field] for field in override_fields.names_of(channel)]:
                yield Override(
                    name,
                    channel.label,
                    fields,
                    any(field.errors or field.value() not in (None, "") for field in fields),
                )

    @property
    def timing(self) -> list[BoundField]:
        return [self[name] for name in ("send_at", "ttl", "priority", "collapse_key")]

    @property
    def repeated(self) -> str:
        """Of a valid form the message whose plain addresses go along; else empty."""
        return str(self.cleaned_data["again"]) if self.cleaned_data["same_addresses"] else ""

    def message(self, earlier: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
        """The body that POST /messages takes, of this valid form; what is empty is left out.

        earlier: the plain addresses of the message `repeated`.
        """
        values = self.cleaned_data
        to: dict[str, list[Any]] = {name: _names(values[name]) for name in ("receivers", "groups")}
        plain = [{"channel": values["address_channel"], "address": address} for address in values["addresses"]]
        content = {name: values[name] for name in ("type", "title", "body") if values[name]}
        if values["json_data"] is not None:
            content["data"] = values["json_data"]
        body: dict[str, Any] = {
            "to": {name: names for name, names in {**to, "addresses": [*earlier, *plain]}.items() if names},
            "channels": values["channels"],
            "content": content,
            "overrides": override_fields.given(values),
            "ttl": values["ttl"],
            "send_at": in_zone(values["send_at"], values["zone"]).isoformat() if values["send_at"] else None,
            "priority": values["priority"] if values["priority"] != "normal" else None,
        }
        body |= {name: values[name] for name in ("collapse_key", "metadata", "attributes")}
        return {name: value for name, value in body.items() if value or name in ("to", "content")}

    def key(self, body: Mapping[str, Any]) -> str:
        """The same form sent twice is one message; changed in between, it is another."""
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        return f"console-{self.cleaned_data['idempotency_key']}-{digest[:32]}"

    def refuse(self, problem: Mapping[str, Any]) -> None:
        """Put a problem document's pointers at the fields that they are about."""
        errors = problem.get("errors", ())
        for error in errors:
            field = self._field_of(error["pointer"])
            said = error["detail"] if field or not error["pointer"] else f"{error['pointer']}: {error['detail']}"
            self.add_error(field, said)
        if not errors:
            self.add_error(None, problem["detail"])

    def _field_of(self, pointer: str) -> str | None:
        match pointer.split("/")[1:]:
            case ["to", ("receivers" | "groups") as name, *_]:
                return name
            case ["to", "addresses", _, "channel"]:
                return "address_channel"
            case ["to", "addresses", *_]:
                return "addresses"
            case ["to"]:
                return "receivers"
            case ["content", "data", *_]:
                return "json_data"
            case ["overrides", channel, field, *_] if override_fields.name_of(channel, field) in self.fields:
                return override_fields.name_of(channel, field)
            case [name, *_] if name in self.fields:
                return name
            case ["content", name, *_] if name in self.fields:
                return name
        return None


def initial_of(row: MessageRow) -> dict[str, Any]:
    """What the form shows so as to send a message once more, now."""
    return {
        "again": row.id,
        "same_addresses": bool(row.to["addresses"]),
        "mode": row.mode,
        "receivers": "\n".join(row.to["receivers"]),
        "groups": "\n".join(row.to["groups"]),
        "channels": row.channels,
        "json_data": json.dumps(row.content["data"], ensure_ascii=False) if "data" in row.content else None,
        "metadata": row.metadata or None,
        "attributes": row.attributes or None,
        **{name: row.content.get(name) for name in ("type", "title", "body")},
        **{name: getattr(row, name) for name in ("ttl", "priority", "collapse_key")},
        **override_fields.initial(row.overrides),
    }


def _names(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]
