"""From an adapter's outcome to the fact that is recorded: retry or not, when, and as what."""

import hashlib
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from feedback.events import DeliveryEvent, Status
from messaging import jobs
from messaging.channels.base import Channel, DeliveryError, Outcome, Recipient
from messaging.jobs import Behind, Deliver, Target
from messaging.payloads import Payload
from messaging.recorder import Entry
from sprayer_project import amqp
from tenants.selectors import ChannelSettings

QUEUED_RETRIES = 60
"""Seconds up to which a retry waits in RabbitMQ; beyond, in the record, where the sweeper releases it."""
SHORTEST_NOTE, LONGEST_NOTE = 30.0, 3600.0
"""Seconds for which the record of a delivery behind a breaker stands: four times as long as it has waited."""
LATE = 1.25
"""By how much what waits behind a breaker may exceed its wait: in time it would take a retry queue after the other."""


@dataclass(frozen=True, slots=True)
class Context:
    """What all deliveries of one message in one job share."""

    channel: Channel
    payload: Payload
    config: Mapping[str, Any] | None
    """None: the tenant has no credentials on the channel, or has it off."""
    lane: str
    settings: ChannelSettings | None = None
    """What the tenant stored, with a live message."""


def entry(context: Context, recipient: Recipient, outcome: Outcome, now: datetime | None = None) -> Entry:
    """The record entry of an attempt's outcome."""
    now = now or datetime.now(UTC)
    if outcome.status is not Status.DEFERRED:
        dead = outcome.status is Status.FAILED
        return Entry(event=_event(context, recipient, outcome.status, outcome.reason, now, outcome, dead=dead))
    if outcome.unknown and not (context.channel.repeat_unknown or (context.config or {}).get("retry_unknown")):
        reason = outcome.reason or "unknown_outcome"
        return Entry(event=_event(context, recipient, Status.FAILED, reason, now, outcome, dead=True))
    delay = _delay(context, recipient.attempt, outcome.retry_after)
    if delay is None:
        return Entry(event=_event(context, recipient, Status.FAILED, outcome.reason, now, outcome, dead=True))
    due = now + timedelta(seconds=delay)
    if due >= context.payload.expires:
        return Entry(event=_event(context, recipient, Status.EXPIRED, outcome.reason or "expired", now, outcome))
    attempt = recipient.attempt + 1
    return Entry(
        event=_event(context, recipient, Status.DEFERRED, outcome.reason, now, outcome, due_at=due),
        next_attempt=attempt,
        follow=_retry(context, [recipient], attempt, due) if delay <= QUEUED_RETRIES else None,
    )


