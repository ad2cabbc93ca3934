"""Mailboxes, and how one mail looks: for one recipient, or for a call in which each recipient sees only himself."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parseaddr
from typing import Any

import idna
from django.core.exceptions import ValidationError
from django.core.mail import EmailMultiAlternatives
from django.core.validators import EmailValidator

from messaging.channels.base import DeliveryError, Look, Outgoing, Recipient
from messaging.esps import ESPS
from messaging.mail_reference import reference_to, to_metadata
from messaging.unsubscribing import unsubscribe_headers

_is_mailbox = EmailValidator(allowlist=[])
_ADDRESS = re.compile(r"\S+@\S+")


@dataclass(frozen=True, slots=True)
class File:
    """An attachment; type is its media type."""

    name: str
    type: str
    content: bytes


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


def words(text: object) -> str:
    """At most 200 characters of a provider's words, without addresses."""
    said = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
    return _ADDRESS.sub("***", " ".join(said.split()))[:200]


def check_words(message: Outgoing) -> None:
    """Raises DeliveryError for a mail with nothing in it."""
    if not (_text(message) or message.overrides.get("html")):
        raise DeliveryError("no_text", permanent=True, detail="The message has neither text, html, body nor title.")


def preview(message: Outgoing) -> dict[str, Any]:
    """Subject and sizes, in bytes of UTF-8; attachments are counted, and not fetched. Raises DeliveryError."""
    check_words(message)
    own = message.overrides
    return {
        "subject": _subject(message),
        "text_bytes": len(_text(message).encode(errors="replace")),
        "html_bytes": len(str(own.get("html") or "").encode(errors="replace")),
        "attachments": len(own.get("attachments") or ()),
    }


def look(message: Outgoing) -> Look:
    """Raises DeliveryError for a mail with nothing in it."""
    check_words(message)
    html = str(message.overrides.get("html") or "")
    return Look(shape="mail", title=_subject(message), text=_text(message), html=html)


def compose(
    config: Mapping[str, Any], message: Outgoing, recipients: Sequence[Recipient], files: Sequence[File] = ()
) -> EmailMultiAlternatives:
    """The mail for these recipients, of whom only a provider with batches takes more than one."""
    own = message.overrides
    to = [recipient.address for recipient in recipients]
    mail = EmailMultiAlternatives(_subject(message), _text(message), config["from_email"], to)
    if own.get("html"):
        mail.attach_alternative(own["html"], "text/html")
    if own.get("reply_to"):
        mail.reply_to = [own["reply_to"]]
    for file in files:
        mail.attach(file.name, file.content, file.type)
    _identify(mail, config, message, recipients)
    return mail


def headers_differ(config: Mapping[str, Any], message: Outgoing, recipients: Sequence[Recipient]) -> bool:
    headers = [_headers(config, message, recipient) for recipient in recipients]
    return any(one != headers[0] for one in headers)


def _identify(
    mail: EmailMultiAlternatives, config: Mapping[str, Any], message: Outgoing, recipients: Sequence[Recipient]
) -> None:
    """Headers, and what the provider keeps beside the mail so that its webhooks tell which delivery they are about."""
    esp = ESPS.get(config["provider"])
    headers = {recipient.address: _headers(config, message, recipient) for recipient in recipients}
    kept = {
        recipient.address: {"message": message.id} | to_metadata(reference_to(message, recipient))
        for recipient in recipients
    }
    if len(recipients) > 1:
        mail.merge_metadata = kept  # type: ignore[attr-defined]
        if headers_differ(config, message, recipients) or (esp is not None and esp.own_headers_alone):
            mail.merge_headers = headers  # type: ignore[attr-defined]
            return
    elif esp is not None and esp.keeps_metadata:
        mail.metadata = kept[recipients[0].address]  # type: ignore[attr-defined]
    mail.extra_headers = headers[recipients[0].address]
    if esp is None:
        domain = parseaddr(config["from_email"])[1].rpartition("@")[2]
        delivery, round = recipients[0].delivery, recipients[0].round
        mail.extra_headers["Message-ID"] = f"<{delivery}.{round}@{domain}>"  # the same on every attempt


def _headers(config: Mapping[str, Any], message: Outgoing, recipient: Recipient) -> dict[str, str]:
    headers = dict(message.overrides.get("headers") or {})
    esp = ESPS.get(config["provider"])
    if esp is not None and not esp.takes_headers:
        return headers
    given = {name.lower() for name in headers}
    return headers if "list-unsubscribe" in given else headers | unsubscribe_headers(message, recipient)


def _subject(message: Outgoing) -> str:
    """In one line."""
    content, own = message.content, message.overrides
    return " ".join(str(own.get("subject") or content.get("title") or content.get("type") or "").split())


def _text(message: Outgoing) -> str:
    content, own = message.content, message.overrides
    return str(own.get("text") or content.get("body") or ("" if own.get("html") else content.get("title")) or "")
