"""Mailgun's documents: messages, refusals, webhooks; and whose credentials the sandbox accepts.

https://documentation.mailgun.com/docs/mailgun/api-reference/send/mailgun/messages
https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/webhook-payloads
"""

import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

_DOMAIN = "sandbox.example.com"
_VARIABLE = re.compile(r"%recipient\.([^%]+)%")


def sandbox_credentials(tenant: str) -> tuple[str, str, str]:
    """(domain, API key, webhook signing key) of a tenant: derived, so that nobody has to store them."""
    domain = f"{tenant}.{_DOMAIN}"
    return domain, api_key_of(domain), _key("webhooks", domain)


def api_key_of(domain: str) -> str:
    return f"key-{_key('api', domain)}"


def tenant_of(domain: str) -> str:
    """Empty for a domain that is not one of the sandbox's."""
    tenant, _, rest = domain.partition(".")
    return tenant if rest == _DOMAIN else ""


def _key(purpose: str, domain: str) -> str:
    secret = settings.SECRET_KEY.encode()
    return hmac.new(secret, f"sandbox.email.{purpose}:{domain}".encode(), hashlib.sha256).hexdigest()[:32]


class Refused(Exception):
    """A request that Mailgun answers with an error; status 0 for no answer at all."""

    def __init__(self, status: int, message: str, retry_after: int | None = None):
        super().__init__(message)
        self.status, self.message, self.retry_after = status, message, retry_after


@dataclass(frozen=True, slots=True)
class Mail:
    """One recipient's copy of a message."""

    domain: str
    to: str
    fields: Mapping[str, str]
    """The request's text fields, each recipient variable replaced."""
    id: str
    """Of the call, in angle brackets: all copies of one call share it."""
    attachments: tuple[Mapping[str, Any], ...] = ()

    @property
    def variables(self) -> dict[str, str]:
        return {name[2:]: value for name, value in self.fields.items() if name.startswith("v:")}

    def arrival(self) -> dict[str, Any]:
        headers = {name[2:].lower(): value for name, value in self.fields.items() if name.startswith("h:")}
        known = {name: self.fields.get(name) for name in ("from", "subject", "text", "html")}
        more = {"variables": self.variables, "attachments": [*self.attachments]}
        return {"id": self.id, "to": [self.to], **known, "headers": headers, **more}


def copies(
    domain: str, form: Mapping[str, str], to: list[str], attachments: tuple[Mapping[str, Any], ...]
) -> list[Mail]:
    """What a request becomes: with recipient-variables a copy each. Raises Refused."""
    if "from" not in form:
        raise Refused(400, "from parameter is missing")
    if not to:
        raise Refused(400, "to parameter is missing")
    if not form.get("text") and not form.get("html"):
        raise Refused(400, "Need at least one of 'text', 'html', 'amp-html' or 'template' parameters specified")
    identifier = f"<{time.strftime('%Y%m%d%H%M%S')}.{secrets.token_hex(8)}@{domain}>"
    by_mailbox = json.loads(form.get("recipient-variables") or "{}")
    fields = {name: value for name, value in form.items() if name != "recipient-variables"}
    return [Mail(domain, one, _filled(fields, by_mailbox.get(one, {})), identifier, attachments) for one in to]


def _filled(fields: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, str]:
    def value(found: re.Match[str]) -> str:
        return str(variables.get(found[1], found[0]))

    return {name: _VARIABLE.sub(value, text) for name, text in fields.items()}


@dataclass(frozen=True, slots=True)
class Step:
    """One webhook: its event, and what is in it beside what every event has."""

    event: str
    more: Mapping[str, Any] = field(default_factory=dict)


def failed(severity: str, reason: str, code: int, enhanced: str, kind: str, message: str) -> Step:
    status = {"attempt-no": 1, "code": code, "enhanced-code": enhanced, "bounce-type": kind, "message": message}
    level = "error" if severity == "permanent" else "warn"
    return Step("failed", {"severity": severity, "reason": reason, "delivery-status": status, "log-level": level})


def webhook(mail: Mail, step: Step) -> bytes:
    """The body of a webhook as it is posted, as application/json, newly signed."""
    signing_key = _key("webhooks", mail.domain)
    timestamp, token = str(int(time.time())), secrets.token_hex(25)
    signature = hmac.new(signing_key.encode(), f"{timestamp}{token}".encode(), hashlib.sha256).hexdigest()
    headers = {"message-id": mail.id.strip("<>"), "from": mail.fields["from"], "to": mail.to}
    data = {
        "id": secrets.token_urlsafe(16),
        "event": step.event,
        "timestamp": time.time(),
        "log-level": "info",
        "recipient": mail.to,
        "recipient-domain": mail.to.rpartition("@")[2],
        "message": {"headers": headers | {"subject": mail.fields.get("subject", "")}, "attachments": []},
        "user-variables": mail.variables,
        "tags": [],
        "flags": {"is-authenticated": True, "is-test-mode": False},
    }
    signed = {"timestamp": timestamp, "token": token, "signature": signature}
    return json.dumps({"signature": signed, "event-data": data | dict(step.more)}).encode()
