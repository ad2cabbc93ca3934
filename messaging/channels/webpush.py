"""Web Push: an encrypted POST to the subscription's push service, the sender known by VAPID.

https://www.rfc-editor.org/rfc/rfc8030, 8188 and 8291 (encryption), 8292 (VAPID)
"""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from django import forms
from django.conf import settings
from rest_framework import serializers

from feedback.events import Status
from messaging import push_subscriptions, vapid
from messaging.channels.base import Channel, DeliveryError, Look, Outcome, Outgoing, Recipient
from messaging.looks import notification
from messaging.push_subscriptions import Subscription
from messaging.sandbox.browser import browser, sandbox_private_key
from messaging.senders import by_host, shared_out
from sprayer_project import outbound
from sprayer_project.serializers import LONG, StrictCharField, StrictSerializer

_GONE = "unregistered"
_REFUSALS = {401: "vapid_refused", 403: "vapid_refused", 404: _GONE, 410: _GONE, 413: "payload_too_large"}
"""https://www.rfc-editor.org/rfc/rfc8030#section-8.4 and #section-7.3, https://www.rfc-editor.org/rfc/rfc8292#section-4.2"""
_TRY_AGAIN = frozenset({408, 425, 429})
Text = partial(StrictCharField, required=False, max_length=2_048)


class WebPushConfig(forms.Form):
    """The tenant's VAPID key pair. Browsers subscribe to its public half: a new one makes their subscriptions void."""

    private_key = forms.CharField(
        required=False,
        widget=forms.PasswordInput,
        label="VAPID private key",
        help_text="32 bytes in base64url. Left empty, the present one stays; the first is made.",
    )
    public_key = forms.CharField(
        required=False,
        disabled=True,
        label="Application server key",
        help_text="For pushManager.subscribe() in the browser. It follows from the private key.",
    )
    subject = forms.RegexField(
        r"^(mailto:[^@\s<>]+@[\w.-]+\.[\w-]+|https://[\w.-]+\.[\w-]+(/\S*)?)\Z",
        max_length=320,
        label="Contact",
        help_text="Where operators of push services reach you: mailto:alerts@example.com or https://example.com/contact",
    )

    def clean_private_key(self) -> str:
        return self.cleaned_data["private_key"] or self.initial.get("private_key") or vapid.new_private_key()

    def clean_public_key(self) -> str:
        try:
            return vapid.public_key(self.cleaned_data["private_key"])
        except ValueError as error:
            self.add_error("private_key", str(error))
            return ""


class Action(StrictSerializer):
    action = StrictCharField(max_length=100)
    title = StrictCharField(max_length=200)
    icon = Text()
    url = Text(help_text="What a click on this action opens.")


class WebPushContent(StrictSerializer):
    """What the service worker shows, and how the push service treats it."""

    title, body = Text(), StrictCharField(required=False, style=LONG)
    icon, badge, image, tag = Text(), Text(), Text(), Text()
    url = Text(label="URL", help_text="What a click on the notification opens.")
    actions = serializers.ListField(child=Action(), required=False, help_text='[{"action": "open", "title": "Open"}]')
    urgency = serializers.ChoiceField(["very-low", "low", "normal", "high"], required=False)
    topic = serializers.RegexField(r"^[A-Za-z0-9_-]{1,32}\Z", required=False)


@dataclass(frozen=True, slots=True)
class Push:
    """The part that is the same for every recipient."""

    message: Outgoing
    text: bytes
    headers: Mapping[str, str]
    private_key: str
    subject: str


class WebPush(Channel):
    label, address_kind, address_is_device = "Web Push", "browser subscription", True
    settles_at = Status.SENT
    Config = WebPushConfig
    Content = WebPushContent

    def clean_address(self, value: Any) -> str:
        return push_subscriptions.cleaned(value).canonical

    def mask_address(self, address: str) -> str:
        return f"{Subscription.read(address).origin}/***"

    def preview(self, message: Outgoing) -> Mapping[str, Any]:
        return {"payload_bytes": len(_text(message)), "limit": push_subscriptions.MAX_TEXT}

    def look(self, message: Outgoing) -> Look:
        return notification(json.loads(_text(message)))

    def host_of(self, recipient: Recipient) -> str:
        return Subscription.read(recipient.address).origin.partition("://")[2]

    def sandbox_config(self, tenant: str) -> Mapping[str, Any]:
        key = sandbox_private_key(tenant)
        return {"private_key": key, "public_key": vapid.public_key(key), "subject": "mailto:sandbox@example.com"}

    def sandbox_address(self, name: str) -> dict[str, Any]:
        return browser(f"ok-{name}").subscription

    async def send(
        self, config: Mapping[str, Any], message: Outgoing, recipients: Sequence[Recipient]
    ) -> AsyncIterator[Outcome]:
        lines = by_host(recipients, lambda one: _target(message, Subscription.read(one.address)).endpoint)
        async for outcome in shared_out(lines, partial(_try, _push(config, message)), message.given_up):
            yield outcome

    async def aclose(self) -> None:
        await outbound.aclose()


