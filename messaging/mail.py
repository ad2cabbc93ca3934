"""How one mail looks, how it leaves over SMTP or a django-anymail provider, and what the answer means.

Everything here blocks: call it in a thread. SMTP replies are RFC 5321, 4.2 and RFC 3463; providers'
words are anymail's, https://anymail.dev/en/stable/sending/anymail_additions/#esp-send-status
"""

import re
import smtplib
import socket
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from email.utils import parseaddr
from functools import partial
from typing import Any

import idna
import requests
from anymail.exceptions import AnymailAPIError, AnymailError
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.mail import EmailMultiAlternatives, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.backends.smtp import EmailBackend
from django.core.validators import EmailValidator
from urllib3.exceptions import NewConnectionError

from feedback.events import Status
from messaging.channels.base import DeliveryError, Outcome, Outgoing, Recipient
from sprayer_project.outbound import BlockedAddress, check_host, parse_retry_after

TIMEOUT = 20.0
"""Seconds that any single step with a mail server or provider may take."""

ESPS: Mapping[str, Mapping[str, str]] = {
    "brevo": {"api_key": "api_key"},
    "mailersend": {"api_token": "api_key"},
    "mailgun": {"api_key": "api_key", "sender_domain": "sender_domain"},
    "mailjet": {"api_key": "api_key", "secret_key": "api_secret"},
    "mailtrap": {"api_token": "api_key"},
    "mandrill": {"api_key": "api_key"},
    "postmark": {"server_token": "api_key"},
    "resend": {"api_key": "api_key"},
    "sparkpost": {"api_key": "api_key"},
}
"""anymail's providers: its backend's argument to our configuration's field."""

_STATUSES: Mapping[str, tuple[Status, str]] = {
    "sent": (Status.SENT, ""),
    "queued": (Status.SENT, ""),
    "unknown": (Status.SENT, ""),
    "invalid": (Status.FAILED, "invalid_address"),
    "rejected": (Status.FAILED, "rejected"),
    "failed": (Status.FAILED, "provider_failed"),
}
_is_mailbox = EmailValidator(allowlist=[])
_DEAD_MAILBOX = re.compile(rb"\b5\.1\.(?:1|2|3|6|10)\b")
_ADDRESS = re.compile(r"\S+@\S+")


def mailbox(value: str) -> str:
    """The address with its domain in lower-case ASCII (IDNA 2008). Raises ValueError with a sentence.

    Quoted names and domain literals are refused.
    """
    local, _, domain = value.strip().rpartition("@")
    try:
        address = f"{local}@{idna.encode(domain, uts46=True).decode().lower()}"
        _is_mailbox(address)
    except (idna.IDNAError, ValidationError) as error:
        raise ValueError("This is not a mailbox: use one like alice@example.com.") from error
    if len(address) > 254 or local.startswith('"'):
        raise ValueError("A mailbox has at most 254 characters and no quotes.")
    return address


class _Smtp(smtplib.SMTP):
    """Connects to addresses that were checked; the host's name stays what its certificate must say."""

    def __init__(self, addresses: Sequence[str], *args: Any, **options: Any):
        self._addresses = addresses
        self.in_data = False
        super().__init__(*args, **options)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        *others, last = self._addresses[:3]
        for address in others:
            try:
                return socket.create_connection((address, port), timeout)
            except OSError:
                continue
        return socket.create_connection((last, port), timeout)

    def mail(self, sender: str, options: Sequence[str] = ()) -> tuple[int, bytes]:
        self.in_data = False
        return super().mail(sender, options)

    def data(self, msg: Any) -> tuple[int, bytes]:
        self.in_data = True
        return super().data(msg)


class _SmtpOverTls(smtplib.SMTP_SSL, _Smtp):
    pass


