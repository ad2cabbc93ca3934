"""The shape of receivers, groups and subscriptions as they are submitted and answered."""

from typing import Any

from drf_spectacular.utils import inline_serializer
from rest_framework import serializers

from sprayer_project.errors import as_problem
from sprayer_project.schema import page_of
from sprayer_project.serializers import StrictCharField, StrictSerializer
from subscriptions.inputs import AddressInput
from subscriptions.record import AddressRow, GroupRow, ReceiverRow, SubscriptionRow

MAX_BATCH = 1000
_CHANNELS_HELP = "Every channel when left out or null."


class RawField(serializers.JSONField):
    """Any JSON value, as it came."""

    def to_internal_value(self, data: Any) -> Any:
        return data


class ObjectField(serializers.DictField):
    """A JSON object, its values as they came."""

    child = RawField(allow_null=True)

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise serializers.ValidationError("Must be an object.")
        return data


class AddressInputSerializer(StrictSerializer):
    """Where a receiver is reached on one channel."""

    channel = StrictCharField()
    address = RawField(help_text="Text; on webpush the browser's subscription object.")

    def validate(self, attrs: dict[str, Any]) -> Any:
        return AddressInput(attrs["channel"], attrs["address"])


class ReceiverInputSerializer(StrictSerializer):
    """All of a receiver: what is left out is empty afterwards."""

    addresses = serializers.ListField(child=AddressInputSerializer(), required=False)
    attributes = ObjectField(required=False)
    locale = StrictCharField(required=False, allow_null=True, help_text='A language tag such as "es".')
    timezone = StrictCharField(required=False, allow_null=True, help_text='An IANA name such as "Europe/Madrid".')


class ReceiverPatchSerializer(ReceiverInputSerializer):
    """What to change: addresses are replaced, attributes merged, null removes."""


class ReceiverItemSerializer(ReceiverInputSerializer):
    """A receiver of a batch: its name, and all of it."""

    receiver = StrictCharField(trim_whitespace=False)


class GroupInputSerializer(StrictSerializer):
    """All of a group: what is left out is empty afterwards."""

    name = StrictCharField(required=False, allow_null=True, max_length=256, help_text="What people call the group.")
    channels = serializers.ListField(
        child=StrictCharField(),
        required=False,
        allow_null=True,
        help_text=f"All it reaches. {_CHANNELS_HELP}",
    )


class SubscriptionInputSerializer(StrictSerializer):
    """How far a subscription reaches."""

    channels = serializers.ListField(
        child=StrictCharField(), required=False, allow_null=True, help_text=f"Where it is reached. {_CHANNELS_HELP}"
    )


class SubscriptionItemSerializer(SubscriptionInputSerializer):
    """A subscription of a batch."""

    receiver = StrictCharField(trim_whitespace=False)


class ReceiverBatchSerializer(StrictSerializer):
    """Each receiver is validated by itself, so that the others are kept."""

    receivers = serializers.ListField(child=ReceiverItemSerializer(), max_length=MAX_BATCH)


class SubscriptionBatchSerializer(StrictSerializer):
    """Each subscription is validated by itself, so that the others are kept."""

    subscriptions = serializers.ListField(child=SubscriptionItemSerializer(), max_length=MAX_BATCH)


class AddressSerializer(serializers.Serializer[Any]):
    channel = serializers.CharField()
    address = serializers.CharField()
    status = serializers.ChoiceField(choices=["active", "retired"])
    reason = serializers.CharField(allow_null=True, help_text="Why it was retired.")
    created_at = serializers.DateTimeField()
    retired_at = serializers.DateTimeField(allow_null=True)


class ReceiverSerializer(serializers.Serializer[Any]):
    receiver = serializers.CharField()
    addresses = AddressSerializer(many=True)
    attributes = serializers.DictField()
    locale = serializers.CharField(allow_null=True)
    timezone = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class GroupSerializer(serializers.Serializer[Any]):
    group = serializers.CharField()
    name = serializers.CharField(allow_null=True)
    channels = serializers.ListField(child=serializers.CharField(), allow_null=True)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class SubscriptionSerializer(serializers.Serializer[Any]):
    group = serializers.CharField()
    receiver = serializers.CharField()
    channels = serializers.ListField(child=serializers.CharField(), allow_null=True)
    created_at = serializers.DateTimeField()


class FieldErrorSerializer(serializers.Serializer[Any]):
    pointer = serializers.CharField()
    detail = serializers.CharField()


BatchAnswerSerializer = inline_serializer(
    "BatchAnswer",
    {
        "data": inline_serializer(
            "BatchResult",
            {
                "receiver": serializers.CharField(allow_null=True),
                "status": serializers.IntegerField(help_text="200 or the HTTP status of what is wrong with the item"),
                "code": serializers.CharField(required=False),
                "detail": serializers.CharField(required=False),
                "errors": FieldErrorSerializer(many=True, required=False),
            },
            many=True,
        )
    },
)


ReceiverPageSerializer = page_of("ReceiverPage", ReceiverSerializer(many=True))
GroupPageSerializer = page_of("GroupPage", GroupSerializer(many=True))
SubscriptionPageSerializer = page_of("SubscriptionPage", SubscriptionSerializer(many=True))


def receiver_body(row: ReceiverRow) -> dict[str, Any]:
    return {
        "receiver": row.name,
        "addresses": [_address_body(address) for address in row.addresses],
        "attributes": row.attributes,
        "locale": row.locale,
        "timezone": row.timezone,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def group_body(row: GroupRow) -> dict[str, Any]:
    return {
        "group": row.name,
        "name": row.title,
        "channels": row.channels,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def subscription_body(row: SubscriptionRow) -> dict[str, Any]:
    return {"group": row.group, "receiver": row.receiver, "channels": row.channels, "created_at": row.created_at}


def batch_result(receiver: str | None, result: object) -> dict[str, Any]:
    """One item of a batch's answer: what is wrong with it, pointers relative to the item, or 200."""
    if isinstance(result, Exception):
        wrong = as_problem(result)
        return {"receiver": receiver} | {name: wrong[name] for name in wrong if name != "type"}
    return {"receiver": receiver, "status": 200}


def _address_body(row: AddressRow) -> dict[str, Any]:
    names = ("channel", "address", "status", "reason", "created_at", "retired_at")
    return {name: getattr(row, name) for name in names}