def held(
    context: Context, recipients: Sequence[Recipient], reason: str, wait: float, behind: Behind | None = None
) -> list[Entry]:
    """The record entries of a job's deliveries that wait `wait` seconds without having been tried.

    One job brings them back together; it follows the last of them, when all are recorded. Those that wait behind a
    breaker come back often, and are recorded as due by when somebody looks at each of them again.
    """
    now = datetime.now(UTC)
    due = now + timedelta(seconds=wait)
    due = due.replace(microsecond=due.microsecond // 1000 * 1000)
    shown = due
    if behind:
        # Its job must be back before that: the sweeper releases what is overdue.
        stands = min(max(4 * (now.timestamp() - behind.since), 2 * wait, SHORTEST_NOTE), LONGEST_NOTE)
        shown = min(now + timedelta(seconds=stands), context.payload.expires)
        behind = behind._replace(till=shown.timestamp())
    if due >= context.payload.expires:
        return [
            Entry(event=_event(context, replace(recipient, attempt=0), Status.EXPIRED, reason, now, None))
            for recipient in recipients
        ]
    entries = [
        Entry(
            event=_event(context, replace(recipient, attempt=0), Status.DEFERRED, reason, now, None, due_at=shown),
            next_attempt=recipient.attempt,
            held_to=due.timestamp(),
        )
        for recipient in recipients
    ]
    entries[-1] = replace(entries[-1], follow=_retry(context, recipients, recipients[-1].attempt, due, behind))
    return entries


def refused(error: DeliveryError, recipient: Recipient) -> Outcome:
    """What a failed call means for one recipient that has no outcome of its own."""
    return Outcome(
        delivery=recipient.delivery,
        status=Status.FAILED if error.permanent else Status.DEFERRED,
        reason=error.reason,
        retry_after=error.retry_after,
        unknown=error.unknown,
        detail={"message": error.detail} if error.detail != error.reason else {},
    )


def unsent(context: Context, recipient: Recipient, status: Status, reason: str) -> Entry:
    """A delivery that ends without an attempt: suppressed, expired, cancelled, or failed for want of credentials."""
    bare = replace(recipient, attempt=0)
    now = datetime.now(UTC)
    return Entry(event=_event(context, bare, status, reason, now, None, dead=status is Status.FAILED), claimed=False)


def replaced(context: Context, recipient: Recipient) -> Entry:
    """A claimed delivery that a newer message with the same collapse key makes needless."""
    bare = replace(recipient, attempt=0)
    return Entry(event=_event(context, bare, Status.SUPPRESSED, "replaced", datetime.now(UTC), None))


def _event(
    context: Context,
    recipient: Recipient,
    status: Status,
    reason: str,
    now: datetime,
    outcome: Outcome | None,
    due_at: datetime | None = None,
    dead: bool = False,
) -> DeliveryEvent:
    payload = context.payload
    source = f"{recipient.delivery} {recipient.round} {recipient.attempt} {status}"
    return DeliveryEvent(
        event=f"evt_{hashlib.blake2b(source.encode(), digest_size=13).hexdigest()}",
        tenant=payload.tenant,
        mode=payload.mode,
        message=payload.id,
        delivery=recipient.delivery,
        receiver=recipient.receiver,
        channel=context.channel.name,
        status=status,
        at=now,
        round=recipient.round,
        attempt=recipient.attempt,
        group=recipient.group,
        address_hash=recipient.address_hash,
        address_masked=context.channel.mask_address(recipient.address) if recipient.address else "",
        provider=outcome.provider if outcome else "",
        provider_id=outcome.provider_id if outcome else "",
        reason=reason,
        detail=dict(outcome.detail) if outcome else {},
        due_at=due_at,
        expires_at=payload.expires,
        dead=dead,
        waiting=status is Status.SENT and context.channel.sent_waits,
        keeper=outcome.keeper if outcome else "",
        metadata=payload.metadata,
        scheduled=payload.scheduled,
    )


def _delay(context: Context, attempt: int, asked: float | None) -> float | None:
    """Seconds before the next attempt, by the tenant's own schedule or the channel's; None when it is used up."""
    schedule = context.channel.retry
    delays = (context.config or {}).get("retry_delays") or schedule.delays
    if attempt > len(delays):
        return None
    delay = delays[attempt - 1] * random.uniform(1 - schedule.jitter, 1 + schedule.jitter)
    return max(delay, asked or 0)


def _retry(
    context: Context, recipients: Sequence[Recipient], attempt: int, due: datetime, behind: Behind | None = None
) -> amqp.Publication:
    job = Deliver(
        tenant=context.payload.tenant,
        message=context.payload.id,
        mode=context.payload.mode,
        channel=context.channel.name,
        targets=tuple(Target(recipient.receiver, recipient.address_hash or None) for recipient in recipients),
        group=recipients[0].group,
        round=recipients[0].round,
        attempt=attempt,
        due=due.timestamp(),
        behind=behind,
    )
    return later(job, context.lane, job.due - time.time())


def later(job: Deliver, lane: str, delay: float) -> amqp.Publication:
    """A job that comes back after about `delay` seconds, at most a minute; what is left of a page leaves its lane."""
    lane = jobs.lane_of(len(job.targets), lane != "single")
    delay *= LATE if job.behind else 1
    return amqp.retry(amqp.job_queue(job.channel, lane), jobs.encode(job), delay)


def again(
    job: Deliver, recipients: Sequence[Recipient], lane: str, wait: float, *, at_least: bool = True
) -> amqp.Publication:
    """The same job for these of its recipients alone, when `wait` seconds are over; at_least: certainly not before."""
    targets = tuple(Target(item.receiver, item.address_hash or None) for item in recipients)
    due = time.time() + (wait + 0.5 if at_least else 0)
    return later(replace(job, targets=targets, due=due), lane, wait)
