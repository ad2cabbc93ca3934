"""A channel's own Config as people fill it in: stored secrets are never shown, and stay unless they are replaced."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django import forms
from django.forms import BoundField
from django.http import QueryDict

from messaging.channels import enabled, registry
from messaging.channels.base import Channel
from messaging.pacing import Pacing
from messaging.secret_fields import secret_fields
from sprayer_project.errors import NotFound
from subscriptions.addresses import written
from tenants import selectors as tenants
from tenants.selectors import ChannelSettings

ON, OFF, UNCONFIGURED = "on", "off", "not configured"
_FORGET = "forget-"


@dataclass(frozen=True, slots=True)
class ChannelState:
    """What anyone of the tenant may know of a channel."""

    name: str
    label: str
    state: str
    """on, off or not configured, for live messages"""
    provider: str
    """Who carries it, for people; empty where nobody is chosen."""
    address_kind: str
    settles_at: str
    configurable: bool
    """Whether it needs credentials; without, there is only the switch."""
    refused_at: datetime | None
    """Since when the provider refuses the credentials."""
    refused_words: str
    checkable: bool
    """Whether the provider can be asked about credentials."""
    retry_delays: Sequence[float]
    """Seconds before attempt 2, 3 ...: the tenant's own, else the channel's."""
    rate_limit: str
    """The tenant's own; empty for none."""
    published: Sequence[tuple[str, str]]
    """(label, value) of what follows from the credentials and is for everybody to copy."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One field on the page."""

    field: BoundField
    stored: bool
    """A secret that is there: an empty field keeps it."""
    forget: str
    """The name of the box that drops the stored secret; empty where it cannot be dropped."""


class ConfigForm:
    """A channel's Config over what is stored; given is what someone submitted, None for a page that only asks.

    An empty secret keeps the stored one, unless its forget box is ticked. Everything else is as submitted.
    """

    def __init__(self, channel: Channel, stored: Mapping[str, Any], given: QueryDict | dict[str, Any] | None = None):
        self._secrets = secret_fields(channel.Config)
        held = {name for name in self._secrets if stored.get(name)}
        self._forgettable = {name for name in held if not channel.Config.base_fields[name].required}
        self._submitted = {name for name in self._secrets if given and given.get(name)}
        self._kept = held - self._submitted - {name for name in self._forgettable if given and _FORGET + name in given}
        data = None if given is None else given.copy()
        if data is not None:
            for name in self._kept:
                data[name] = stored[name]
        shown = {name: value for name, value in stored.items() if name not in self._secrets}
        self.form = _settings(channel)(data, initial=shown, auto_id="config_%s")
        self._held = held
        if pacing := self.form.fields.get("retry_delays"):
            pacing.widget.attrs["placeholder"] = pacing.prepare_value(list(channel.retry.delays))
        for name in self._secrets:
            _hide(self.form.fields[name], name in held)

    def is_valid(self) -> bool:
        return self.form.is_valid()

    @property
    def values(self) -> dict[str, Any]:
        """What to store, of a valid form."""
        return self.form.cleaned_data

    def typed(self) -> bool:
        """Whether secrets were typed: a page that asks again does not show them, so they must be typed again."""
        return bool(self._submitted)

    def made(self) -> dict[str, str]:
        """Secrets that the valid form made because there was none: to be shown once, by field name."""
        known = self._submitted | self._kept
        return {name: self.values[name] for name in sorted(self._secrets - known) if self.values.get(name)}

    def entries(self) -> list[Entry]:
        """Those that can be filled in."""
        return [
            Entry(field, field.name in self._held, f"{_FORGET}{field.name}" if field.name in self._forgettable else "")
            for field in self.form.visible_fields()
            if not field.field.disabled
        ]


def states(tenant: str) -> list[ChannelState]:
    """Every channel that exists, in the registry's order. Raises StoreUnavailable."""
    configs = tenants.channel_configs(tenant)
    live = enabled(tenant, "live")
    return [_state(channel, configs.get(name), live) for name, channel in registry().items()]


def state(tenant: str, channel: Channel) -> ChannelState:
    return _state(channel, tenants.channel_config(tenant, channel.name), enabled(tenant, "live"))


def provider_of(channel: Channel, values: Mapping[str, Any]) -> str:
    """The provider's name: what the configuration chose, else the only one that there is; or empty."""
    only = channel.providers[0] if len(channel.providers) == 1 else ""
    return str(values.get("provider") or only)


def label_of(channel: Channel, name: str) -> str:
    """A field's label, for people."""
    return str(channel.Config()[name].label)


def channel_named(name: str) -> Channel:
    """Raises NotFound."""
    if name not in registry():
        raise NotFound("unknown_channel", f"There is no channel {name!r}.")
    return registry()[name]


def address_of(text: str) -> Any:
    """An address as it is typed, unchecked: a browser's subscription is written as JSON."""
    try:
        return written(text)
    except ValueError:
        return text


def _state(channel: Channel, found: ChannelSettings | None, live: Collection[str]) -> ChannelState:
    word = ON if channel.name in live else OFF if found else UNCONFIGURED
    values = found.values if found else {}
    return ChannelState(
        channel.name,
        channel.label,
        word,
        _provider_label(channel, provider_of(channel, values)),
        channel.address_kind if channel.needs_address else "",
        channel.settles_at,
        bool(channel.Config.base_fields),
        found.refused_at if found else None,
        found.refused_words if found else "",
        type(channel).check is not Channel.check,
        values.get("retry_delays") or channel.retry.delays,
        str(values.get("rate_limit") or ""),
        [(label_of(channel, name), str(values[name])) for name in _derived(channel) if values.get(name)],
    )


def _derived(channel: Channel) -> list[str]:
    """A field that nobody can fill in follows from the others, and is no secret."""
    return [name for name, field in channel.Config.base_fields.items() if field.disabled]


def _provider_label(channel: Channel, name: str) -> str:
    field = channel.Config.base_fields.get("provider")
    known = dict(field.choices) if isinstance(field, forms.ChoiceField) else {}  # type: ignore[arg-type]
    return str(known.get(name) or name.capitalize())


def _settings(channel: Channel) -> type[forms.Form]:
    """The channel's credentials and, beside them, what every channel lets a tenant set."""
    return type("Settings", (Pacing, channel.Config), {}) if channel.Config.base_fields else channel.Config


def _hide(field: forms.Field, held: bool) -> None:
    """No browser remembers or fills in a secret; what is held need not be typed again."""
    field.widget.attrs |= {"autocomplete": "new-password", "spellcheck": "false"}
    if held:
        field.required = False
        field.widget.attrs["placeholder"] = "Stored"
        field.help_text = f"{field.help_text} Leave it empty to keep what is stored.".lstrip()
