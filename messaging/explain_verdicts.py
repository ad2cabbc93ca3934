"""What became of a message on one channel, in one stable word and one sentence."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from feedback.events import Status
from feedback.selectors import DeliveryDetail
from messaging.admission import BREAKER_OPEN, PACED
from messaging.breaker import INFRASTRUCTURE
from messaging.channels.base import OPTED_OUT, Channel
from messaging.standing import REFUSED, words_of
from tenants import selectors as tenants
from tenants.selectors import ChannelSettings


class Verdict(StrEnum):
    """docs/api.md has the table: a word never changes its meaning."""

    WILL_SEND = "will_send"
    READ = "read"
    DELIVERED = "delivered"
    SENT = "sent"
    IN_INBOX = "in_inbox"
    SCHEDULED = "scheduled"
    QUEUED = "queued"
    DEFERRED = "deferred"
    BREAKER_OPEN = "breaker_open"
    RATE_LIMITED = "rate_limited"
    BOUNCED = "bounced"
    PROVIDER_REFUSED = "provider_refused"
    UNREACHABLE = "unreachable"
    FAILED = "failed"
    CREDENTIALS_REFUSED = "credentials_refused"
    NO_CREDENTIALS = "no_credentials"
    CHANNEL_OFF = "channel_off"
    NO_ADDRESS = "no_address"
    ADDRESS_RETIRED = "address_retired"
    OPTED_OUT = "opted_out"
    REPLACED = "replaced"
    NOT_SUBSCRIBED = "not_subscribed"
    NO_RECEIVER = "no_receiver"
    SUPPRESSED = "suppressed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    NOT_ASKED = "not_asked"
    NOT_RECORDED = "not_recorded"


@dataclass(frozen=True, slots=True)
class Finding:
    verdict: Verdict
    detail: str
    """One sentence for people."""


_SUPPRESSED = {
    "no_address": Finding(Verdict.NO_ADDRESS, "The receiver had no address on this channel."),
    "retired": Finding(Verdict.ADDRESS_RETIRED, "Every address that it could have gone to was retired."),
    OPTED_OUT: Finding(Verdict.OPTED_OUT, "The receiver does not want messages on this channel."),
    "replaced": Finding(Verdict.REPLACED, "A newer message with the same collapse key took its place."),
    "unsubscribed": Finding(Verdict.NOT_SUBSCRIBED, "The receiver had left the group when its turn came."),
    "no_receiver": Finding(Verdict.NO_RECEIVER, "There was no such receiver any more when its turn came."),
}
_HELD = {
    BREAKER_OPEN: Finding(Verdict.BREAKER_OPEN, "The provider or host failed again and again: it waits for a probe"),
    PACED: Finding(Verdict.RATE_LIMITED, "It waits for its turn under the tenant's rate limit"),
}
_PLAIN = {
    Status.READ: Finding(Verdict.READ, "The receiver has read it."),
    Status.DELIVERED: Finding(Verdict.DELIVERED, "It arrived: there is evidence."),
    Status.SCHEDULED: Finding(Verdict.SCHEDULED, "It waits for its time to be sent."),
    Status.QUEUED: Finding(Verdict.QUEUED, "It waits for its turn."),
    Status.CANCELLED: Finding(Verdict.CANCELLED, "The message was cancelled before it was sent."),
}


def of_delivery(channel: Channel, found: DeliveryDetail, settings: ChannelSettings | None) -> Finding:
    """What one delivery's row and timeline say. settings: what the tenant has on the channel now."""
    row = found.row
    match row.status:
        case Status.SENT if channel.sent_waits:
            return Finding(Verdict.IN_INBOX, "It waits in the receiver's inbox, not acknowledged yet.")
        case Status.SENT:
            return Finding(Verdict.SENT, "The provider took it; no evidence of its arrival has come yet.")
        case Status.DEFERRED:
            held = _HELD.get(row.reason) or Finding(Verdict.DEFERRED, f"Not successful yet ({_words(row.reason)})")
            until = f"; next look at {row.due_at:%Y-%m-%d %H:%M:%S} UTC." if row.due_at else "."
            return Finding(held.verdict, f"{held.detail}{until}")
        case Status.SUPPRESSED:
            other = Finding(Verdict.SUPPRESSED, f"It was not sent: {_words(row.reason)}.")
            return _SUPPRESSED.get(row.reason, other)
        case Status.EXPIRED:
            why = f" The last hindrance: {_words(row.reason)}." if row.reason not in ("", "expired") else ""
            return Finding(Verdict.EXPIRED, f"Its time to live was over before it arrived.{why}")
        case Status.BOUNCED:
            return Finding(Verdict.BOUNCED, f"It came back: {_answer(found)}.")
        case Status.FAILED:
            return _failed(found, settings)
    return _PLAIN[row.status]


def answer_of(found: DeliveryDetail) -> Mapping[str, Any]:
    """What the provider said last."""
    return next((entry.detail for entry in reversed(found.timeline) if entry.detail), {})


def of_channel(channel: Channel, mode: str, settings: ChannelSettings | None) -> Finding | None:
    """Why nothing can be sent on a channel now, or None. A test message needs no credentials."""
    if mode == "test":
        return None
    if settings is None:
        if not channel.Config.base_fields:
            return None
        return Finding(Verdict.NO_CREDENTIALS, "The tenant has no credentials on this channel.")
    if not settings.enabled:
        return Finding(Verdict.CHANNEL_OFF, "The tenant has this channel switched off.")
    if settings.refused_at is not None:
        since = f"{settings.refused_at:%Y-%m-%d %H:%M} UTC"
        said = f"Since {since} the provider refuses the tenant's credentials: {settings.refused_words}."
        return Finding(Verdict.CREDENTIALS_REFUSED, said)
    return None


def settings_of(tenant: str, mode: str) -> Mapping[str, ChannelSettings]:
    """What the tenant has on each channel now; nothing counts for a test message."""
    return {} if mode == "test" else tenants.channel_configs(tenant)


def _failed(found: DeliveryDetail, settings: ChannelSettings | None) -> Finding:
    reason = found.row.reason
    if reason == REFUSED:
        return Finding(Verdict.CREDENTIALS_REFUSED, f"The provider refused the tenant's credentials: {_answer(found)}.")
    if reason == "channel_off" and settings is None:
        return Finding(Verdict.NO_CREDENTIALS, "The tenant had no credentials on this channel when its turn came.")
    if reason == "channel_off":
        return Finding(Verdict.CHANNEL_OFF, "The tenant had this channel switched off when its turn came.")
    if reason in INFRASTRUCTURE:
        return Finding(
            Verdict.UNREACHABLE, f"The provider or host could not be reached in every attempt: {_words(reason)}."
        )
    if {"http_status", "code"} & set(answer_of(found)):
        return Finding(Verdict.PROVIDER_REFUSED, f"The provider refused it ({_words(reason)}): {_answer(found)}.")
    return Finding(Verdict.FAILED, f"It failed for good: {_answer(found)}.")


def _answer(found: DeliveryDetail) -> str:
    detail = answer_of(found)
    said = words_of(detail).rstrip(".") if detail else ""
    return said or _words(found.row.reason) or "no reason given"


def _words(reason: str) -> str:
    return reason.replace("_", " ")
