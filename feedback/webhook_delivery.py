"""The daemon of feedback webhooks: from the queue of events to batches, from batches to tenants' endpoints.

Events are acknowledged once they are in batches in MongoDB. Each webhook has a lane of its own: a slow or absent
endpoint holds up nobody else's.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import orjson
import structlog
from django.conf import settings

from feedback import decoding, webhook_events, webhook_lanes, webhook_notices, webhooks
from feedback.events import DeliveryEvent, Event
from feedback.models import Webhook
from feedback.webhook_events import Batch
from feedback.webhook_lanes import Attempt, Lane
from feedback.webhooks import Target
from sprayer_project import amqp, metrics, outbound, signatures, worker
from sprayer_project.errors import STORE_ERRORS

log = structlog.get_logger(__name__)

LANES, PARALLEL = 500, 4
"""Webhooks served at the same time by one daemon, and requests under way to each."""
_MESSAGES = 500
_TURN = 20.0
"""Seconds after which a busy lane goes back into the row."""
_POLL, _NOTICES, _PRUNE = 0.25, 30.0, 3600.0
TEST_TIMEOUT = 10.0

Chosen = dict[tuple[str, str, str], list[bytes]]
"""Tenant, webhook and kind of event -> the events, encoded."""


async def run(stop: asyncio.Event) -> None:
    sender = Sender(stop)
    try:
        await asyncio.gather(
            worker.consume(
                amqp.Consumer([amqp.WEBHOOK_QUEUE], _MESSAGES * 2),
                handle,
                batch=_MESSAGES,
                linger=settings.FEEDBACK_WEBHOOK_LINGER,
                stop=stop,
            ),
            worker.every(_POLL, sender.serve, stop),
            worker.every(_NOTICES, webhook_notices.send_due, stop),
            worker.every(_PRUNE, prune, stop),
        )
        await sender.finish()
    finally:
        await outbound.aclose()


async def handle(items: Sequence[worker.Item]) -> None:
    """Put the items' events into batches, safely; their lanes are taken in a moment."""
    await worker.in_thread(keep, [item.body for item in items])


class Sender:
    """Serves the lanes that have something to do, each in a task of its own."""

    def __init__(self, stop: asyncio.Event):
        self._stop = stop
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Take lanes that are due, as many as there is room for."""
        if free := LANES - len(self._tasks):
            for lane in await worker.in_thread(webhook_lanes.claim, free):
                task = asyncio.create_task(self._serve(lane))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def finish(self) -> None:
        """Wait for the requests under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _serve(self, lane: Lane) -> None:
        """One lane's turn. Where it breaks off, the hold on the lane ends by itself and it is taken again."""
        try:
            await self._drain(lane)
        except STORE_ERRORS as error:
            log.warning("waiting for a store", error=type(error).__name__, webhook=lane.webhook)
        except Exception:
            log.exception("a webhook could not be served", tenant=lane.tenant, webhook=lane.webhook)

    async def _drain(self, lane: Lane) -> None:
        """Send what is due, until nothing is, the endpoint needs a rest, or the turn is over."""
        held: Lane | None = lane
        end = time.monotonic() + _TURN
        while held is not None and not self._stop.is_set() and time.monotonic() < end:
            found = await worker.in_thread(webhooks.target, lane.webhook)
            if found is None:
                await worker.in_thread(webhook_lanes.clear, held)
                break
            batches = await worker.in_thread(
                webhook_lanes.due, held, PARALLEL if held.failures < webhook_lanes.FAILURES else 1
            )
            if not batches:
                break
            attempts = await asyncio.gather(*(post(found, batch, settings.WEBHOOK_TIMEOUT) for batch in batches))
            held = await worker.in_thread(webhook_lanes.record, held, attempts)
            if held is not None and (reason := _verdict(held, attempts)):
                await worker.in_thread(_disable, held, reason)
            elif held is not None and held.failures >= webhook_lanes.FAILURES:
                break
        await worker.in_thread(webhook_lanes.release, held or lane)


