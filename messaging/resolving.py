"""From a Deliver job to recipients: addresses and opt-outs are looked up at the last moment."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from feedback.events import Status, delivery_id
from messaging.channels.base import OPTED_OUT, Channel, Recipient
from messaging.jobs import Deliver, Target
from messaging.payloads import Payload
from subscriptions import selectors as subscribers
from subscriptions.selectors import Resolved


@dataclass(slots=True)
class Resolution:
    """What a job comes to: whom to send to, and who ends here with which status and reason."""

    recipients: list[Recipient] = field(default_factory=list)
    ended: list[tuple[Recipient, Status, str]] = field(default_factory=list)


async def resolve(channel: Channel, work: Sequence[tuple[Deliver, Payload]]) -> list[Resolution]:
    """One Resolution a job, with one look-up a tenant and group. Raises redis errors."""
    asked: dict[tuple[str, str | None], tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
    for job, payload in work:
        names, plain = asked[job.tenant, job.group]
        for target in job.targets:
            if target.address_hash not in payload.addresses:
                names.add(target.receiver)
            elif payload.mode == "live":  # what became of test messages suppresses nothing, nor is it asked
                plain.add(str(target.address_hash))
    found = {
        key: await subscribers.addresses_of(key[0], channel.name, sorted(names), key[1], sorted(plain))
        for key, (names, plain) in asked.items()
        if names or plain
    }
    return [_resolution(channel, job, payload, *found.get((job.tenant, job.group), ({}, {}))) for job, payload in work]


def _resolution(
    channel: Channel, job: Deliver, payload: Payload, found: dict[str, Resolved], suppressed: dict[str, str]
) -> Resolution:
    resolution = Resolution()
    over = _over(payload)
    if payload.mode != "live":
        suppressed = {}
    for target in job.targets:
        recipients, missing = _recipients(channel, job, payload, target, found.get(target.receiver))
        if target.address_hash in payload.addresses and target.address_hash in suppressed:
            missing = _missing({suppressed[target.address_hash]})
        if over:
            resolution.ended += [(recipient, *over) for recipient in recipients or [_nobody(job, target, channel.name)]]
        elif missing:
            resolution.ended.append((_nobody(job, target, channel.name), Status.SUPPRESSED, missing))
        else:
            resolution.recipients += recipients
    return resolution


def _over(payload: Payload) -> tuple[Status, str] | None:
    if payload.cancelled:
        return Status.CANCELLED, "cancelled"
    if payload.expires <= datetime.now(UTC):
        return Status.EXPIRED, "expired"
    return None


def _recipients(
    channel: Channel, job: Deliver, payload: Payload, target: Target, found: Resolved | None
) -> tuple[list[Recipient], str]:
    """The recipients of one target, or the reason why there are none."""
    if target.address_hash in payload.addresses:
        return [
            _recipient(
                job,
                target.receiver,
                payload.addresses[str(target.address_hash)],
                str(target.address_hash),
                channel.name,
            )
        ], ""
    if found is None or not found.known:
        return [], "no_receiver"
    if job.group is not None and not found.subscribed:
        return [], "unsubscribed"
    if not channel.needs_address:
        return [_recipient(job, target.receiver, "", "", channel.name)], ""
    wanted = target.address_hash
    addresses = found.addresses if wanted is None else [item for item in found.addresses if item.hash == wanted]
    if not addresses:
        return [], _missing({reason for _, reason in found.retired})
    return [_recipient(job, target.receiver, item.address, item.hash, channel.name) for item in addresses], ""


def _missing(retired: set[str]) -> str:
    """Why there is no address, by the reasons of those that are retired."""
    return OPTED_OUT if OPTED_OUT in retired else "retired" if retired else "no_address"


def _recipient(job: Deliver, receiver: str, address: str, hashed: str, channel: str) -> Recipient:
    return Recipient(
        delivery=delivery_id(job.message, receiver, channel, hashed),
        receiver=receiver,
        address=address,
        address_hash=hashed,
        round=job.round,
        attempt=job.attempt,
        group=job.group,
    )


def _nobody(job: Deliver, target: Target, channel: str) -> Recipient:
    return _recipient(job, target.receiver, "", target.address_hash or "", channel)