class GuardedSmtp(EmailBackend):
    """Django's SMTP backend behind the address guard; trusted is for the operator's own servers."""

    def __init__(self, *, trusted: bool, **options: Any):
        super().__init__(**options)
        self._trusted = trusted

    @property
    def connection_class(self) -> Any:
        addresses = [self.host] if self._trusted else check_host(self.host, self.port)
        return partial(_SmtpOverTls if self.use_ssl else _Smtp, addresses)

    def open(self) -> bool | None:
        if self.connection is not None and self.connection.sock is None:
            self.connection = None  # the server hung up
        return super().open()


def connection(config: Mapping[str, Any], trusted: bool) -> BaseEmailBackend:
    """The tenant's way out, not yet open."""
    provider = config["provider"]
    if provider == "smtp":
        security = config.get("security")
        return GuardedSmtp(
            trusted=trusted,
            host=config["host"],
            port=config.get("port") or 587,
            username=config.get("username") or "",
            password=config.get("password") or "",
            use_tls=security == "starttls",
            use_ssl=security == "tls",
            timeout=TIMEOUT,
        )
    options = {argument: config[field] for argument, field in ESPS[provider].items() if config.get(field)}
    if url := settings.PROVIDER_URLS.get(provider):
        options["api_url"] = url
    backend = f"anymail.backends.{provider}.EmailBackend"
    return get_connection(backend, requests_timeout=TIMEOUT, ignore_recipient_status=True, **options)


def open_connection(opened: BaseEmailBackend) -> None:
    """Nothing where it is open already. Raises DeliveryError."""
    try:
        opened.open()
    except BlockedAddress as error:
        raise DeliveryError(error.code, permanent=True, detail=error.detail) from error
    except smtplib.SMTPAuthenticationError as error:
        permanent = error.smtp_code >= 500
        reason, said = "credentials_refused" if permanent else "provider_unavailable", _bounded(error.smtp_error)
        raise DeliveryError(reason, permanent, detail=said) from error
    except smtplib.SMTPNotSupportedError as error:
        raise DeliveryError("not_supported", permanent=True, detail=_bounded(error)) from error
    except socket.gaierror as error:
        raise DeliveryError("no_such_host", detail="The mail server's name has no address.") from error
    except ssl.SSLError as error:
        raise DeliveryError("tls_failed", detail=_bounded(error)) from error
    except OSError as error:
        raise DeliveryError("connection_failed", detail=_bounded(error)) from error


def close_connection(opened: BaseEmailBackend) -> None:
    """Say goodbye; what the server answers no longer matters."""
    with suppress(OSError):
        opened.close()


def try_out(config: Mapping[str, Any]) -> None:
    """Open the way and close it again. Raises DeliveryError."""
    opened = connection(config, trusted=False)
    try:
        open_connection(opened)
    finally:
        close_connection(opened)


def compose(config: Mapping[str, Any], message: Outgoing, to: Recipient) -> EmailMultiAlternatives | None:
    """The mail for one recipient; None when the message has no words for it."""
    content, own = message.content, message.overrides
    title, html = str(content.get("title") or ""), own.get("html")
    text = own.get("text") or content.get("body") or (title if not html else "")
    if not text and not html:
        return None
    subject = own.get("subject") or title or str(content.get("type") or "")
    headers = dict(own.get("headers") or {})
    if config["provider"] == "smtp":
        domain = parseaddr(config["from_email"])[1].rpartition("@")[2]
        headers["Message-ID"] = f"<{to.delivery}.{to.round}@{domain}>"  # the same on every attempt
    mail = EmailMultiAlternatives(" ".join(subject.split()), text, config["from_email"], [to.address], headers=headers)
    if html:
        mail.attach_alternative(html, "text/html")
    if own.get("reply_to"):
        mail.reply_to = [own["reply_to"]]
    mail.metadata = {"delivery": to.delivery, "message": message.id, "round": str(to.round)}  # type: ignore[attr-defined]
    return mail


