"""Android push through Firebase Cloud Messaging, HTTP v1.

https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages
"""

import base64
import hashlib
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.conf import settings
from rest_framework import serializers

from feedback.events import Status
from messaging import fcm as http_v1
from messaging.channels.base import Channel, DeliveryError, Look, Outcome, Outgoing, Recipient, RetrySchedule
from messaging.fcm import DRY_RUN, FID, PROVIDER, Fcm, Place, body_maker, check_accepted, outcome_of
from messaging.fcm_forms import FcmConfig
from messaging.google_tokens import Accounts
from messaging.sandbox.google import service_account
from messaging.senders import Line, shared_out
from sprayer_project.serializers import LONG, StrictCharField, StrictSerializer

_address = re.compile(r"(fid:)?[A-Za-z0-9:._~%+/=-]{8,2048}")


class Content(StrictSerializer):
    """https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages#androidnotification"""

    title = StrictCharField(required=False, allow_blank=True)
    body = StrictCharField(required=False, allow_blank=True, trim_whitespace=False, style=LONG)
    image = StrictCharField(required=False, help_text="URL of a picture.")
    data = serializers.DictField(  # type: ignore[assignment]
        required=False, help_text="Instead of the content's; what is not a string arrives as JSON text."
    )
    priority = serializers.ChoiceField(choices=["normal", "high"], required=False)
    collapse_key = StrictCharField(required=False, max_length=64)
    click_action = StrictCharField(required=False)
    channel_id = StrictCharField(required=False)
    sound = StrictCharField(required=False)
    tag = StrictCharField(required=False)
    icon = StrictCharField(required=False)
    color = serializers.RegexField(r"^#[0-9A-Fa-f]{6}$", required=False)
    analytics_label = serializers.RegexField(r"^[a-zA-Z0-9\-_.~%]{1,50}$", required=False)


@dataclass(frozen=True, slots=True)
class Call:
    """What the recipients of one message share."""

    place: Place
    body: Callable[[Recipient], bytes]


class Android(Channel):
    label = "Android push"
    settles_at = Status.SENT
    address_kind = "registration token"
    address_is_device = True
    Config = FcmConfig
    Content = Content
    # https://firebase.google.com/docs/cloud-messaging/scale-fcm: not before ten seconds
    retry = RetrySchedule((10, 30, 120, 600, 3600))
    _fcm: Fcm | None = None
    _accounts: Accounts | None = None

    def clean_address(self, value: Any) -> str:
        """A registration token as it is, an installation id behind fid:, or {"token": ...} or {"fid": ...}."""
        if isinstance(value, dict) and len(value) == 1:
            ((kind, value),) = value.items()
            if kind not in ("token", "fid") or not isinstance(value, str):
                raise ValueError('Give {"token": "..."} or {"fid": "..."}.')
            value = f"{FID}{value}" if kind == "fid" else value
        if not isinstance(value, str) or not _address.fullmatch(value):
            raise ValueError("Give the app's FCM registration token, or fid: and its installation id.")
        return value

    def mask_address(self, address: str) -> str:
        kind, name = (FID, address[len(FID) :]) if address.startswith(FID) else ("", address)
        shown = min(4, len(name) // 4)
        return f"{kind}{name[:shown]}…{name[-shown:]}"

    def sandbox_config(self, tenant: str) -> Mapping[str, Any]:
        account = service_account(tenant)
        return {"service_account": json.dumps(account), "project_id": account["project_id"]}

    def sandbox_address(self, name: str) -> str:
        noise = hashlib.shake_256(name.encode()).digest(117)
        text = base64.urlsafe_b64encode(noise).decode()
        return f"{text[:22]}:APA91b{text[22:]}"

    def preview(self, message: Outgoing) -> Mapping[str, Any]:
        return http_v1.preview(message)

    def look(self, message: Outgoing) -> Look:
        return http_v1.look(message)

    async def check(self, config: Mapping[str, Any]) -> None:
        """An access token, then a message to a topic that FCM only validates."""
        place = self._place(config, "live")
        check_accepted(await place.fcm.post(place.url, await place.account.token(), DRY_RUN))

    async def send(
        self, config: Mapping[str, Any], message: Outgoing, recipients: Sequence[Recipient]
    ) -> AsyncIterator[Outcome]:
        call = Call(self._place(config, message.mode), body_maker(message))
        await call.place.account.token()  # a refused account fails the call, not each recipient
        line = Line(call.place.fcm.gate(call.place.server), recipients)
        async for outcome in shared_out([line], partial(_attempt, call), message.given_up):
            yield outcome

    def _place(self, config: Mapping[str, Any], mode: str) -> Place:
        fcm = self._fcm = self._fcm or Fcm()
        accounts = self._accounts = self._accounts or Accounts()
        urls, sandbox = settings.PROVIDER_URLS, f"{settings.SANDBOX_URL}/android"
        server, tokens = (sandbox, sandbox) if mode == "test" else (urls["fcm"], urls["google_oauth"])
        account = accounts.get(config["service_account"], f"{tokens.rstrip('/')}/token")
        url = f"{server.rstrip('/')}/v1/projects/{config['project_id']}/messages:send"
        return Place(fcm, account, server, url)

    async def aclose(self) -> None:
        if self._fcm:
            await self._fcm.close()
        if self._accounts:
            self._accounts.close()
        self._fcm = self._accounts = None


async def _attempt(call: Call, recipient: Recipient) -> Outcome:
    fcm, account, url = call.place.fcm, call.place.account, call.place.url
    try:
        token, body = account.held or await account.token(), call.body(recipient)
        answer = await fcm.post(url, token, body)
        if answer.status == 401 and answer.code == "UNAUTHENTICATED":
            renewed = await account.token(refused=token)
            if renewed != token:
                answer = await fcm.post(url, renewed, body)
    except DeliveryError as error:
        return Outcome(
            delivery=recipient.delivery,
            status=Status.FAILED if error.permanent else Status.DEFERRED,
            reason=error.reason,
            provider=PROVIDER,
            unknown=error.unknown,
            detail={"message": error.detail} if error.detail != error.reason else {},
        )
    return outcome_of(recipient, answer)
