"""The way out for mails: SMTP behind the address guard, or a django-anymail provider's API.

Everything here blocks: call it in a thread.
"""

import smtplib
import socket
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from django.conf import settings
from django.core.mail import get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.backends.smtp import EmailBackend

from messaging.channels.base import DeliveryError
from messaging.esps import ESPS
from messaging.mail import words
from sprayer_project.outbound import BlockedAddress, check_host

TIMEOUT = 20.0
"""Seconds that any single step with a mail server or provider may take."""


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
    """Django's SMTP backend behind the address guard."""

    @property
    def connection_class(self) -> Any:
        return partial(_SmtpOverTls if self.use_ssl else _Smtp, check_host(self.host, self.port))

    def open(self) -> bool | None:
        if self.connection is not None and self.connection.sock is None:
            self.connection = None  # the server hung up
        return super().open()


def connection(config: Mapping[str, Any], gateway: str | None = None) -> BaseEmailBackend:
    """The tenant's way out, not yet open; gateway is a URL that takes the place of the provider's own."""
    provider = config["provider"]
    if provider == "smtp":
        security = config.get("security")
        return GuardedSmtp(
            host=config["host"],
            port=config.get("port") or 587,
            username=config.get("username") or "",
            password=config.get("password") or "",
            use_tls=security == "starttls",
            use_ssl=security == "tls",
            timeout=TIMEOUT,
        )
    esp = ESPS[provider]
    options = {argument: config[field] for argument, field in esp.credentials.items() if config.get(field)}
    if url := gateway or settings.PROVIDER_URLS.get(provider):
        options["api_url"] = url + esp.api_path
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
        reason = "credentials_refused" if permanent else "provider_unavailable"
        raise DeliveryError(reason, permanent, detail=words(error.smtp_error)) from error
    except smtplib.SMTPNotSupportedError as error:
        raise DeliveryError("not_supported", permanent=True, detail=words(error)) from error
    except socket.gaierror as error:
        raise DeliveryError("no_such_host", detail="The mail server's name has no address.") from error
    except ssl.SSLError as error:
        raise DeliveryError("tls_failed", detail=words(error)) from error
    except OSError as error:
        raise DeliveryError("connection_failed", detail=words(error)) from error


def close_connection(opened: BaseEmailBackend) -> None:
    """Say goodbye; what the server answers no longer matters."""
    with suppress(OSError):
        opened.close()
