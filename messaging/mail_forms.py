"""What a tenant configures for e-mail, and what a message may say for it alone."""

import base64
import re
import secrets
from email.utils import parseaddr
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from django import forms
from django.core.exceptions import ValidationError
from rest_framework import serializers

from messaging.esps import BASIC_AUTH, ESPS
from messaging.mail import mailbox
from messaging.mail_attachments import MEDIA_TYPE
from sprayer_project.outbound import is_allowed_private
from sprayer_project.serializers import LONG, StrictCharField, StrictSerializer

_header = re.compile(
    r"(?:List-[A-Za-z-]+|X-[A-Za-z0-9-]+|In-Reply-To|References|Auto-Submitted|Precedence|Feedback-ID)"
)

_secret = partial(forms.CharField, required=False, max_length=1000, widget=forms.PasswordInput)


class EmailConfig(forms.Form):
    """Who carries the tenant's mail; each provider needs some of the fields."""

    provider = forms.ChoiceField(choices=[("smtp", "SMTP"), *((name, name.capitalize()) for name in ESPS)])
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
    webhook_secret = _secret(
        label="Webhook secret",
        help_text="What proves the provider's webhooks. Mailersend, Mailgun, Mailtrap, Mandrill and Resend show the "
        "key that they sign with. For Brevo, Mailjet, Postmark and Sparkpost it is user:password, made if left empty: "
        "write them into the callback address, as https://user:password@...",
    )
    retry_unknown = forms.BooleanField(required=False, help_text="Repeat a mail of which nobody knows whether it left.")

    def clean_from_email(self) -> str:
        value: str = self.cleaned_data["from_email"]
        try:
            mailbox(parseaddr(value)[1])
        except ValueError as error:
            raise ValidationError(str(error)) from error
        return value

    def clean_port(self) -> int:
        return self.cleaned_data["port"] or 587

    def clean_security(self) -> str:
        return self.cleaned_data["security"] or "starttls"

    def clean(self) -> dict[str, Any]:
        provider = self.cleaned_data.get("provider")
        esp = ESPS.get(provider or "")
        needed = ["host"] if esp is None else [*esp.credentials.values()]
        for name in needed:
            if provider and name != "sender_domain" and not self.cleaned_data.get(name):
                self.add_error(name, f"{provider} needs it.")
        if esp is not None and esp.secret == BASIC_AUTH:
            secret = self.cleaned_data.get("webhook_secret") or f"sprayer:{secrets.token_urlsafe(24)}"
            self.cleaned_data["webhook_secret"] = secret
            if not all(secret.partition(":")):
                self.add_error("webhook_secret", f"For {provider} it is user:password.")
        return self.cleaned_data


class AttachmentContent(StrictSerializer):
    """A file: its content in base64, or an https URL that it is fetched from."""

    name = StrictCharField(required=False, max_length=200)
    type = serializers.RegexField(MEDIA_TYPE, required=False, max_length=100, help_text="Its media type.")
    content = StrictCharField(required=False, allow_blank=True)
    url = serializers.URLField(required=False, max_length=2000)

    def validate_name(self, value: str) -> str:
        if not value.isprintable() or "/" in value:
            raise serializers.ValidationError("A file name has no slashes and no line breaks.")
        return value

    def validate_content(self, value: str) -> str:
        try:
            base64.b64decode(value, validate=True)
        except ValueError as error:
            raise serializers.ValidationError("This is not base64.") from error
        return value

    def validate_url(self, value: str) -> str:
        return _https(value)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("url" in attrs) == ("content" in attrs):
            raise serializers.ValidationError("Give either content or url.")
        if "content" in attrs and "name" not in attrs:
            raise serializers.ValidationError({"name": "Needed beside content."})
        return attrs


class UnsubscribeField(serializers.Field[Any, Any, Any, Any]):
    """true, false, or an https URL of the tenant's that takes the one-click POST of RFC 8058."""

    def to_internal_value(self, data: Any) -> bool | str:
        if isinstance(data, bool):
            return data
        if not isinstance(data, str) or len(data) > 900 or not data.isascii() or set(data) & set("<> \t\r\n"):
            raise serializers.ValidationError("true, false or an https URL.")
        return _https(str(serializers.URLField().run_validation(data)))

    def to_representation(self, value: Any) -> Any:
        return value


class EmailContent(serializers.Serializer[Any]):
    """What a message says for e-mail alone; subject and text are otherwise the content's title and body."""

    subject = serializers.CharField(required=False, max_length=998)
    text = serializers.CharField(required=False, trim_whitespace=False, style=LONG)
    html = serializers.CharField(required=False, trim_whitespace=False, style=LONG, label="HTML")
    reply_to = serializers.EmailField(required=False)
    headers = serializers.DictField(
        child=serializers.CharField(max_length=998), required=False, help_text='By name: {"X-Order": "17"}'
    )
    attachments = serializers.ListField(
        child=AttachmentContent(),
        required=False,
        max_length=10,
        help_text='Carried or fetched: [{"name": "a.txt", "content": "SGVsbG8="}, {"url": "https://example.com/a.pdf"}]',
    )
    unsubscribe = UnsubscribeField(
        required=False, help_text="true, false, or an https URL of yours that takes the one-click POST."
    )

    def validate_headers(self, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not _header.fullmatch(name) or not text.isprintable():
                raise serializers.ValidationError(f"{name} is not a header that a message may set, or has line breaks.")
        return value


def _https(url: str) -> str:
    """Plain HTTP is for the hosts that the operator allows."""
    parts = urlsplit(url)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise serializers.ValidationError("The port is not one.") from error
    allowed = parts.scheme == "https" or is_allowed_private(parts.hostname or "", port)
    if not allowed or "@" in parts.netloc:
        raise serializers.ValidationError("Use an https URL without user name and password.")
    return url
