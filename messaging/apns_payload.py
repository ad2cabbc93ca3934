"""What a message is on an iPhone: APNs' headers and payload, and the fields that a message may set.

https://developer.apple.com/documentation/usernotifications/generating-a-remote-notification
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rest_framework import serializers

from messaging import looks
from messaging.channels.base import DeliveryError, Look, Outgoing
from sprayer_project.serializers import LONG, StrictBooleanField, StrictCharField, StrictIntegerField, StrictSerializer

MAX_PAYLOAD = 4_096
_MAX_PAYLOADS = {"voip": 5_120}
SUFFIXES = {
    # What Apple wants behind the bundle ID, by push type.
    "alert": "",
    "background": "",
    "location": ".location-query",
    "voip": ".voip",
    "complication": ".complication",
    "fileprovider": ".pushkit.fileprovider",
    "mdm": "",
    "liveactivity": ".push-type.liveactivity",
    "pushtotalk": ".voip-ptt",
    "widgets": ".push-type.widgets",
    "controls": ".push-type.controls",
}
_printable = re.compile(r"[!-~]([ -~]{0,62}[!-~])?")
_PLAIN = ("badge", "sound", "category", "thread_id", "interruption_level", "relevance_score", "target_content_id")


class StrictNumberField(serializers.FloatField):
    """A JSON number."""

    def to_internal_value(self, data: Any) -> float:
        if isinstance(data, bool) or not isinstance(data, int | float):
            raise serializers.ValidationError("Must be a number.")
        return float(super().to_internal_value(data))


class SoundField(serializers.Field[Any, Any, Any, Any]):
    """A sound's name, or Apple's object of a critical alert: {"critical": 1, "name": "...", "volume": 0.5}."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, str) and data and "\0" not in data:
            return data
        known = {"critical": int, "name": str, "volume": int | float}
        if isinstance(data, dict) and data and all(isinstance(data[key], known.get(key, ())) for key in data):
            return data
        raise serializers.ValidationError('Must be a sound\'s name, or {"critical", "name", "volume"}.')

    def to_representation(self, value: Any) -> Any:
        return value


class Content(StrictSerializer):
    title = StrictCharField(required=False, help_text="Instead of the message's own.")
    subtitle = StrictCharField(required=False)
    body = StrictCharField(required=False, style=LONG, help_text="Instead of the message's own.")
    badge = StrictIntegerField(required=False, min_value=0, help_text="0 removes the badge.")
    sound = SoundField(required=False, help_text='A name such as "default", or the object of a critical alert.')
    category = StrictCharField(required=False)
    thread_id = StrictCharField(required=False)
    content_available = StrictBooleanField(required=False, help_text="Wake the app.")
    mutable_content = StrictBooleanField(required=False, help_text="Let the app's extension change the notification.")
    interruption_level = serializers.ChoiceField(["passive", "active", "time-sensitive", "critical"], required=False)
    relevance_score = StrictNumberField(required=False, min_value=0)
    target_content_id = StrictCharField(required=False)
    push_type = serializers.ChoiceField(
        list(SUFFIXES), required=False, help_text="Default: alert, or background where there is nothing to show."
    )
    collapse_id = serializers.RegexField(
        r"^[!-~]([ -~]{0,62}[!-~])?$", required=False, help_text="Up to 64 ASCII characters; default: collapse_key."
    )
    topic = serializers.RegexField(
        r"^[A-Za-z0-9.-]{1,255}$", required=False, help_text="Another app's, in full: nothing is put behind it."
    )
    aps = serializers.DictField(required=False, help_text="Further keys of aps, in Apple's spelling; they win.")
    payload = serializers.DictField(required=False, help_text="Further keys beside aps.")

    def validate_payload(self, value: dict[str, Any]) -> dict[str, Any]:
        if "aps" in value:
            raise serializers.ValidationError("aps has a field of its own.")
        return value


@dataclass(frozen=True, slots=True)
class Notification:
    """What all recipients of a message get."""

    topic: str
    headers: Mapping[str, str]
    payload: bytes


def notification(message: Outgoing, bundle: str) -> Notification:
    """Raises DeliveryError for a payload that APNs would not take."""
    wanted = message.overrides
    aps = _aps(message)
    shows = any(key in aps for key in ("alert", "badge", "sound"))
    push_type = str(wanted.get("push_type") or ("alert" if shows else "background"))
    if push_type == "background":
        aps.setdefault("content-available", 1)
    own = {"id": message.id, "type": message.content.get("type"), "data": message.content.get("data")}
    document = {"aps": aps} | {key: value for key, value in own.items() if value is not None}
    document |= wanted.get("payload") or {}
    payload = json.dumps(document, separators=(",", ":"), ensure_ascii=False, default=dict).encode()
    most = _MAX_PAYLOADS.get(push_type, MAX_PAYLOAD)
    if len(payload) > most:
        detail = f"The payload has {len(payload)} bytes; APNs takes {most}."
        raise DeliveryError("payload_too_large", permanent=True, detail=detail)
    topic = str(wanted.get("topic") or bundle + SUFFIXES[push_type])
    headers = {
        "apns-topic": topic,
        "apns-push-type": push_type,
        "apns-expiration": str(int(message.expires_at.timestamp())),
        "apns-priority": "10" if message.priority == "high" and push_type != "background" else "5",
    }
    if collapse := _collapse_id(message):
        headers["apns-collapse-id"] = collapse
    return Notification(topic, headers, payload)


def preview(message: Outgoing) -> dict[str, Any]:
    """The size of the payload, Apple's limit, and how it travels. Raises DeliveryError."""
    made = notification(message, "")
    push_type = made.headers["apns-push-type"]
    travels = {"push_type": push_type, "priority": int(made.headers["apns-priority"])}
    return {"payload_bytes": len(made.payload), "limit": _MAX_PAYLOADS.get(push_type, MAX_PAYLOAD), **travels}


def look(message: Outgoing) -> Look:
    """Raises DeliveryError."""
    return look_of(json.loads(notification(message, "").payload))


def look_of(document: Any) -> Look:
    """What a device shows of a payload, which may be none that Apple takes."""
    aps = document.get("aps") if isinstance(document, dict) else None
    alert = aps.get("alert") if isinstance(aps, dict) else None
    return looks.notification(document, alert if isinstance(alert, dict) else {"body": alert})


def _aps(message: Outgoing) -> dict[str, Any]:
    wanted = message.overrides
    alert = {key: wanted.get(key) or message.content.get(key) for key in ("title", "subtitle", "body")}
    alert = {key: value for key, value in alert.items() if value}
    aps: dict[str, Any] = {"alert": alert} if alert else {}
    aps |= {key.replace("_", "-"): wanted[key] for key in _PLAIN if wanted.get(key) is not None}
    aps |= {key.replace("_", "-"): 1 for key in ("content_available", "mutable_content") if wanted.get(key)}
    return aps | dict(wanted.get("aps") or {})


def _collapse_id(message: Outgoing) -> str:
    """As the message says; a collapse key that does not fit into the header is replaced by its hash."""
    key = str(message.overrides.get("collapse_id") or message.collapse_key or "")
    if not key or _printable.fullmatch(key):
        return key
    return hashlib.blake2b(key.encode(), digest_size=32).hexdigest()
