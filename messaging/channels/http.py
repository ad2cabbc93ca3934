"""HTTP: a signed POST to the receiver's own URL, in the form of Standard Webhooks.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote

from django import forms
from django.conf import settings
from django.utils.crypto import salted_hmac

from feedback.events import Status
from messaging.channels.base import Channel, Look, Outcome, Outgoing, Recipient
from messaging.looks import pretty
from messaging.senders import by_host, shared_out
from sprayer_project import outbound, signatures, webhook_urls

_encode = json.JSONEncoder(separators=(",", ":")).encode
_TRY_AGAIN = frozenset({408, 425, 429})


class HttpConfig(forms.Form):
    """How the tenant's endpoints are called."""

    secret = forms.CharField(
        required=False,
        widget=forms.PasswordInput,
        help_text="Signs every request: whsec_... Where there is none, one is made.",
    )
    previous_secret = forms.CharField(
        required=False, widget=forms.PasswordInput, help_text="During a replacement: requests carry both signatures."
    )
    timeout = forms.FloatField(required=False, min_value=1, max_value=30, help_text="Seconds to wait for an answer.")

    def clean_secret(self) -> str:
        return _checked(self.cleaned_data["secret"]) or signatures.new_secret()

    def clean_previous_secret(self) -> str:
        return _checked(self.cleaned_data["previous_secret"])

    def clean_timeout(self) -> float:
        return self.cleaned_data["timeout"] or settings.WEBHOOK_TIMEOUT


class Http(Channel):
    label = "HTTP webhook"
    settles_at = Status.DELIVERED
    address_kind = "URL"
    Config = HttpConfig

    def clean_address(self, value: Any) -> str:
        return webhook_urls.canonical(value)

    def mask_address(self, address: str) -> str:
        scheme, host = _beginning(address)
        return f"{scheme}://{host}/***"

    def sandbox_config(self, tenant: str) -> Mapping[str, Any]:
        key = salted_hmac("sprayer.http.sandbox", tenant, algorithm="sha256").digest()
        return {"secret": "whsec_" + base64.b64encode(key).decode()}

    def sandbox_address(self, name: str) -> str:
        return f"{settings.SANDBOX_URL}/http/{quote(name, safe='')}"

    def preview(self, message: Outgoing) -> Mapping[str, Any]:
        """Without the names of delivery, receiver and group, which each request has of its own."""
        return {"payload_bytes": len(_head(message).encode()) + len("}}")}

    def look(self, message: Outgoing) -> Look:
        body = json.loads(f"{_head(message)}}}}}")
        body["data"] |= {"delivery": "dlv_...", "receiver": "...", "group": None}
        return Look(shape="code", payload=pretty(body))

    def host_of(self, recipient: Recipient) -> str:
        return _beginning(recipient.address)[1]

    async def send(
        self, config: Mapping[str, Any], message: Outgoing, recipients: Sequence[Recipient]
    ) -> AsyncIterator[Outcome]:
        attempt, test = partial(_post, config, message, _head(message)), message.mode == "test"
        lines = by_host(recipients, lambda recipient: _url(recipient, test))
        async for outcome in shared_out(lines, attempt, message.given_up):
            yield outcome

    async def aclose(self) -> None:
        await outbound.aclose()


def _beginning(address: str) -> tuple[str, str]:
    """Scheme and host with port of a canonical address, which has a path: cheaper than to parse it."""
    scheme, _, rest = address.partition("://")
    return scheme, rest.partition("/")[0]


def _checked(secret: str) -> str:
    if secret:
        try:
            signatures.secret_key(secret)
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error
    return secret


def _head(message: Outgoing) -> str:
    """The part of the body that is the same for every recipient, encoded once: a JSON object left open."""
    data = {"id": message.id, "content": message.content}
    data |= {"attributes": message.attributes, "metadata": message.metadata}
    body = {"type": "message", "timestamp": message.created_at.isoformat(), "data": data}
    return json.dumps(body, separators=(",", ":"), default=dict).removesuffix("}}")


async def _post(config: Mapping[str, Any], message: Outgoing, head: str, recipient: Recipient) -> Outcome:
    delivery = recipient.delivery
    names = {"delivery": delivery, "receiver": recipient.receiver, "group": recipient.group}
    body = f"{head},{_encode(names)[1:]}}}".encode()
    secrets = [secret for secret in (config["secret"], config.get("previous_secret")) if secret]
    headers = signatures.sign(secrets, delivery, body) | {"Sprayer-Tenant": message.tenant}
    test = message.mode == "test"
    if test:
        headers["Sprayer-Original-Url"] = recipient.address
    try:
        timeout = config.get("timeout") or settings.WEBHOOK_TIMEOUT
        answer = await outbound.client().send(_url(recipient, test), body, headers, timeout, trusted=test)
    except outbound.BlockedAddress as error:
        return Outcome(delivery=delivery, status=Status.FAILED, reason=error.code)
    except outbound.Unreachable as error:
        detail = {"message": error.detail}
        return Outcome(
            delivery=delivery, status=Status.DEFERRED, reason=error.code, unknown=error.unknown, detail=detail
        )
    return _outcome(delivery, answer)


def _url(recipient: Recipient, test: bool) -> str:
    """Where the request goes; test: to the sandbox, whose own URLs keep their path, and with it their magic."""
    if not test or recipient.address.startswith(f"{settings.SANDBOX_URL}/http/"):
        return recipient.address
    return f"{settings.SANDBOX_URL}/http/test"


def _outcome(delivery: str, answer: outbound.Answer) -> Outcome:
    """What an answer means by Standard Webhooks; a redirect is a failure, nobody follows it."""
    status, detail = answer.status, {"http_status": answer.status}
    if 200 <= status < 300:
        return Outcome(delivery=delivery, status=Status.DELIVERED, detail=detail)
    if status in _TRY_AGAIN or status >= 500:
        reason, wait = "rate_limited" if status == 429 else "endpoint_unavailable", answer.retry_after
        return Outcome(delivery=delivery, status=Status.DEFERRED, reason=reason, retry_after=wait, detail=detail)
    reason = "gone" if status == 410 else "redirected" if status < 400 else "endpoint_refused"
    return Outcome(delivery=delivery, status=Status.FAILED, reason=reason, retire=status == 410, detail=detail)
