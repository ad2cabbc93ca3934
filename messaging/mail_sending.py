"""One call to a mail server or provider, and what its answer means for each recipient.

Everything here blocks: call it in a thread. SMTP replies are RFC 5321, 4.2 and RFC 3463; providers'
words are anymail's, https://anymail.dev/en/stable/sending/anymail_additions/#esp-send-status
"""

import re
import smtplib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import requests
from anymail.exceptions import AnymailAPIError, AnymailError
from django.core.mail import EmailMultiAlternatives
from django.core.mail.backends.base import BaseEmailBackend
from urllib3.exceptions import NewConnectionError

from feedback.events import Status
from messaging.channels.base import DeliveryError, Outcome, Outgoing, Recipient
from messaging.esps import ESPS
from messaging.mail import File, compose, words
from sprayer_project.outbound import parse_retry_after

_STATUSES: Mapping[str, tuple[Status, str]] = {
    "sent": (Status.SENT, ""),
    "queued": (Status.SENT, ""),
    "unknown": (Status.SENT, ""),
    "invalid": (Status.FAILED, "invalid_address"),
    "rejected": (Status.FAILED, "rejected"),
    "failed": (Status.FAILED, "provider_failed"),
}
_DEAD_MAILBOX = re.compile(rb"\b5\.1\.(?:1|2|3|6|10)\b")

Verdict = partial[Outcome]
"""An outcome that lacks its delivery only."""


class RefusedTogether(Exception):
    """The provider refused a call for several recipients and sent nothing: one of them may be the reason."""


def batches(
    config: Mapping[str, Any], recipients: Sequence[Recipient], alike: bool, files: bool
) -> list[list[Recipient]]:
    """Who goes into one call together: as many as the provider takes, and each mailbox once.

    alike: their headers are the same; files: the mail has attachments.
    """
    esp = ESPS.get(config["provider"])
    size = esp.batch if esp and (alike or esp.batch_headers) and (not files or esp.batch_attachments) else 1
    layers: list[list[Recipient]] = []
    seen: dict[str, int] = {}
    for recipient in recipients:
        name = recipient.address.lower()
        seen[name] = number = seen.get(name, -1) + 1
        if number == len(layers):
            layers.append([])
        layers[number].append(recipient)
    size = max(size, 1)
    return [layer[start : start + size] for layer in layers for start in range(0, len(layer), size)]


def deliver(
    opened: BaseEmailBackend,
    config: Mapping[str, Any],
    message: Outgoing,
    recipients: Sequence[Recipient],
    files: Sequence[File] = (),
) -> list[Outcome]:
    """Send one mail to its recipients in one call.

    Raises DeliveryError when the provider refuses the tenant itself, RefusedTogether.
    """
    verdict: Verdict = partial(Outcome, provider=config["provider"])
    mail = compose(config, message, recipients, files)
    try:
        opened.send_messages([mail])
    except smtplib.SMTPException as error:
        verdict = _smtp_failed(verdict, opened, error)
    except AnymailError as error:
        verdict = _anymail_failed(verdict, config, error)
        if len(recipients) > 1 and verdict.keywords["status"] is Status.FAILED:
            raise RefusedTogether from error
    except OSError as error:
        verdict = _lost(verdict, opened, error)
    else:
        return _taken(verdict, mail, recipients)
    return [verdict(delivery=recipient.delivery) for recipient in recipients]


def _taken(verdict: Verdict, mail: EmailMultiAlternatives, recipients: Sequence[Recipient]) -> list[Outcome]:
    answered = getattr(mail, "anymail_status", None)
    if answered is None:
        identifier = str(mail.extra_headers.get("Message-ID", ""))
        return [verdict(delivery=one.delivery, status=Status.SENT, provider_id=identifier) for one in recipients]
    if len(recipients) > 1 and answered.esp_response.status_code >= 400:
        raise RefusedTogether
    by_mailbox: dict[str, list[Any]] = {}
    for address, status in answered.recipients.items():
        by_mailbox.setdefault(address.lower(), []).append(status)
    return [_answered(verdict, one, by_mailbox.get(one.address.lower(), [])) for one in recipients]


