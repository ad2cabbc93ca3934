"""E-mail over SMTP or any django-anymail provider: one mail a recipient, so that nobody sees another's address."""

import asyncio
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from email.utils import parseaddr
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from rest_framework import serializers

from feedback.events import Status
from messaging import mail
from messaging.channels.base import Channel, DeliveryError, Outcome, Outgoing, Recipient

T = TypeVar("T")
_LANES, _PER_LANE = 8, 10
_threads = ThreadPoolExecutor(32, thread_name_prefix="mail")
_header = re.compile(
    r"(?:List-[A-Za-z-]+|X-[A-Za-z0-9-]+|In-Reply-To|References|Auto-Submitted|Precedence|Feedback-ID)"
)

_secret = partial(forms.CharField, required=False, max_length=1000, widget=forms.PasswordInput)


class EmailConfig(forms.Form):
    """Who carries the tenant's mail; each provider needs some of the fields."""

    provider = forms.ChoiceField(choices=[("smtp", "SMTP"), *((name, name.capitalize()) for name in mail.ESPS)])
    from_email = forms.CharField(
        max_length=320, label="From", help_text='alerts@example.com or "Acme" <alerts@example.com>'
    )
    host = forms.CharField(required=False, max_length=253, help_text="For SMTP.")
    port = forms.IntegerField(required=False, min_value=1, max_value=65535, help_text="For SMTP: 587 if left empty.")
    security = forms.ChoiceField(required=False, choices=[("starttls", "STARTTLS"), ("tls", "TLS"), ("none", "none")])
    username = forms.CharField(required=False, max_length=320)
    password = _secret(strip=False, help_text="For SMTP, where the server asks for a login.")
    api_key = _secret(label="API key", help_text="For every provider but SMTP.")
    api_secret = _secret(label="API secret", help_text="For the providers that give one beside the key.")
    sender_domain = forms.CharField(required=False, max_length=253, help_text="Where it differs from the sender's.")
    retry_unknown = forms.BooleanField(required=False, help_text="Repeat a mail of which nobody knows whether it left.")

    def clean_from_email(self) -> str:
        value: str = self.cleaned_data["from_email"]
        try:
            mail.mailbox(parseaddr(value)[1])
        except ValueError as error:
            raise ValidationError(str(error)) from error
        return value

    def clean_port(self) -> int:
        return self.cleaned_data["port"] or 587

    def clean_security(self) -> str:
        return self.cleaned_data["security"] or "starttls"

    def clean(self) -> dict[str, Any]:
        provider = self.cleaned_data.get("provider")
        needed = ["host"] if provider == "smtp" else [*mail.ESPS.get(provider or "", {}).values()]
        for name in needed:
            if name != "sender_domain" and not self.cleaned_data.get(name):
                self.add_error(name, f"{provider} needs it.")
        return self.cleaned_data


class EmailContent(serializers.Serializer[Any]):
    """What a message says for e-mail alone; subject and text are otherwise the content's title and body."""

    subject = serializers.CharField(required=False, max_length=998)
    text = serializers.CharField(required=False, trim_whitespace=False)
    html = serializers.CharField(required=False, trim_whitespace=False)
    reply_to = serializers.EmailField(required=False)
    headers = serializers.DictField(child=serializers.CharField(max_length=998), required=False)

    def validate_headers(self, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not _header.fullmatch(name) or not text.isprintable():
                raise serializers.ValidationError(f"{name} is not a header that a message may set, or has line breaks.")
        return value


class Email(Channel):
    label = "E-mail"
    settles_at = Status.SENT
    address_kind = "mailbox"
    Config = EmailConfig
    Content = EmailContent
    repeat_unknown = False

    def clean_address(self, value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError("An e-mail address is a text like alice@example.com.")
        return mail.mailbox(value)

    def mask_address(self, address: str) -> str:
        local, _, domain = address.rpartition("@")
        return f"{local[:1]}***@{domain}"

    def sandbox_config(self, tenant: str) -> Mapping[str, Any]:
        where = {"host": urlsplit(settings.SANDBOX_URL).hostname, "port": settings.SANDBOX_SMTP_PORT}
        login = {"username": tenant, "password": "sandbox", "from_email": f"{tenant}@sandbox.example.com"}
        return {"provider": "smtp", "security": "none", **where, **login}

    def sandbox_address(self, name: str) -> str:
        return f"{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-') or 'anyone'}@example.com"

    async def check(self, config: Mapping[str, Any]) -> None:
        """Connect, STARTTLS or TLS, log in and leave; the providers behind anymail have no such call."""
        await _in_thread(mail.try_out, config)

    async def send(
        self, config: Mapping[str, Any], message: Outgoing, recipients: Sequence[Recipient]
    ) -> AsyncIterator[Outcome]:
        """Over up to eight connections, each used for many mails."""
        todo, done = deque(recipients), asyncio.Queue[Outcome | None]()
        count = min(_LANES, -(-len(recipients) // _PER_LANE))
        lanes = [asyncio.create_task(self._lane(config, message, todo, done)) for _ in range(count)]
        missing = len(recipients)
        try:
            while count:
                if outcome := await done.get():
                    missing -= 1
                    yield outcome
                else:
                    count -= 1
        finally:
            todo.clear()  # whoever stops listening lets the mails in hand finish, and no more
            ended = await asyncio.gather(*lanes, return_exceptions=True)
        if missing:
            raise next(error for error in ended if error is not None)

    async def _lane(
        self, config: Mapping[str, Any], message: Outgoing, todo: deque[Recipient], done: asyncio.Queue[Outcome | None]
    ) -> None:
        connection = mail.connection(config, trusted=message.mode == "test")
        # No mail may start that could outlast the claim on its delivery: another dispatcher would send it again.
        end = time.monotonic() + max(settings.CLAIM_LEASE - 2 * mail.TIMEOUT, mail.TIMEOUT / 5)
        try:
            while todo:
                if time.monotonic() > end:
                    raise DeliveryError("provider_slow", detail="The provider is too slow for so many mails at once.")
                await _in_thread(mail.open_connection, connection)
                if todo:
                    to = todo.popleft()
                    done.put_nowait(await _in_thread(mail.deliver, connection, config, message, to))
        finally:
            await _in_thread(mail.close_connection, connection)
            done.put_nowait(None)


async def _in_thread(function: Callable[..., T], *arguments: Any) -> T:
    return await asyncio.get_running_loop().run_in_executor(_threads, function, *arguments)