def _text(message: Outgoing) -> bytes:
    """What is encrypted. Raises DeliveryError for what no push service takes."""
    own, content = message.overrides, message.content
    shown = {"id": message.id, "sent_at": message.created_at.isoformat(), "tag": message.collapse_key}
    shown |= {name: content.get(name) for name in ("type", "title", "body", "data")}
    shown |= {name: value for name, value in own.items() if name not in ("urgency", "topic")}
    kept = {name: value for name, value in shown.items() if value is not None}
    text = json.dumps(kept, ensure_ascii=False, separators=(",", ":"), default=dict).encode(errors="replace")
    if len(text) > push_subscriptions.MAX_TEXT:
        words = f"The notification has {len(text):,} bytes: a push service takes {push_subscriptions.MAX_TEXT:,}."
        raise DeliveryError("payload_too_large", permanent=True, detail=words)
    return text


def _push(config: Mapping[str, Any], message: Outgoing) -> Push:
    own, text = message.overrides, _text(message)
    headers = {"Content-Type": "application/octet-stream", "Content-Encoding": "aes128gcm"}
    headers["Urgency"] = own.get("urgency") or message.priority
    if topic := own.get("topic") or (message.collapse_key and push_subscriptions.topic(message.collapse_key)):
        headers["Topic"] = topic
    return Push(message, text, headers, config["private_key"], config["subject"])


async def _try(push: Push, recipient: Recipient) -> Outcome:
    message, delivery = push.message, recipient.delivery
    meant = Subscription.read(recipient.address)
    subscription = _target(message, meant)
    headers = dict(push.headers)
    if subscription != meant:
        headers["Sprayer-Original-Url"] = meant.endpoint
    if subscription.at_the_sandbox:
        headers["Sprayer-Tenant"] = message.tenant
    headers["TTL"] = str(max(0, int((message.expires_at - datetime.now(UTC)).total_seconds())))
    headers["Authorization"] = vapid.authorization(push.private_key, push.subject, subscription.origin)
    url, body, test = subscription.endpoint, subscription.encrypted(push.text), message.mode == "test"
    try:
        answer = await outbound.client().send(url, body, headers, settings.WEBHOOK_TIMEOUT, trusted=test)
    except outbound.BlockedAddress as error:
        return Outcome(delivery=delivery, status=Status.FAILED, reason=error.code)
    except outbound.Unreachable as error:
        said = {"message": error.detail}
        return Outcome(delivery=delivery, status=Status.DEFERRED, reason=error.code, unknown=error.unknown, detail=said)
    return _outcome(delivery, answer)


def _target(message: Outgoing, meant: Subscription) -> Subscription:
    """Where the request goes: a test message to the sandbox, whose own subscriptions keep their name and its magic."""
    elsewhere = message.mode == "test" and not meant.at_the_sandbox
    return push_subscriptions.cleaned(browser("test").subscription) if elsewhere else meant


def _outcome(delivery: str, answer: outbound.Answer) -> Outcome:
    """What an answer means; a redirect is a failure, nobody follows it."""
    status, detail = answer.status, {"http_status": answer.status}
    if 200 <= status < 300:
        name = (answer.location or "")[:512]
        return Outcome(delivery=delivery, status=Status.SENT, provider_id=name, detail=detail)
    if status in _TRY_AGAIN or status >= 500:
        reason, wait = "rate_limited" if status == 429 else "provider_unavailable", answer.retry_after
        return Outcome(delivery=delivery, status=Status.DEFERRED, reason=reason, retry_after=wait, detail=detail)
    reason = _REFUSALS.get(status, "provider_refused")
    return Outcome(delivery=delivery, status=Status.FAILED, reason=reason, retire=reason == _GONE, detail=detail)
