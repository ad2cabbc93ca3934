"""The shape of a message as it is submitted and answered."""

from datetime import UTC, datetime, timedelta
from typing import Any

from rest_framework import serializers

from messaging import channels
from sprayer_project.serializers import StrictCharField, StrictIntegerField, StrictSerializer
from subscriptions.names import clean_name

MAX_TTL = 28 * 86_400
LATEST_START = timedelta(days=365)
MAX_RECEIVERS, MAX_GROUPS = 1_000, 100


class NameField(StrictCharField):
    """A tenant's own name: 1 to 256 bytes of UTF-8 without control characters."""

    def __init__(self, **options: Any):
        super().__init__(trim_whitespace=False, **options)

    def to_internal_value(self, data: Any) -> str:
        try:
            return clean_name(data)
        except ValueError as error:
            raise serializers.ValidationError(str(error)) from error


class PlainAddressSerializer(StrictSerializer):
    """An address without a receiver."""

    channel = serializers.ChoiceField(choices=[])
    address = serializers.JSONField()

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.fields["channel"] = serializers.ChoiceField(choices=[*channels.registry()])

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        channel = channels.channel(attrs["channel"])
        if not channel.needs_address:
            raise serializers.ValidationError({"channel": f"{attrs['channel']} has no addresses: name a receiver."})
        try:
            return {"channel": attrs["channel"], "address": channel.clean_address(attrs["address"])}
        except ValueError as error:
            raise serializers.ValidationError({"address": str(error)}) from error


class ToSerializer(StrictSerializer):
    """Whom a message is for: at least one name or address."""

    receivers = serializers.ListField(child=NameField(), max_length=MAX_RECEIVERS, required=False, default=list)
    groups = serializers.ListField(child=NameField(), max_length=MAX_GROUPS, required=False, default=list)
    addresses = serializers.ListField(
        child=PlainAddressSerializer(), max_length=MAX_RECEIVERS, required=False, default=list
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not any(attrs.values()):
            raise serializers.ValidationError("Name at least one receiver, group or address.")
        return {
            "receivers": list(dict.fromkeys(attrs["receivers"])),
            "groups": list(dict.fromkeys(attrs["groups"])),
            "addresses": list({(item["channel"], item["address"]): item for item in attrs["addresses"]}.values()),
        }


class ContentSerializer(StrictSerializer):
    """What a message says, on every channel in that channel's way."""

    type = StrictCharField(max_length=100, required=False)
    title = StrictCharField(max_length=1_000, required=False, allow_blank=True)
    body = StrictCharField(required=False, allow_blank=True, trim_whitespace=False)
    data = serializers.JSONField(required=False, allow_null=True)  # type: ignore[assignment]


class OverridesField(serializers.DictField):
    """Per channel, what that channel's Content allows."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        values = super().to_internal_value(data)
        cleaned: dict[str, Any] = {}
        errors: dict[str, Any] = {}
        for name, value in values.items():
            known = channels.registry().get(name)
            if known is None:
                errors[name] = [f"Not a channel: use one of {', '.join(channels.registry())}."]
                continue
            serializer = known.Content(data=value)
            if not serializer.is_valid():
                errors[name] = serializer.errors
            elif isinstance(value, dict) and (unknown := sorted(set(value) - set(serializer.fields))):
                errors[name] = {field: ["Unknown field on this channel."] for field in unknown}
            else:
                cleaned[name] = dict(serializer.validated_data)
        if errors:
            raise serializers.ValidationError(errors)
        return cleaned


class MetadataField(serializers.DictField):
    """Up to 50 names with strings of up to 500 characters; echoed in events."""

    child = StrictCharField(max_length=500, allow_blank=True, trim_whitespace=False)

    def to_internal_value(self, data: Any) -> dict[str, str]:
        values: dict[str, str] = super().to_internal_value(data)
        if len(values) > 50 or any(len(name) > 100 for name in values):
            raise serializers.ValidationError("At most 50 names of at most 100 characters.")
        return values


class AttributesField(serializers.DictField):
    """Typed name-value pairs for filters: strings, numbers and booleans."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        values: dict[str, Any] = super().to_internal_value(data)
        if len(values) > 50 or any(len(name) > 100 for name in values):
            raise serializers.ValidationError("At most 50 names of at most 100 characters.")
        wrong = [name for name, value in values.items() if not isinstance(value, str | int | float | bool)]
        if wrong:
            raise serializers.ValidationError({name: ["Must be a string, a number or a boolean."] for name in wrong})
        return values


class MessageSerializer(StrictSerializer):
    """The body of POST /messages."""

    to = ToSerializer()
    channels = serializers.ListField(child=StrictCharField(), required=False, allow_empty=False)
    content = ContentSerializer()
    attributes = AttributesField(required=False, default=dict)
    metadata = MetadataField(required=False, default=dict)
    overrides = OverridesField(required=False, default=dict)
    ttl = StrictIntegerField(min_value=1, max_value=MAX_TTL, required=False, default=86_400)
    send_at = serializers.DateTimeField(required=False, default=None, allow_null=True, default_timezone=UTC)
    priority = serializers.ChoiceField(choices=["normal", "high"], required=False, default="normal")
    collapse_key = StrictCharField(max_length=64, required=False, default=None, allow_null=True)
    exclude_connection = StrictCharField(max_length=64, required=False, default=None, allow_null=True)

    def validate_channels(self, names: list[str]) -> list[str]:
        errors = {
            str(index): [f"{name!r} is not a channel: use one of {', '.join(channels.registry())}."]
            for index, name in enumerate(names)
            if name not in channels.registry()
        }
        if errors:
            raise serializers.ValidationError(errors)
        return list(dict.fromkeys(names))

    def validate_send_at(self, at: datetime | None) -> datetime | None:
        if at is not None and at > datetime.now(UTC) + LATEST_START:
            raise serializers.ValidationError("Must be within a year.")
        return at


class BatchSerializer(StrictSerializer):
    """The body of POST /messages/batch, its messages unchecked: each is validated by itself."""

    messages = serializers.ListField(child=serializers.DictField(), min_length=1, max_length=100)
