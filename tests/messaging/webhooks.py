"""Tracking webhooks as each mail provider makes them, proved with its secret."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from standardwebhooks import Webhook

KEY = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
"""A secret that every provider could have given."""
BASIC = "sprayer:a-long-password"
RECIPIENT = "alice@example.com"
AT = datetime(2025, 11, 24, 12, 0, tzinfo=UTC)

Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Posted:
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


def _brevo(word: str, metadata: Values) -> Values:
    when = int(AT.timestamp() * 1000)
    return {
        "event": word,
        "email": RECIPIENT,
        "message-id": "<m-1@x>",
        "ts_epoch": when,
        "X-Mailin-custom": json.dumps(metadata),
        "reason": f"<{RECIPIENT}> said no",
    }


def _mailersend(word: str, metadata: Values) -> Values:
    mail = {"message": {"id": "m-1"}, "recipient": {"email": RECIPIENT}}
    data = {"type": word, "id": "e-1", "created_at": AT.isoformat(), "email": mail, "morph": None}
    return {"type": f"activity.{word}", "data": data}


def _mailgun(word: str, metadata: Values) -> Values:
    event, _, kind = word.partition("/")
    severity, reason, bounce = [*kind.split(":"), "", ""][:3]
    status = {"code": 550, "message": f"<{RECIPIENT}> said no", "bounce-type": bounce}
    data = {
        "event": event,
        "timestamp": AT.timestamp(),
        "recipient": RECIPIENT,
        "severity": severity,
        "message": {"headers": {"message-id": "m-1@x"}},
        "delivery-status": status,
        "user-variables": metadata,
    }
    timestamp, token = str(int(time.time())), "0" * 50
    signature = hmac.new(KEY.encode(), f"{timestamp}{token}".encode(), hashlib.sha256).hexdigest()
    signed = {"timestamp": timestamp, "token": token, "signature": signature}
    return {"signature": signed, "event-data": data | ({"reason": reason} if reason else {})}


def _mailjet(word: str, metadata: Values) -> list[Values]:
    event, _, error = word.partition("/")
    values = {"event": event, "time": int(AT.timestamp()), "MessageID": 17, "email": RECIPIENT}
    return [values | {"Payload": json.dumps(metadata), "hard_bounce": error == "user unknown", "error": error}]


def _mailtrap(word: str, metadata: Values) -> Values:
    event = {"event": word, "message_id": "m-1", "email": RECIPIENT, "timestamp": int(AT.timestamp())}
    return {"events": [event | {"event_id": "e-1", "custom_variables": metadata, "response": "said no"}]}


def _mandrill(word: str, metadata: Values) -> list[Values]:
    event, _, reason = word.partition("/")
    mail: Values = {"email": RECIPIENT, "metadata": metadata, "diag": "said no"}
    if reason:
        mail["reject"] = {"reason": reason}
    return [{"event": event, "ts": int(AT.timestamp()), "_id": "m-1", "msg": mail}]


def _postmark(word: str, metadata: Values) -> Values:
    record, _, kind = word.partition("/")
    values = {"RecordType": record, "MessageID": "m-1", "Email": RECIPIENT, "ReceivedAt": AT.isoformat()}
    return values | {"Metadata": metadata, "Details": "said no"} | ({"Type": kind} if kind else {})


def _resend(word: str, metadata: Values) -> Values:
    kind, _, bounce = word.partition("/")
    headers = [{"name": "X-Metadata", "value": json.dumps(metadata)}]
    data: Values = {"email_id": "m-1", "to": [RECIPIENT], "headers": headers}
    if bounce:
        data["bounce"] = {"message": "The recipient's provider sent a bounce message.", "type": bounce}
    return {"type": f"email.{kind}", "created_at": AT.isoformat(), "data": data}


def _sparkpost(word: str, metadata: Values) -> list[Values]:
    kind, _, bounce_class = word.partition("/")
    event = {"type": kind, "timestamp": str(int(AT.timestamp())), "rcpt_meta": metadata, "raw_rcpt_to": RECIPIENT}
    event |= {"transmission_id": "m-1", "raw_reason": "said no"} | (
        {"bounce_class": bounce_class} if bounce_class else {}
    )
    return [{"msys": {"message_event": event}}]


@dataclass(frozen=True, slots=True)
class Provider:
    build: Callable[[str, Values], Any]
    words: Mapping[str, str]
    """What happened -> how this provider says it."""


PROVIDERS: Mapping[str, Provider] = {
    "brevo": Provider(
        _brevo,
        {
            "delivered": "delivered",
            "hard": "hard_bounce",
            "soft": "soft_bounce",
            "delayed": "deferred",
            "opened": "opened",
            "clicked": "click",
            "complained": "spam",
            "unsubscribed": "unsubscribe",
            "blocked": "blocked",
        },
    ),
    "mailersend": Provider(
        _mailersend,
        {
            "delivered": "delivered",
            "hard": "hard_bounced",
            "soft": "soft_bounced",
            "opened": "opened",
            "clicked": "clicked",
            "complained": "spam_complaint",
            "unsubscribed": "unsubscribed",
        },
    ),
    "mailgun": Provider(
        _mailgun,
        {
            "delivered": "delivered",
            "hard": "failed/permanent:bounce:hard",
            "soft": "failed/permanent:bounce:soft",
            "delayed": "failed/temporary:generic:soft",
            "opened": "opened",
            "clicked": "clicked",
            "complained": "complained",
            "unsubscribed": "unsubscribed",
            "bounced before": "failed/permanent:suppress-bounce",
            "complained before": "failed/permanent:suppress-complaint",
        },
    ),
    "mailjet": Provider(
        _mailjet,
        {
            "delivered": "sent",
            "hard": "bounce/user unknown",
            "soft": "bounce/quota exceeded",
            "opened": "open",
            "clicked": "click",
            "complained": "spam",
            "unsubscribed": "unsub",
            "blocked": "blocked/policy issue",
        },
    ),
    "mailtrap": Provider(
        _mailtrap,
        {
            "delivered": "delivery",
            "hard": "bounce",
            "delayed": "soft bounce",
            "opened": "open",
            "clicked": "click",
            "complained": "spam",
            "unsubscribed": "unsubscribe",
            "blocked": "reject",
        },
    ),
    "mandrill": Provider(
        _mandrill,
        {
            "delayed": "deferral",
            "hard": "hard_bounce",
            "soft": "soft_bounce",
            "opened": "open",
            "clicked": "click",
            "complained": "spam",
            "unsubscribed": "unsub",
        },
    ),
    "postmark": Provider(
        _postmark,
        {
            "delivered": "Delivery",
            "hard": "Bounce/HardBounce",
            "soft": "Bounce/SoftBounce",
            "delayed": "Bounce/Transient",
            "opened": "Open",
            "clicked": "Click",
            "complained": "SpamComplaint/SpamComplaint",
            "unsubscribed": "Bounce/Unsubscribe",
            "blocked": "Bounce/Blocked",
        },
    ),
    "resend": Provider(
        _resend,
        {
            "delivered": "delivered",
            "hard": "bounced/Permanent",
            "soft": "bounced/Transient",
            "delayed": "delivery_delayed",
            "opened": "opened",
            "clicked": "clicked",
            "complained": "complained",
        },
    ),
    "sparkpost": Provider(
        _sparkpost,
        {
            "delivered": "delivery",
            "hard": "bounce/10",
            "soft": "bounce/22",
            "delayed": "delay",
            "opened": "open",
            "clicked": "click",
            "complained": "spam_complaint",
            "unsubscribed": "link_unsubscribe",
        },
    ),
}


def secret_of(provider: str) -> str:
    return BASIC if provider in ("brevo", "mailjet", "postmark", "sparkpost") else KEY


def posted(provider: str, happened: str, metadata: Values, url: str, key: str = KEY, basic: str = BASIC) -> Posted:
    """The provider's call; `happened` is one of its words above, key and basic prove it."""
    found = PROVIDERS[provider]
    content = found.build(found.words[happened], metadata)
    body, headers = json.dumps(content).encode(), {"content-type": "application/json"}
    if provider in ("brevo", "mailjet", "postmark", "sparkpost"):
        headers["authorization"] = "Basic " + base64.b64encode(basic.encode()).decode()
    elif provider == "mailersend":
        headers["signature"] = hmac.new(key.encode(), body, hashlib.sha256).hexdigest()
    elif provider == "mailtrap":
        headers["mailtrap-signature"] = hmac.new(key.encode(), body, hashlib.sha256).hexdigest()
    elif provider == "resend":
        now = datetime.now(UTC)
        signed = {
            "id": "e-1",
            "timestamp": str(int(now.timestamp())),
            "signature": Webhook(key).sign("e-1", now, body.decode()),
        }
        headers |= {f"svix-{name}": value for name, value in signed.items()}
    elif provider == "mandrill":
        form = {"mandrill_events": json.dumps(content)}
        signed_text = url + "".join(name + form[name] for name in sorted(form))
        digest = hmac.new(key.encode(), signed_text.encode(), hashlib.sha1).digest()
        headers = {"content-type": "application/x-www-form-urlencoded"}
        headers["x-mandrill-signature"] = base64.b64encode(digest).decode()
        body = urlencode(form).encode()
    elif provider == "mailgun" and key != KEY:
        content["signature"]["signature"] = "0" * 64
        body = json.dumps(content).encode()
    return Posted(headers, body)