def _answered(verdict: Verdict, recipient: Recipient, statuses: Sequence[Any]) -> Outcome:
    """One mailbox may appear twice, as we wrote it and as the provider does: a refusal is the stronger word."""
    found = sorted(statuses, key=lambda one: _STATUSES[one.status or "unknown"][1], reverse=True)
    status, reason = _STATUSES[found[0].status or "unknown"] if found else _STATUSES["unknown"]
    return verdict(
        delivery=recipient.delivery,
        status=status,
        reason=reason,
        provider_id=str(found[0].message_id or "") if found else "",
        retire=reason == "invalid_address",
    )


def _smtp_failed(verdict: Verdict, opened: BaseEmailBackend, error: smtplib.SMTPException) -> Verdict:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code, text = next(iter(error.recipients.values()))
        return _refused(verdict, code, text, "recipient_refused")
    if isinstance(error, smtplib.SMTPSenderRefused):
        if error.smtp_code in (530, 535):
            raise DeliveryError("credentials_refused", permanent=True, detail=words(error.smtp_error)) from error
        return _refused(verdict, error.smtp_code, error.smtp_error, "sender_refused")
    if isinstance(error, smtplib.SMTPResponseException):
        return _refused(verdict, error.smtp_code, error.smtp_error, "content_refused")
    return _lost(verdict, opened, error)


def _refused(verdict: Verdict, code: int, text: bytes | str, reason: str) -> Verdict:
    raw = text if isinstance(text, bytes) else text.encode()
    detail = {"code": code, "message": words(raw)}
    if code < 500:
        return partial(verdict, status=Status.DEFERRED, reason="provider_deferred", detail=detail)
    if reason == "recipient_refused" and _DEAD_MAILBOX.search(raw):
        return partial(verdict, status=Status.FAILED, reason="invalid_address", retire=True, detail=detail)
    return partial(verdict, status=Status.FAILED, reason=reason, detail=detail)


def _lost(verdict: Verdict, opened: BaseEmailBackend, error: OSError) -> Verdict:
    unknown = bool(getattr(getattr(opened, "connection", None), "in_data", False))
    detail = {"message": words(error)}
    return partial(verdict, status=Status.DEFERRED, reason="connection_lost", unknown=unknown, detail=detail)


def _anymail_failed(verdict: Verdict, config: Mapping[str, Any], error: AnymailError) -> Verdict:
    status = error.status_code
    said = error.describe_response() or str(error)
    detail = {"http_status": status, "message": words(said)}
    if isinstance(error, requests.RequestException) and status is None:
        return _no_answer(verdict, error)
    if status in (401, 403):
        raise DeliveryError("credentials_refused", permanent=True, detail=detail["message"]) from error
    if status in (402, 404):
        raise DeliveryError("provider_refused", permanent=True, detail=detail["message"]) from error
    if status == 429 or (status or 0) >= 500:
        wait = parse_retry_after(error.response.headers.get("Retry-After"))
        reason = "rate_limited" if status == 429 else "provider_unavailable"
        deferred = partial(verdict, status=Status.DEFERRED, reason=reason, retry_after=wait, detail=detail)
        return partial(deferred, unknown=status == 504)  # it was passed on, and no answer came back
    if isinstance(error, AnymailAPIError) and status is not None and status < 300:
        # It took the mail, and its answer cannot be read.
        return partial(verdict, status=Status.DEFERRED, reason="bad_answer", unknown=True, detail=detail)
    pattern = ESPS[config["provider"]].bad_address
    if pattern and re.search(pattern, said, re.IGNORECASE):
        return partial(verdict, status=Status.FAILED, reason="invalid_address", retire=True, detail=detail)
    return partial(verdict, status=Status.FAILED, reason="provider_refused", detail=detail)


def _no_answer(verdict: Verdict, error: requests.RequestException) -> Verdict:
    unsent = isinstance(error, requests.ConnectTimeout) or isinstance(_root(error), NewConnectionError)
    reason = "connection_failed" if unsent else "connection_lost"
    detail = {"message": words(error)}
    return partial(verdict, status=Status.DEFERRED, reason=reason, unknown=not unsent, detail=detail)


def _root(error: requests.RequestException) -> Any:
    """urllib3's reason inside what requests wrapped, anymail's wrapper taken off first."""
    arguments = getattr(error.__cause__, "args", ())
    return getattr(arguments[0], "reason", None) if arguments else None
