"""Forms of the console: filters of the lists, and a message to send."""

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django import forms
from django.http import QueryDict

from feedback.events import Status
from messaging import channels, selectors

_LOCAL_TIME = "%Y-%m-%dT%H:%M"


def _choices(every: str, names: Sequence[str]) -> list[tuple[str, str]]:
    return [("", every), *((name, name) for name in names)]


def _time_field(label: str) -> forms.DateTimeField:
    widget = forms.DateTimeInput(attrs={"type": "datetime-local"}, format=_LOCAL_TIME)
    return forms.DateTimeField(required=False, label=label, widget=widget)


class MessageFilter(forms.Form):
    """What the list of messages shows. Times are in `zone`, which console.js fills with the viewer's own."""

    mode = forms.ChoiceField(required=False, choices=_choices("Live and test", ("live", "test")))
    status = forms.ChoiceField(required=False, choices=_choices("Any status", selectors.STATUSES))
    channel = forms.ChoiceField(required=False)
    receiver = forms.CharField(required=False, max_length=256)
    group = forms.CharField(required=False, max_length=256)
    since = _time_field("From")
    until = _time_field("Until")
    zone = forms.CharField(required=False, max_length=60, widget=forms.HiddenInput(attrs={"data-zone": True}))

    def __init__(self, asked: QueryDict):
        super().__init__(asked, auto_id="filter_%s")
        names = list(channels.registry())
        self.fields["channel"] = forms.ChoiceField(required=False, choices=_choices("Any channel", names))
        self.order_fields(["mode", "status", "channel", "receiver", "group", "since", "until", "zone"])

    def values(self) -> dict[str, Any]:
        """Arguments of selectors.messages; a filter that is not understood does not filter."""
        self.is_valid()
        found = {name: value for name, value in self.cleaned_data.items() if value and name != "zone"}
        zone = _zone(self.cleaned_data.get("zone", ""))
        for name in ("since", "until"):
            if at := found.get(name):
                found[name] = at.replace(tzinfo=zone).astimezone(UTC)
        return {"mode": None} | found

    @property
    def in_use(self) -> bool:
        return any(self.values().values())


class DeliveryFilter(forms.Form):
    """What the list of a message's deliveries shows."""

    status = forms.ChoiceField(required=False, choices=_choices("Any status", list(Status)))
    channel = forms.ChoiceField(required=False)
    receiver = forms.CharField(required=False, max_length=256)

    def __init__(self, asked: QueryDict, names: Sequence[str]):
        super().__init__(asked, auto_id="filter_%s")
        self.fields["channel"] = forms.ChoiceField(required=False, choices=_choices("Any channel", names))

    def values(self) -> dict[str, Any]:
        """Fields of feedback.search.Wanted."""
        self.is_valid()
        return {name: value for name, value in self.cleaned_data.items() if value}


class SendForm(forms.Form):
    """A message to one receiver, group or plain address."""

    RECEIVER, GROUP, ADDRESS = "receiver", "group", "address"

    mode = forms.ChoiceField(
        choices=[("test", "Test"), ("live", "Live")],
        initial="test",
        widget=forms.RadioSelect,
        help_text="Test messages go to the sandbox. Live ones reach people.",
    )
    target = forms.ChoiceField(
        label="To",
        choices=[(RECEIVER, "A receiver"), (GROUP, "A group"), (ADDRESS, "A plain address")],
        initial=RECEIVER,
        widget=forms.RadioSelect(attrs={"data-shows": True}),
    )
    receiver = forms.CharField(required=False, max_length=256)
    group = forms.CharField(required=False, max_length=256)
    address_channel = forms.ChoiceField(required=False, label="Channel of the address")
    address = forms.CharField(required=False, max_length=4_096, help_text="As +34600000001, a mailbox or a URL.")
    channels = forms.MultipleChoiceField(
        required=False, widget=forms.CheckboxSelectMultiple, help_text="None chosen: every channel that the target has."
    )
    title = forms.CharField(required=False, max_length=1_000)
    body = forms.CharField(required=False, widget=forms.Textarea(attrs={"rows": 4}))
    type = forms.CharField(required=False, max_length=100, help_text="Your own word for this kind: score.changed.")
    json_data = forms.CharField(
        required=False,
        label="JSON data",
        widget=forms.Textarea(attrs={"rows": 4, "class": "mono", "spellcheck": "false"}),
        help_text='For your own code: {"match": 17}',
    )
    idempotency_key = forms.CharField(
        max_length=64, widget=forms.HiddenInput, initial=lambda: f"console-{uuid.uuid4()}"
    )

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        known = channels.registry()
        named = [(name, channel.label) for name, channel in known.items()]
        addressed = [(name, channel.label) for name, channel in known.items() if channel.needs_address]
        for field, choices in (("channels", named), ("address_channel", addressed)):
            choice_field = self.fields[field]
            assert isinstance(choice_field, forms.ChoiceField)
            choice_field.choices = choices

    def clean_json_data(self) -> Any:
        raw = self.cleaned_data["json_data"].strip()
        try:
            return json.loads(raw) if raw else None
        except ValueError as error:
            raise forms.ValidationError(f"This is not JSON: {error}") from error

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or self.cleaned_data
        target = values.get("target")
        if target and not values.get(target) and target not in self.errors:
            self.add_error(target, "Say to whom the message goes.")
        if target == self.ADDRESS and not values.get("address_channel"):
            self.add_error("address_channel", "Choose the channel of this address.")
        return values

    def message(self) -> dict[str, Any]:
        """The body that POST /messages takes, of this valid form."""
        values = self.cleaned_data
        to: dict[str, list[Any]] = {
            self.RECEIVER: {"receivers": [values["receiver"]]},
            self.GROUP: {"groups": [values["group"]]},
            self.ADDRESS: {"addresses": [{"channel": values["address_channel"], "address": values["address"]}]},
        }[values["target"]]
        content = {name: values[name] for name in ("type", "title", "body") if values[name]}
        if values["json_data"] is not None:
            content["data"] = values["json_data"]
        body: dict[str, Any] = {"to": to, "content": content}
        return body | ({"channels": values["channels"]} if values["channels"] else {})

    def key(self, body: Mapping[str, Any]) -> str:
        """The same form sent twice is one message; changed in between, it is another."""
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        return f"console-{self.cleaned_data['idempotency_key']}-{digest[:32]}"

    def refuse(self, problem: Mapping[str, Any]) -> None:
        """Put a problem document's pointers at the fields that they are about."""
        errors = problem.get("errors", ())
        for error in errors:
            self.add_error(_field_of(error["pointer"]), error["detail"])
        if not errors:
            self.add_error(None, problem["detail"])


def _field_of(pointer: str) -> str | None:
    match pointer.split("/")[1:]:
        case ["to", "receivers", *_]:
            return "receiver"
        case ["to", "groups", *_]:
            return "group"
        case ["to", "addresses", _, "channel"]:
            return "address_channel"
        case ["to", "addresses", *_]:
            return "address"
        case ["content", "data", *_]:
            return "json_data"
        case ["content", ("type" | "title" | "body") as name, *_]:
            return name
        case ["channels", *_]:
            return "channels"
    return None


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name) if name else UTC
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC
