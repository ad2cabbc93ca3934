"""Another round for deliveries that did not arrive."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from feedback import services as feedback
from feedback.selectors import DeliveryRow, states
from messaging import routing
from messaging.jobs import Deliver, Target
from sprayer_project import amqp
from sprayer_project.errors import Conflict, NotFound, SprayerError

log = structlog.get_logger(__name__)


def retry_delivery(tenant: str, mode: str, identifier: str) -> None:
    """Open another round of a delivery that did not arrive. Raises NotFound, Conflict."""
    if error := retry_deliveries(tenant, mode, [identifier])[identifier]:
        raise error


def retry_deliveries(tenant: str, mode: str, ids: Sequence[str]) -> dict[str, SprayerError | None]:
    """retry_delivery for many, published together: by id what was refused and why, None for what is under way."""
    now, answers, opened = datetime.now(UTC), dict[str, SprayerError | None](), list[DeliveryRow]()
    known = states(tenant, ids)
    for identifier in ids:
        try:
            opened.append(replace(_open_round(tenant, mode, identifier, known.get(identifier), now), due_at=None))
            answers[identifier] = None
        except (Conflict, NotFound) as error:
            answers[identifier] = error
    try:
        # At once: due_at is for the sweeper, which publishes again what it finds due.
        amqp.publish([next_attempt(row, 1) for row in opened])
    except amqp.BrokerUnavailable as error:
        log.warning("the sweeper will release them", tenant=tenant, deliveries=len(opened), error=error.detail)
    return answers


def next_attempt(row: DeliveryRow, attempt: int) -> amqp.Publication:
    """The job that tries one delivery again."""
    job = Deliver(
        tenant=row.tenant,
        message=row.message,
        mode=row.mode,
        channel=row.channel,
        targets=(Target(row.receiver, row.address_hash or None),),
        group=row.group,
        round=row.round,
        attempt=attempt,
        due=row.due_at.timestamp() if row.due_at else 0,
    )
    return routing.publication(job, "single")


def _open_round(tenant: str, mode: str, identifier: str, known: DeliveryRow | None, now: datetime) -> DeliveryRow:
    if known is not None and known.expires_at is not None and known.expires_at <= now:
        raise Conflict("expired", "The message's time to live is over: send it again as a new message.")
    return feedback.open_round(tenant, mode, identifier, now)