def deliver(opened: BaseEmailBackend, config: Mapping[str, Any], message: Outgoing, to: Recipient) -> Outcome:
    """Send one mail to its one recipient. Raises DeliveryError when the provider refuses the tenant itself."""
    outcome = partial(Outcome, delivery=to.delivery, provider=config["provider"])
    mail = compose(config, message, to)
    if mail is None:
        return outcome(status=Status.FAILED, reason="no_text")
    try:
        opened.send_messages([mail])
    except smtplib.SMTPRecipientsRefused as error:
        code, text = next(iter(error.recipients.values()))
        return _refused(outcome, code, text, "recipient_refused")
    except smtplib.SMTPSenderRefused as error:
        if error.smtp_code in (530, 535):
            raise DeliveryError("credentials_refused", permanent=True, detail=_bounded(error.smtp_error)) from error
        return _refused(outcome, error.smtp_code, error.smtp_error, "sender_refused")
    except smtplib.SMTPResponseException as error:
        return _refused(outcome, error.smtp_code, error.smtp_error, "content_refused")
    except AnymailError as error:
        return _anymail_failed(outcome, error)
    except OSError as error:
        unknown = bool(getattr(getattr(opened, "connection", None), "in_data", False))
        detail = {"message": _bounded(error)}
        return outcome(status=Status.DEFERRED, reason="connection_lost", unknown=unknown, detail=detail)
    if answered := getattr(mail, "anymail_status", None):
        # One mailbox may appear twice, as we wrote it and as the provider does: a refusal is the stronger word.
        found = sorted(
            answered.recipients.values(), key=lambda one: _STATUSES[one.status or "unknown"][1], reverse=True
        )
        status, reason = _STATUSES[found[0].status or "unknown"] if found else _STATUSES["unknown"]
        identifier = str(found[0].message_id or "") if found else ""
        return outcome(status=status, reason=reason, provider_id=identifier, retire=reason == "invalid_address")
    return outcome(status=Status.SENT, provider_id=str(mail.extra_headers.get("Message-ID", "")))


def _refused(outcome: "partial[Outcome]", code: int, text: bytes | str, reason: str) -> Outcome:
    raw = text if isinstance(text, bytes) else text.encode()
    detail = {"code": code, "message": _bounded(raw)}
    if code < 500:
        return outcome(status=Status.DEFERRED, reason="provider_deferred", detail=detail)
    if reason == "recipient_refused" and _DEAD_MAILBOX.search(raw):
        return outcome(status=Status.FAILED, reason="invalid_address", retire=True, detail=detail)
    return outcome(status=Status.FAILED, reason=reason, detail=detail)


def _anymail_failed(outcome: "partial[Outcome]", error: AnymailError) -> Outcome:
    status = error.status_code
    detail = {"http_status": status, "message": _bounded(error.describe_response() or error)}
    if isinstance(error, requests.RequestException) and status is None:
        unsent = isinstance(error, requests.ConnectTimeout) or isinstance(_root(error), NewConnectionError)
        reason = "connection_failed" if unsent else "connection_lost"
        return outcome(status=Status.DEFERRED, reason=reason, unknown=not unsent, detail={"message": _bounded(error)})
    if status in (401, 403):
        raise DeliveryError("credentials_refused", permanent=True, detail=detail["message"]) from error
    if status == 429 or (status or 0) >= 500:
        wait = parse_retry_after(error.response.headers.get("Retry-After"))
        reason = "rate_limited" if status == 429 else "provider_unavailable"
        return outcome(status=Status.DEFERRED, reason=reason, retry_after=wait, detail=detail)
    if isinstance(error, AnymailAPIError) and status is not None and status < 300:
        # It took the mail, and its answer cannot be read.
        return outcome(status=Status.DEFERRED, reason="bad_answer", unknown=True, detail=detail)
    return outcome(status=Status.FAILED, reason="provider_refused", detail=detail)


def _root(error: requests.RequestException) -> Any:
    """urllib3's reason inside what requests wrapped, anymail's wrapper taken off first."""
    arguments = getattr(error.__cause__, "args", ())
    return getattr(arguments[0], "reason", None) if arguments else None


def _bounded(text: object) -> str:
    """At most 200 characters of a provider's words, without addresses."""
    words = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
    return _ADDRESS.sub("***", " ".join(words.split()))[:200]
