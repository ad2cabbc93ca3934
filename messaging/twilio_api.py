"""Twilio's words and what they mean to us; its HTTP client on one connection pool; its signatures."""

import logging
from collections.abc import Mapping
from typing import Any

from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientSession,
    ClientTimeout,
    ConnectionTimeoutError,
    encode_basic_auth,
)
from django.http import QueryDict
from twilio.http import AsyncHttpClient
from twilio.http.response import Response
from twilio.request_validator import RequestValidator

from feedback.events import Status
from messaging.channels.base import OPTED_OUT, BadSignature, Callback

PROVIDER = "twilio"
CONNECT_TIMEOUT, TIMEOUT = 5.0, 15.0
# https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides: repeat a callback that got a 5xx
OVERRIDES = "#rc=5&rp=5xx,ct,rt"

STATUSES = {
    # https://www.twilio.com/docs/messaging/api/message-resource#message-status-values
    "accepted": Status.SENT,
    "scheduled": Status.SENT,
    "queued": Status.SENT,
    "sending": Status.SENT,
    "sent": Status.SENT,
    "delivered": Status.DELIVERED,
    "read": Status.READ,
    "undelivered": Status.FAILED,
    "failed": Status.FAILED,
    "canceled": Status.FAILED,
}
ERRORS = {
    # https://www.twilio.com/docs/api/errors: what it means to us, and our word for it
    401: (Status.FAILED, "credentials_refused"),
    20003: (Status.FAILED, "credentials_refused"),
    20429: (Status.DEFERRED, "rate_limited"),
    21211: (Status.FAILED, "invalid_address"),
    21212: (Status.FAILED, "invalid_sender"),
    21408: (Status.FAILED, "region_not_enabled"),
    21606: (Status.FAILED, "invalid_sender"),
    21608: (Status.FAILED, "unverified_address"),
    21610: (Status.SUPPRESSED, OPTED_OUT),
    21611: (Status.DEFERRED, "rate_limited"),
    21612: (Status.FAILED, "unroutable"),
    21614: (Status.FAILED, "not_mobile"),
    21617: (Status.FAILED, "text_too_long"),
    30001: (Status.FAILED, "queue_overflow"),
    30003: (Status.FAILED, "unreachable"),
    30004: (Status.FAILED, "blocked"),
    30005: (Status.FAILED, "unknown_handset"),
    30006: (Status.FAILED, "landline"),
    30007: (Status.FAILED, "filtered"),
    30008: (Status.FAILED, "provider_error"),
}


class TryLater(Exception):
    """Nothing is wrong with the message: the provider is busy, away or silent."""

    def __init__(
        self, reason: str, *, status: int | None = None, retry_after: float | None = None, unknown: bool = False
    ):
        super().__init__(reason)
        self.reason, self.status, self.retry_after, self.unknown = reason, status, retry_after, unknown


class TwilioHttp(AsyncHttpClient):  # type: ignore[misc]
    """Raises TryLater for 429, 5xx and every answer that did not come; other answers are the twilio package's to judge.

    The package's own client drops Retry-After and has no time limit.
    """

    def __init__(self) -> None:
        super().__init__(logging.getLogger(__name__), True)
        self._session = ClientSession(timeout=ClientTimeout(total=TIMEOUT, connect=CONNECT_TIMEOUT))

    async def request(
        self,
        method: str,
        uri: str,
        params: dict[str, object] | None = None,
        data: dict[str, object] | None = None,
        headers: dict[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,
        allow_redirects: bool = False,
    ) -> Response:
        headers = dict(headers or {}) | ({"Authorization": encode_basic_auth(*auth)} if auth else {})
        options: dict[str, Any] = {"params": params, "data": data, "allow_redirects": allow_redirects}
        try:
            async with self._session.request(method, uri, headers=headers, **options) as answer:
                _refuse_busy(answer.status, answer.headers)
                return Response(answer.status, await answer.text(), answer.headers)
        except (ClientConnectorError, ConnectionTimeoutError) as error:
            raise TryLater("provider_unavailable") from error
        except TimeoutError as error:
            raise TryLater("timeout", unknown=True) from error
        except ClientError as error:
            raise TryLater("connection_lost", unknown=True) from error

    async def close(self) -> None:
        await self._session.close()


def _refuse_busy(status: int, headers: Mapping[str, str]) -> None:
    """A 504 says that the request went on and no answer came back, the other 5xx that it was not carried out."""
    raw = headers.get("Retry-After", "")
    retry_after = float(raw) if raw.isdecimal() else None
    if status == 429:
        raise TryLater("rate_limited", status=status, retry_after=retry_after)
    if status >= 500:
        raise TryLater("provider_unavailable", status=status, retry_after=retry_after, unknown=status == 504)


def verified_form(callback: Callback, token: str) -> QueryDict:
    """A callback's fields. Raises BadSignature.

    https://www.twilio.com/docs/usage/webhooks/webhooks-security does not say whether the overrides are signed too.
    """
    form, signature = QueryDict(callback.body), callback.headers.get("x-twilio-signature", "")
    validator = RequestValidator(token)
    if not any(validator.validate(url, form, signature) for url in (callback.url, callback.url + OVERRIDES)):
        raise BadSignature("bad_signature", "X-Twilio-Signature does not match the configured auth token.")
    return form
