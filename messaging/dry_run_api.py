"""How the API answers a dry run."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.request import Request

from messaging.dry_run import MOST_RECEIVERS, SAMPLE, DryRun, ReceiverStory
from messaging.explain import ChannelStory
from messaging.explain_api import VERDICTS, AddressStateSerializer, address_body
from sprayer_project.errors import Invalid

PARAMETER = OpenApiParameter(
    "dry_run",
    OpenApiTypes.BOOL,
    description="true: say what would become of it, with 200; nothing is sent or stored, no key is used.",
)


class ContentPreviewSerializer(serializers.Serializer[Any]):
    """What the message is on one channel."""

    channel = serializers.CharField()
    preview = serializers.DictField(help_text="The channel's own figures: segments, payload_bytes, limit, subject ...")
    refusal = serializers.CharField(allow_null=True, help_text="Why nothing of it would leave.")


class PreviewedChannelSerializer(serializers.Serializer[Any]):
    """What would become of it for one receiver on one channel."""

    channel = serializers.CharField()
    verdict = serializers.ChoiceField(choices=VERDICTS)
    detail = serializers.CharField()
    addresses = AddressStateSerializer(many=True)


class PreviewedReceiverSerializer(serializers.Serializer[Any]):
    """A receiver, or a plain address as addr:<hash>."""

    receiver = serializers.CharField()
    channels = PreviewedChannelSerializer(many=True)


class GroupReachSerializer(serializers.Serializer[Any]):
    """Whom a group reaches on a channel now."""

    group = serializers.CharField()
    channel = serializers.CharField()
    subscribers = serializers.IntegerField(allow_null=True, help_text="null while Redis is away.")
    sample = PreviewedReceiverSerializer(many=True, help_text=f"The first {SAMPLE} by name.")


class DryRunSerializer(serializers.Serializer[Any]):
    """What would become of a message."""

    dry_run = serializers.BooleanField()
    status = serializers.CharField(help_text="accepted or scheduled")
    channels = serializers.ListField(child=serializers.CharField())
    send_at = serializers.DateTimeField(allow_null=True)
    expires_at = serializers.DateTimeField()
    contents = ContentPreviewSerializer(many=True)
    totals = serializers.DictField(
        child=serializers.DictField(child=serializers.IntegerField()),
        help_text="channel -> verdict -> receivers and plain addresses, without those of groups",
    )
    receivers = PreviewedReceiverSerializer(many=True, help_text=f"At most {MOST_RECEIVERS}; totals count all.")
    groups = GroupReachSerializer(many=True)


def wanted(request: Request) -> bool:
    """Raises Invalid: whoever writes it otherwise must not send by mistake."""
    value = request.query_params.get("dry_run", "false")
    if value not in ("true", "false"):
        raise Invalid("invalid_dry_run", "dry_run is true or false.", "?dry_run")
    return value == "true"


def body(found: DryRun) -> dict[str, Any]:
    return {
        "dry_run": True,
        "status": found.status,
        "channels": list(found.channels),
        "send_at": found.send_at,
        "expires_at": found.expires_at,
        "contents": [
            {
                "channel": content.channel,
                "preview": dict(content.preview),
                "refusal": content.refusal.detail if content.refusal else None,
            }
            for content in found.contents
        ],
        "totals": found.totals,
        "receivers": [_receiver_body(story) for story in found.receivers],
        "groups": [
            {
                "group": group.group,
                "channel": group.channel,
                "subscribers": group.count,
                "sample": [_receiver_body(story) for story in group.sample],
            }
            for group in found.groups
        ],
    }


def _receiver_body(story: ReceiverStory) -> dict[str, Any]:
    return {"receiver": story.receiver, "channels": [_channel_body(channel) for channel in story.channels]}


def _channel_body(story: ChannelStory) -> dict[str, Any]:
    addresses = [address_body(address) for address in story.addresses]
    return {"channel": story.channel, "verdict": story.verdict.value, "detail": story.detail, "addresses": addresses}
