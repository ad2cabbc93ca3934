"""Filters of the console's lists of messages and deliveries."""

from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django import forms
from django.core.validators import MaxValueValidator, MinValueValidator
from django.http import QueryDict

from feedback.events import Status
from messaging import channels, search, selectors

_LOCAL_TIME = "%Y-%m-%dT%H:%M"
_CALENDAR = (
    MinValueValidator(datetime(1970, 1, 1, tzinfo=UTC)),
    MaxValueValidator(datetime(9999, 1, 1, tzinfo=UTC)),
)
"""What has a time in every zone."""


def choices(every: str, names: Sequence[str]) -> list[tuple[str, str]]:
    return [("", every), *((name, name) for name in names)]


def time_field(label: str, **options: Any) -> forms.DateTimeField:
    """A time in the zone of zone_field, which in_zone puts into UTC."""
    widget = forms.DateTimeInput(attrs={"type": "datetime-local"}, format=_LOCAL_TIME)
    return forms.DateTimeField(required=False, label=label, widget=widget, validators=_CALENDAR, **options)


def zone_field() -> forms.CharField:
    """The viewer's zone, which console.js fills in."""
    return forms.CharField(required=False, max_length=60, widget=forms.HiddenInput(attrs={"data-zone": True}))


class LongText(forms.CharField):
    """Several lines, each ended as a program writes it: browsers send CR and LF."""

    widget = forms.Textarea(attrs={"rows": 4})

    def __init__(self, **options: Any):
        super().__init__(strip=False, **options)

    def to_python(self, value: Any) -> str:
        return str(super().to_python(value)).replace("\r\n", "\n")


class MessageFilter(forms.Form):
    """What the list of messages shows. Times are in `zone`."""

    RECEIVER, GROUP, ADDRESS, KEY, IDENTIFIER = "receiver", "group", "address", "key", "id"

    find = forms.ChoiceField(
        required=False,
        label="Search by",
        choices=[
            (RECEIVER, "Receiver"),
            (GROUP, "Group"),
            (ADDRESS, "Plain address"),
            (KEY, "Idempotency key"),
            (IDENTIFIER, "Id"),
        ],
        widget=forms.Select(attrs={"data-with": "q"}),
    )
    q = forms.CharField(
        required=False,
        max_length=4_096,
        label="Search for",
        widget=forms.TextInput(attrs={"type": "search", "placeholder": "Exactly as written", "spellcheck": "false"}),
    )
    mode = forms.ChoiceField(required=False, choices=choices("Live and test", ("live", "test")))
    status = forms.ChoiceField(required=False, choices=choices("Any status", selectors.STATUSES))
    channel = forms.ChoiceField(required=False)
    since = time_field("From")
    until = time_field("Until")
    zone = zone_field()

    def __init__(self, asked: QueryDict, tenant: str):
        self._tenant = tenant
        super().__init__(_searched(asked), auto_id="filter_%s")
        names = list(channels.registry())
        self.fields["channel"] = forms.ChoiceField(required=False, choices=choices("Any channel", names))

    def values(self) -> dict[str, Any]:
        """Arguments of selectors.messages; a filter that is not understood does not filter."""
        self.is_valid()
        values = self.cleaned_data
        found = {name: values[name] for name in ("mode", "status", "channel") if values.get(name)}
        for name in ("since", "until"):
            if at := values.get(name):
                found[name] = in_zone(at, values.get("zone", ""))
        return {"mode": None} | found | self._search()

    @property
    def narrowing(self) -> list[forms.BoundField]:
        """All but the search, in the order of the page."""
        return [self[name] for name in ("mode", "status", "channel", "since", "until")]

    @property
    def identifier(self) -> str:
        """The message or delivery that is looked for by its id, or by what looks like one; else empty."""
        self.is_valid()
        text = str(self.cleaned_data.get("q", ""))
        named = self.cleaned_data.get("find") == self.IDENTIFIER or text.startswith(("msg_", "dlv_"))
        return text if named else ""

    @property
    def in_use(self) -> bool:
        return any(self.values().values()) or bool(self.identifier)

    def _search(self) -> dict[str, Any]:
        text = self.cleaned_data.get("q")
        if not text or self.identifier:
            return {}
        match self.cleaned_data.get("find"):
            case self.GROUP:
                return {"group": text}
            case self.ADDRESS:
                return {"address_hash": search.hashes_of(self._tenant, text) or ["none"]}
            case self.KEY:
                return {"idempotency_key": text}
        return {"receiver": text}


class DeliveryFilter(forms.Form):
    """What the list of a message's deliveries shows."""

    status = forms.ChoiceField(required=False, choices=choices("Any status", list(Status)))
    channel = forms.ChoiceField(required=False)
    receiver = forms.CharField(required=False, max_length=256)

    def __init__(self, asked: QueryDict, names: Sequence[str]):
        super().__init__(asked, auto_id="filter_%s")
        self.fields["channel"] = forms.ChoiceField(required=False, choices=choices("Any channel", names))

    def values(self) -> dict[str, Any]:
        """Fields of feedback.search.Wanted."""
        self.is_valid()
        return {name: value for name, value in self.cleaned_data.items() if value}


def in_zone(at: datetime, zone: str) -> datetime:
    """A time that was written in this zone, in UTC."""
    return at.replace(tzinfo=_zone(zone)).astimezone(UTC)


def _searched(asked: QueryDict) -> QueryDict:
    """With ?receiver= or ?group= of a link as a search."""
    given = asked.copy()
    for name in (MessageFilter.RECEIVER, MessageFilter.GROUP):
        if name in asked and "q" not in asked:
            given["find"], given["q"] = name, str(asked[name])
    return given


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name) if name else UTC
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC
