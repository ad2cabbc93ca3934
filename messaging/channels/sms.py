"""SMS through Twilio's REST API, with signed status callbacks.

https://www.twilio.com/docs/messaging/api/message-resource
"""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from zlib import crc32

import phonenumbers
from django import forms
from django.conf import settings
from twilio.base.exceptions import TwilioException
from twilio.base.values import unset
from twilio.rest import Client

from feedback.events import DeliveryEvent, Status
from messaging.callback_urls import callback_url, reference_of
from messaging.channels.base import Callback, Channel, DeliveryError, Look, Outcome, Outgoing, Recipient
from messaging.gsm import encoded
from messaging.sandbox.twilio import sandbox_credentials
from messaging.senders import Line, shared_out
from messaging.twilio_api import ERRORS, OVERRIDES, PROVIDER, STATUSES, TryLater, TwilioHttp, verified_form
from messaging.twilio_lookup import LookUp
from messaging.twilio_outcomes import RETIRES, busy, refused, taken, words_of
from sprayer_project.gate import Gate
from sprayer_project.serializers import LONG, StrictCharField, StrictSerializer

CONCURRENCY = 10
MAX_VALIDITY = 36_000
"""Seconds that Twilio keeps a message at most."""


class Config(forms.Form):
    account_sid = forms.RegexField(r"^AC[0-9a-f]{32}$", label="Account SID")
    auth_token = forms.CharField(widget=forms.PasswordInput, max_length=64, label="Auth token")
    sender = forms.RegexField(
        r"^(\+\d{5,15}|\d{3,8}|[A-Za-z0-9 &_+-]{1,11})$",
        required=False,
        label="From",
        help_text="A number, a short code or an alphanumeric sender.",
    )
    messaging_service_sid = forms.RegexField(r"^MG[0-9a-f]{32}$", required=False, label="Messaging service SID")
    retry_unknown = forms.BooleanField(
        required=False,
        help_text="Repeat a message that was not answered and that Twilio does not list: it may arrive twice.",
    )

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        if not self.errors and not values.get("sender") and not values.get("messaging_service_sid"):
            raise forms.ValidationError("Give a From or a messaging service SID.")
        return values


class Content(StrictSerializer):
    body = StrictCharField(required=False, style=LONG, help_text="The text, instead of title and body.")
    sender = StrictCharField(required=False, max_length=15, help_text="From, instead of the configured one.")