async def post(target: Target, batch: Batch, timeout: float) -> Attempt:
    """One request, signed for this moment; whatever comes of it is told, not raised."""
    headers = signatures.sign(target.secrets, batch.id, batch.body) | {"Sprayer-Tenant": target.tenant}
    at, began = datetime.now(UTC), time.monotonic()
    status, retry_after, error = None, None, ""
    try:
        answer = await outbound.client().post(target.url, batch.body, headers, timeout)
        status, retry_after = answer.status, answer.retry_after
    except (outbound.BlockedAddress, outbound.Unreachable) as caught:
        error = caught.code
    took = round((time.monotonic() - began) * 1000)
    return Attempt(batch=batch, at=at, milliseconds=took, status=status, error=error, retry_after=retry_after)


def keep(bodies: Sequence[bytes]) -> None:
    """Store the events of AMQP messages in batches for the webhooks that want them. Raises a store's errors.

    What is no event is the status feeder's to report; what names no delivery comes again when the feeder knows it.
    """
    now = datetime.now(UTC)
    chosen: Chosen = {}
    newest: datetime | None = None
    for body in bodies:
        for event in decoding.decode(body)[0]:
            if _choose(event, chosen):
                newest = max(newest or event.at, event.at)
    webhook_lanes.store(
        (batch for key, items in chosen.items() for batch in webhook_events.batches(*key, items, now)), now
    )
    if newest:
        metrics.WEBHOOK_LAG.set(max(0.0, (now - newest).total_seconds()))


def send_test(row: Webhook) -> Attempt:
    """Send a `webhook.test` event now and log what came back, also to a webhook that is off.

    Blocks for TEST_TIMEOUT seconds at most, on an event loop and connections of its own. Raises Undecryptable.
    """
    target = webhooks.target_of(row)
    batch = webhook_events.test_batch(target.tenant, target.id, datetime.now(UTC))
    loop = asyncio.new_event_loop()
    try:
        attempt = loop.run_until_complete(_post_once(target, batch))
    finally:
        loop.close()
    webhook_lanes.note(attempt)
    return attempt


async def prune() -> None:
    """Forget what is kept of webhooks that are deleted."""
    await worker.in_thread(_prune)


def _prune() -> None:
    ids = webhook_lanes.ids()
    known = webhooks.known(ids)
    if gone := [identifier for identifier in ids if identifier not in known]:
        webhook_lanes.remove(gone)


async def _post_once(target: Target, batch: Batch) -> Attempt:
    try:
        return await post(target, batch, min(TEST_TIMEOUT, settings.WEBHOOK_TIMEOUT))
    finally:
        await outbound.aclose()
        await asyncio.sleep(0)  # connections close in the loop's next turn, and this loop ends here


def _choose(event: Event, chosen: Chosen) -> bool:
    """Give an event to the webhooks of its tenant and mode that want it; whether one does."""
    if isinstance(event, DeliveryEvent) and not event.delivery:
        return False
    mode = event.mode if isinstance(event, DeliveryEvent) else None
    type = webhook_events.type_of(event)
    ids = [
        found.id
        for found in webhooks.subscribed(event.tenant)
        if mode in (None, found.mode) and webhook_events.wanted(found.events, type)
    ]
    if ids:
        encoded = orjson.dumps(webhook_events.body_of(event))
        for identifier in ids:
            chosen.setdefault((event.tenant, identifier, webhook_events.kind_of(type)), []).append(encoded)
    return bool(ids)


def _verdict(lane: Lane, attempts: Sequence[Attempt]) -> Webhook.Reason | None:
    """Why a webhook is to be turned off, if it is."""
    if any(attempt.gone for attempt in attempts):
        return Webhook.Reason.GONE
    patience = timedelta(seconds=settings.FEEDBACK_WEBHOOK_PATIENCE)
    if lane.failing_since is not None and datetime.now(UTC) - lane.failing_since >= patience:
        return Webhook.Reason.FAILING
    return None


def _disable(lane: Lane, reason: Webhook.Reason) -> None:
    if webhooks.disable(lane.webhook, reason):
        log.warning("a feedback webhook was turned off", tenant=lane.tenant, webhook=lane.webhook, reason=str(reason))
