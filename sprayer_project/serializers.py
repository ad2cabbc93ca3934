"""What every request body has in common: unknown fields are refused, types are not guessed."""

from typing import Any

from rest_framework import serializers

LONG = {"base_template": "textarea.html"}
"""The style of a field whose text has several lines, in REST framework's own word for it."""


class StrictSerializer(serializers.Serializer[Any]):
    """A serializer that refuses fields it does not know."""

    def to_internal_value(self, data: Any) -> Any:
        values = super().to_internal_value(data)
        unknown = sorted(set(data) - set(self.fields))
        if unknown:
            known = ", ".join(name for name, field in self.fields.items() if not field.read_only)
            raise serializers.ValidationError({name: [f"Unknown field: known are {known}."] for name in unknown})
        return values


class StrictCharField(serializers.CharField):
    """Text that must arrive as a JSON string, without NUL."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            raise serializers.ValidationError("Must be a string.")
        return str(super().to_internal_value(data))


class StrictIntegerField(serializers.IntegerField):
    """A whole number that must arrive as a JSON number."""

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool) or not isinstance(data, int):
            raise serializers.ValidationError("Must be a whole number.")
        return int(super().to_internal_value(data))


class StrictBooleanField(serializers.BooleanField):
    """true or false, as JSON has them."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            raise serializers.ValidationError("Must be true or false.")
        return data
