"""The shape of what the messages API takes in batches and answers. It describes; functions build the answers."""

from typing import Any

from drf_spectacular.utils import extend_schema_field, extend_schema_serializer, inline_serializer
from rest_framework import serializers

from feedback.serializers import DeliverySerializer
from messaging.selectors import STATUSES
from messaging.serializers import MessageSerializer
from sprayer_project.schema import page_of
from sprayer_project.serializers import StrictCharField, StrictSerializer


class AcceptedSerializer(serializers.Serializer[Any]):
    """What becomes of a submitted message is told under this id."""

    id = serializers.CharField()
    status = serializers.CharField()
    channels = serializers.ListField(child=serializers.CharField())
    created_at = serializers.DateTimeField()


class MessageItemSerializer(MessageSerializer):
    """A message of a batch."""

    idempotency_key = StrictCharField(max_length=255, required=False)


@extend_schema_serializer(component_name="MessageBatch")
class BatchShapeSerializer(StrictSerializer):
    """The body of POST /messages/batch."""

    messages = serializers.ListField(child=MessageItemSerializer(), min_length=1, max_length=100)


@extend_schema_field({"$ref": "#/components/schemas/Problem"})
class ProblemField(serializers.DictField):
    """A problem document."""


class MessageBatchResultSerializer(serializers.Serializer[Any]):
    """message with status 202, problem with any other."""

    status = serializers.IntegerField(help_text="The HTTP status that this message alone would have had.")
    message = AcceptedSerializer(required=False)
    replayed = serializers.BooleanField(required=False)
    problem = ProblemField(required=False)


MessageBatchAnswerSerializer = inline_serializer(
    "MessageBatchAnswer", {"data": MessageBatchResultSerializer(many=True, help_text="One a message, in their order.")}
)


class ShownAddressSerializer(serializers.Serializer[Any]):
    """A plain address of a message."""

    channel = serializers.CharField()
    address = serializers.CharField(help_text="Masked.")


class ShownToSerializer(serializers.Serializer[Any]):
    """Whom a message was for."""

    receivers = serializers.ListField(child=serializers.CharField())
    groups = serializers.ListField(child=serializers.CharField())
    addresses = ShownAddressSerializer(many=True)


class TotalsSerializer(serializers.Serializer[Any]):
    """How many deliveries of a message stand where."""

    as_of = serializers.DateTimeField(allow_null=True, help_text="When they were counted.")
    total = serializers.IntegerField()
    channels = serializers.DictField(
        child=serializers.DictField(child=serializers.IntegerField()), help_text="channel -> status -> deliveries"
    )


class MessageBodySerializer(serializers.Serializer[Any]):
    """A message as it was submitted, and where it stands."""

    id = serializers.CharField(help_text="msg_...")
    status = serializers.ChoiceField(choices=STATUSES)
    mode = serializers.ChoiceField(choices=["live", "test"])
    created_at = serializers.DateTimeField()
    send_at = serializers.DateTimeField(allow_null=True)
    expires_at = serializers.DateTimeField()
    to = ShownToSerializer()
    channels = serializers.ListField(child=serializers.CharField())
    content = serializers.DictField()
    overrides = serializers.DictField()
    attributes = serializers.DictField()
    metadata = serializers.DictField(child=serializers.CharField())
    ttl = serializers.IntegerField(help_text="Seconds.")
    priority = serializers.CharField()
    collapse_key = serializers.CharField(allow_null=True)
    exclude_connection = serializers.CharField(allow_null=True)
    totals = TotalsSerializer()


MessagePageSerializer = page_of("MessagePage", MessageBodySerializer(many=True))
DeliveryPageSerializer = page_of("DeliveryPage", DeliverySerializer(many=True))
