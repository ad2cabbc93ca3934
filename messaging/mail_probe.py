"""Asking whoever carries a tenant's mail about the credentials, without a mail to anybody."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin

import requests
from anymail.exceptions import AnymailError
from django.core.mail import EmailMessage

from messaging import mail_connections
from messaging.channels.base import DeliveryError
from messaging.esps import ESPS, Esp
from messaging.mail import words


def try_out(config: Mapping[str, Any]) -> None:
    """Log in to the mail server, or show the provider the key, and leave. Blocks. Raises DeliveryError."""
    opened = mail_connections.connection(config)
    try:
        mail_connections.open_connection(opened)
        if esp := ESPS.get(config["provider"]):
            _judge(esp, _answer(opened, esp, config))
    finally:
        mail_connections.close_connection(opened)


def _answer(opened: Any, esp: Esp, config: Mapping[str, Any]) -> requests.Response:
    """To a call that proves who it is as a mail would, since anymail makes it."""
    opened.ignore_unsupported_features = True  # such as a mail to nobody
    try:
        to_nobody = opened.build_message_payload(EmailMessage(from_email=config["from_email"]), {})
        request = to_nobody.get_request_params(opened.api_url)
        if esp.probe:
            key = {esp.probe_key: config["api_key"]} if esp.probe_key else None
            method = "POST" if key else "GET"
            request |= {"method": method, "url": urljoin(opened.api_url, esp.probe), "data": None, "json": key}
        response: requests.Response = opened.session.request(**request, timeout=opened.timeout)
    except AnymailError as error:
        raise DeliveryError("provider_refused", permanent=True, detail=words(error)) from error
    except (requests.exceptions.InvalidHeader, UnicodeError) as error:
        detail = "the key has characters that no key has"
        raise DeliveryError("credentials_refused", permanent=True, detail=detail) from error
    except requests.RequestException as error:
        raise DeliveryError("timeout" if isinstance(error, requests.Timeout) else "connection_failed") from error
    return response


def _judge(esp: Esp, response: requests.Response) -> None:
    """A no is what says that a mail would be refused for whose it is: a key need not be allowed anything else."""
    status, said = response.status_code, response.text
    detail = words(f"{status} {response.reason}: {said}")
    if status == 401 or (status >= 400 and esp.refusal and re.search(esp.refusal, said, re.IGNORECASE)):
        raise DeliveryError("credentials_refused", permanent=True, detail=detail)
    if status >= 500:
        raise DeliveryError("provider_unavailable", detail=detail)
