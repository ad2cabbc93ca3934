"""iOS push through APNs over HTTP/2, with token authentication.

https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns
"""

import hashlib
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from django import forms
from django.conf import settings

from feedback.events import Status
from messaging.apns import NOBODY, Apns, Credentials, NoAnswer, key_of
from messaging.apns_outcomes import PROVIDER, outcome_of
from messaging.apns_payload import Content, Notification, look, notification, preview
from messaging.channels.base import Channel, DeliveryError, Look, Outcome, Outgoing, Recipient
from messaging.sandbox.apns import key_id_of, private_key_of, team_of
from messaging.sandbox.finding import Found, find
from messaging.secret_fields import SecretText
from messaging.senders import Line, shared_out

_SERVERS = {"production": "apns", "development": "apns_development"}
_CLIENTS = 256
_identifier = r"^[A-Z0-9]{10}$"
_topic = r"^[A-Za-z0-9.-]{1,200}$"
_device = re.compile(r"[0-9a-f]{64,200}")


class Config(forms.Form):
    team_id = forms.RegexField(_identifier, label="Team ID", help_text="Ten capital letters and digits.")
    key_id = forms.RegexField(_identifier, label="Key ID", help_text="Ten capital letters and digits.")
    private_key = forms.CharField(
        widget=SecretText, max_length=5_000, label="Private key", help_text="What the .p8 file holds."
    )
    topic = forms.RegexField(_topic, label="Topic", help_text="The app's bundle ID; a message may name another.")
    other_topics = forms.CharField(
        required=False,
        max_length=2_000,
        label="Other topics",
        help_text="Bundle IDs of the team's further apps: an address of another app is then not retired.",
    )
    environment = forms.ChoiceField(
        choices=[("production", "Production"), ("development", "Development (Apple's sandbox)")],
        initial="production",
        help_text="Apps that Xcode installed have development addresses.",
    )

    def clean_private_key(self) -> str:
        try:
            return key_of(self.cleaned_data["private_key"])
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error

    def clean_other_topics(self) -> str:
        topics = re.split(r"[\s,]+", self.cleaned_data["other_topics"].strip())
        if bad := [topic for topic in topics if topic and not re.fullmatch(_topic, topic)]:
            raise forms.ValidationError(f"{bad[0]!r} is not a bundle ID.")
        return ", ".join(topic for topic in topics if topic)


class Ios(Channel):
    label = "iOS push"
    settles_at = Status.SENT
    address_kind = "device token"
    address_is_device = True
    Config = Config
    Content = Content

    def __init__(self) -> None:
        self._clients: OrderedDict[tuple[str, str | None, Credentials], Apns] = OrderedDict()
        self._sandbox: Found | None = None

    def clean_address(self, value: Any) -> str:
        text = value.strip().lower() if isinstance(value, str) else ""
        if not _device.fullmatch(text) or len(text) % 2:
            raise ValueError("Give a device token as 64 to 200 hexadecimal digits.")
        return text

    def mask_address(self, address: str) -> str:
        return f"{address[:4]}*****{address[-4:]}"

    def sandbox_config(self, tenant: str) -> Mapping[str, Any]:
        team = team_of(tenant)
        return {
            "team_id": team,
            "key_id": key_id_of(team),
            "private_key": private_key_of(team),
            "topic": "com.example.sandbox",
            "other_topics": "",
            "environment": "development",
        }

    def sandbox_address(self, name: str) -> str:
        return "5a" + hashlib.sha256(name.encode()).hexdigest()[:62]

    def preview(self, message: Outgoing) -> Mapping[str, Any]:
        return preview(message)

    def look(self, message: Outgoing) -> Look:
        return look(message)

    async def check(self, config: Mapping[str, Any]) -> None:
        """A push to a device that cannot be: APNs judges the provider token and the topic before it looks for it."""
        client = await self._client(config, "live")
        headers = {"apns-topic": config["topic"], "apns-push-type": "background", "apns-priority": "5"}
        try:
            async with client.gate:
                answer = await client.push(NOBODY, headers, b'{"aps":{"content-available":1}}')
        except NoAnswer as error:
            raise DeliveryError(error.reason, detail=error.detail) from error
        if answer.status != 200 and not answer.refusal.retire:
            permanent = answer.refusal.status is Status.FAILED
            raise DeliveryError(answer.refusal.reason, permanent, detail=answer.reason)

    async def send(
        self, config: Mapping[str, Any], message: Outgoing, recipients: Sequence[Recipient]
    ) -> AsyncIterator[Outcome]:
        made = notification(message, config["topic"])
        client = await self._client(config, message.mode)
        # One app's tokens and another's are told apart by the topic alone: see Config.other_topics.
        one_app = made.topic == config["topic"] and not config.get("other_topics")
        attempt = partial(self._attempt, client, made, one_app)
        async for outcome in shared_out([Line(client.gate, recipients)], attempt, message.given_up):
            yield outcome

    async def _attempt(self, client: Apns, made: Notification, one_app: bool, recipient: Recipient) -> Outcome:
        delivery, apns_id = recipient.delivery, str(uuid5(NAMESPACE_URL, f"sprayer:{recipient.delivery}"))
        try:
            answer = await client.push(recipient.address, {**made.headers, "apns-id": apns_id}, made.payload)
        except NoAnswer as error:
            if not error.reachable:
                self._sandbox = None  # it may be back elsewhere, with another certificate
            return Outcome(
                delivery=delivery,
                status=Status.DEFERRED,
                reason=error.reason,
                provider=PROVIDER,
                unknown=error.unknown,
                detail={"message": error.detail},
            )
        return outcome_of(delivery, apns_id, answer, one_app)

    async def _client(self, config: Mapping[str, Any], mode: str) -> Apns:
        """The connection's holder for these credentials; of too many the longest unused are closed."""
        url, ca = await self._server(config, mode)
        key = (url, ca, Credentials(config["team_id"], config["key_id"], config["private_key"]))
        if key not in self._clients:
            self._clients[key] = Apns(*key)
        self._clients.move_to_end(key)
        for old in list(self._clients)[: max(0, len(self._clients) - _CLIENTS)]:
            if self._clients[old].idle:
                await self._clients.pop(old).aclose()
        return self._clients[key]

    async def _server(self, config: Mapping[str, Any], mode: str) -> tuple[str, str | None]:
        """(URL, authority): the sandbox's own authority counts for the sandbox alone, the system's for all others."""
        here = f"{settings.SANDBOX_URL}/{self.name}"
        url = here if mode == "test" else settings.PROVIDER_URLS[_SERVERS[config["environment"]]]
        if url != here:
            return url, None
        if self._sandbox is None or self._sandbox.base != settings.SANDBOX_URL:
            try:
                self._sandbox = await find(settings.SANDBOX_URL, self.name)
            except OSError as error:
                raise DeliveryError("provider_unavailable", detail="The sandbox does not answer.") from error
        return self._sandbox.url, self._sandbox.ca

    async def aclose(self) -> None:
        clients = list(self._clients.values())
        self._clients.clear()
        self._sandbox = None
        for client in clients:
            await client.aclose()