class Sms(Channel):
    label = "SMS"
    settles_at = Status.DELIVERED
    address_kind = "phone number"
    repeat_unknown = False
    providers = (PROVIDER,)
    retires = RETIRES
    Config = Config
    Content = Content
    _http: TwilioHttp | None = None

    def __init__(self) -> None:
        self._look_up = LookUp()

    def clean_address(self, value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(r"\+[0-9 ().-]{6,30}", value):
            raise ValueError("Give a phone number in international form, such as +34600000001.")
        try:
            number = phonenumbers.parse(value)
        except phonenumbers.NumberParseException as error:
            raise ValueError("Give a phone number with a country code, such as +34600000001.") from error
        # Possible, not valid: numbering plans change faster than releases, and fictional numbers are for tests.
        if not phonenumbers.is_possible_number(number):
            raise ValueError("This phone number is too short or too long for its country.")
        return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)

    def mask_address(self, address: str) -> str:
        return f"+{phonenumbers.parse(address).country_code}*****{address[-3:]}"

    def sandbox_config(self, tenant: str) -> Mapping[str, Any]:
        sid, token = sandbox_credentials(tenant)
        return {"account_sid": sid, "auth_token": token, "sender": "+15005550006", "messaging_service_sid": ""}

    def sandbox_address(self, name: str) -> str:
        return f"+1202{crc32(name.encode()) % 10_000_000:07}"

    async def check(self, config: Mapping[str, Any]) -> None:
        """The account is asked for; the sender is not: Twilio lists only those numbers that it rents out itself."""
        try:
            account = await self._client(config, "live").api.v2010.accounts(config["account_sid"]).fetch_async()
        except TryLater as error:
            raise DeliveryError(error.reason) from error
        except TwilioException as error:
            raise DeliveryError("credentials_refused", permanent=True, detail=words_of(error)) from error
        except ValueError as error:
            raise DeliveryError("bad_answer", detail="the answer is not Twilio's") from error
        if account.status != "active":
            raise DeliveryError("account_not_active", permanent=True, detail=f"The account is {account.status}.")

    def preview(self, message: Outgoing) -> Mapping[str, Any]:
        text = _text(message)
        counted = encoded(text)
        return {"characters": len(text), "encoding": counted.encoding, "segments": counted.segments}

    def look(self, message: Outgoing) -> Look:
        return Look(shape="text", text=_text(message))

    def _client(self, config: Mapping[str, Any], mode: str) -> Client:
        self._http = self._http or TwilioHttp()
        client = Client(config["account_sid"], config["auth_token"], http_client=self._http)
        client.api.base_url = f"{settings.SANDBOX_URL}/sms" if mode == "test" else settings.PROVIDER_URLS[PROVIDER]
        return client

    async def send(
        self, config: Mapping[str, Any], message: Outgoing, recipients: Sequence[Recipient]
    ) -> AsyncIterator[Outcome]:
        text = _text(message)
        client = self._client(config, message.mode)
        line = Line(Gate(CONCURRENCY), recipients)

        async def attempt(recipient: Recipient) -> Outcome:
            return await self._attempt(client, config, message, recipient, text)

        async for outcome in shared_out([line], attempt, message.given_up):
            yield outcome

    async def _attempt(
        self, client: Client, config: Mapping[str, Any], message: Outgoing, recipient: Recipient, text: str
    ) -> Outcome:
        to, now = recipient.address, datetime.now(UTC)
        # A repeat may follow an unknown outcome. In later rounds the message of an earlier one would look the same.
        repeat = config.get("retry_unknown") and recipient.attempt > 1 and recipient.round == 1
        if repeat and (found := await self._look_up.find(client, to, text, message.created_at)):
            return taken(recipient, found, text, found=True)
        left = (message.expires_at - now).total_seconds()
        try:
            made = await client.messages.create_async(
                to,
                body=text,
                from_=message.overrides.get("sender") or config.get("sender") or unset,
                messaging_service_sid=config.get("messaging_service_sid") or unset,
                status_callback=callback_url(self, PROVIDER, message, recipient) + OVERRIDES,
                validity_period=max(1, min(MAX_VALIDITY, int(left))),
            )
        except TryLater as error:
            found = await self._look_up.find_soon(client, to, text, now) if error.unknown else None
            return taken(recipient, found, text, found=True) if found else busy(recipient, error)
        except TwilioException as error:
            return refused(recipient, error)
        self._look_up.note(made.sid)
        return taken(recipient, made, text)

    def parse_events(self, callback: Callback, config: Mapping[str, Any]) -> list[DeliveryEvent]:
        form = verified_form(callback, config["auth_token"])
        reference = reference_of(callback)
        word, sid, code = form.get("MessageStatus", ""), form.get("MessageSid", ""), form.get("ErrorCode", "")
        if reference is None or word not in STATUSES:
            return []
        status = STATUSES[word]
        known = ERRORS.get(int(code) if code.isdecimal() else 0, (status, "undeliverable"))
        event = reference.event(
            channel=self.name,
            status=status,
            at=datetime.now(UTC),
            event=f"evt_{sid}_{word}",
            provider=PROVIDER,
            provider_id=sid,
            reason=known[1] if status is Status.FAILED else "",
            detail={"status": word} | ({"code": int(code)} if code.isdecimal() else {}),
        )
        return [event]

    async def aclose(self) -> None:
        if self._http:
            await self._http.close()
            self._http = None


def _text(message: Outgoing) -> str:
    """Raises DeliveryError where there is none."""
    parts = [message.content.get("title"), message.content.get("body")]
    text = str(message.overrides.get("body") or "\n".join(str(part) for part in parts if part))
    if not text:
        raise DeliveryError("empty_text", permanent=True, detail="The message has neither title nor body.")
    return text
