"""Twilio's documents: messages, errors, callbacks; and whose credentials the sandbox accepts.

https://www.twilio.com/docs/messaging/api/message-resource
"""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from aiohttp import web
from django.conf import settings
from yarl import URL

from messaging.gsm import encoded

ERRORS = {
    20003: (401, "Authentication Error - invalid username"),
    20404: (404, "The requested resource was not found"),
    20429: (429, "Too Many Requests"),
    21211: (400, "Invalid 'To' Phone Number"),
    21212: (400, "Invalid 'From' Phone Number"),
    21408: (400, "Permission to send an SMS has not been enabled for the region indicated by the 'To' number"),
    21602: (400, "Message body is required."),
    21603: (400, "A 'From' phone number is required."),
    21604: (400, "A 'To' phone number is required."),
    21606: (400, "The 'From' phone number provided is not a valid message-capable Twilio phone number"),
    21608: (400, "The number is unverified. Trial accounts cannot send messages to unverified numbers"),
    21610: (400, "Attempt to send to unsubscribed recipient"),
    21611: (429, "This 'From' number has exceeded the maximum number of queued messages"),
    21612: (400, "The message cannot be sent with the current combination of 'To' and 'From' parameters"),
    21614: (400, "'To' number is not a valid mobile number"),
    21617: (400, "The concatenated message body exceeds the 1600 character limit"),
}


DELIVERY_ERRORS = {
    21610: "opted out",
    30001: "queue overflow",
    30003: "unreachable handset",
    30004: "blocked",
    30005: "unknown handset",
    30006: "landline",
    30007: "filtered",
    30008: "unknown error",
}
SUSPENDED = "deaddead"


def sandbox_credentials(tenant: str) -> tuple[str, str]:
    """(account sid, auth token) of a tenant at this gateway: derived, so that nobody has to store them."""
    sid = "AC" + hashlib.blake2b(tenant.encode(), digest_size=16, person=b"sandbox").hexdigest()
    return sid, token_of(sid)


def token_of(sid: str) -> str:
    return hmac.new(settings.SECRET_KEY.encode(), b"sandbox.sms:" + sid.encode(), hashlib.sha256).hexdigest()[:32]


def account_of(sid: str) -> dict[str, Any]:
    """https://www.twilio.com/docs/iam/api/account: suspended is one whose SID ends in SUSPENDED."""
    status = "suspended" if sid.endswith(SUSPENDED) else "active"
    return {
        "sid": sid,
        "friendly_name": "Sandbox",
        "status": status,
        "type": "Full",
        "owner_account_sid": sid,
        "uri": f"/2010-04-01/Accounts/{sid}.json",
        "subresource_uris": {"messages": f"/2010-04-01/Accounts/{sid}/Messages.json"},
    }


class Refused(Exception):
    """A request that Twilio answers with an error document."""

    def __init__(self, code: int):
        super().__init__(code)
        self.code = code


@dataclass(slots=True)
class Message:
    """A message that the gateway took."""

    account: str
    to: str
    sender: str
    service: str
    body: str
    callback: str
    sid: str = field(default_factory=lambda: "SM" + secrets.token_hex(16))
    status: str = "queued"
    error_code: int | None = None
    created: datetime = field(default_factory=lambda: datetime.now(UTC))

    def to_json(self) -> dict[str, Any]:
        uri = f"/2010-04-01/Accounts/{self.account}/Messages/{self.sid}"
        return {
            "account_sid": self.account,
            "api_version": "2010-04-01",
            "body": self.body,
            "date_created": format_datetime(self.created),
            "date_sent": None,
            "date_updated": format_datetime(self.created),
            "direction": "outbound-api",
            "error_code": self.error_code,
            "error_message": None,
            "from": self.sender or None,
            "messaging_service_sid": self.service or None,
            "num_media": "0",
            "num_segments": str(encoded(self.body).segments),
            "price": None,
            "price_unit": "USD",
            "sid": self.sid,
            "status": self.status,
            "subresource_uris": {"media": f"{uri}/Media.json"},
            "to": self.to,
            "uri": f"{uri}.json",
        }


def page_of(messages: Sequence[Message], uri: str, page: int, size: int) -> dict[str, Any]:
    """https://www.twilio.com/docs/usage/twilios-response#pagination: one page of a list, newest first."""
    shown = messages[page * size : (page + 1) * size]

    def place(number: int) -> str:
        return str(URL(uri).update_query({"PageSize": size, "Page": number}))

    return {
        "messages": [message.to_json() for message in shown],
        "uri": uri,
        "page": page,
        "page_size": size,
        "start": page * size,
        "end": page * size + max(0, len(shown) - 1),
        "first_page_uri": place(0),
        "previous_page_uri": place(page - 1) if page else None,
        "next_page_uri": place(page + 1) if len(messages) > (page + 1) * size else None,
    }


def callback_form(message: Message) -> dict[str, str]:
    form = {
        "AccountSid": message.account,
        "ApiVersion": "2010-04-01",
        "From": message.sender,
        "MessageSid": message.sid,
        "MessageStatus": message.status,
        "SmsSid": message.sid,
        "SmsStatus": message.status,
        "To": message.to,
    }
    return form | ({"ErrorCode": str(message.error_code)} if message.error_code else {})


def error_answer(code: int, headers: dict[str, str] | None = None) -> web.Response:
    status, message = ERRORS[code]
    more_info = f"https://www.twilio.com/docs/errors/{code}"
    body = {"code": code, "message": message, "more_info": more_info, "status": status}
    return web.json_response(body, status=status, headers=headers)
