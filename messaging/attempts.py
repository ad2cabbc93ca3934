"""One attempt for each recipient of a job: what the channel's adapter makes of it, and what that means."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import structlog

from feedback.events import Status
from messaging import outcomes, retiring
from messaging.channels.base import DeliveryError, Outcome, Recipient
from messaging.outcomes import Context
from messaging.selectors import as_outgoing
from messaging.standing import Standing
from sprayer_project import metrics, worker
from sprayer_project.errors import STORE_ERRORS

log = structlog.get_logger(__name__)

_TURN = 100
"""Outcomes of a page between two turns of others."""

Note = Callable[[Recipient, Outcome], None]
Hold = Callable[[list[Recipient]], None]


async def attempt(
    context: Context,
    open_ones: dict[str, Recipient],
    given_up: Callable[[Recipient], bool],
    note: Note,
    hold: Hold,
    turn: Callable[[], Awaitable[None]],
) -> None:
    """Try each recipient once. All have left open_ones afterwards, whatever the adapter does: with an outcome, or held.

    open_ones is by delivery. note hears each outcome as it comes, hold those who are given_up before their turn, many
    at a time. Raises the errors of a store that is away.
    """
    standing, untried, running = Standing(context), list[Recipient](), asyncio.get_running_loop()

    def hold_untried() -> None:
        if untried:
            hold(untried[:])
            untried.clear()

    def saw(outcome: Outcome) -> None:
        recipient = open_ones.pop(outcome.delivery, None)
        if recipient is None:
            return
        if outcome.status is Status.QUEUED:
            if not untried:
                running.call_soon(hold_untried)  # when all have come that come together
            untried.append(recipient)
            return
        standing.saw(outcome)
        note(recipient, outcome)

    if context.config is None:
        error: DeliveryError | None = DeliveryError("channel_off", permanent=True)
    else:
        error = await _call(context, context.config, open_ones, given_up, saw, turn)
    hold_untried()
    for recipient in list(open_ones.values()):
        saw(outcomes.refused(error or DeliveryError("no_outcome", unknown=True), recipient))
    await standing.report()


async def _call(
    context: Context,
    config: Mapping[str, Any],
    open_ones: Mapping[str, Recipient],
    given_up: Callable[[Recipient], bool],
    saw: Callable[[Outcome], None],
    turn: Callable[[], Awaitable[None]],
) -> DeliveryError | None:
    message = replace(as_outgoing(context.payload, context.channel.name), given_up=given_up)
    by_id, tried = dict(open_ones), 0
    try:
        async for outcome in context.channel.send(config, message, [*by_id.values()]):
            if outcome.retire and context.payload.mode == "live":
                await _retire(context, by_id[outcome.delivery], outcome)
            saw(outcome)
            tried += 1
            if tried % _TURN == 0:
                await turn()
    except DeliveryError as error:
        return error
    except STORE_ERRORS:
        raise
    except Exception as error:
        log.exception("an adapter failed", channel=context.channel.name, message=context.payload.id)
        return DeliveryError("internal_error", detail=type(error).__name__, unknown=True)
    finally:
        age = (datetime.now(UTC) - context.payload.created).total_seconds()
        metrics.DISPATCH_SECONDS.labels(channel=context.channel.name).observe(age)
    return None


async def _retire(context: Context, recipient: Recipient, outcome: Outcome) -> None:
    """Best effort: an address that stays active is called dead again by the next message."""
    now = datetime.now(UTC)
    payload, at = context.payload, min(now, outcome.dead_since or now)
    where = (payload.tenant, context.channel.name, recipient.delivery, payload.id, recipient.address_hash)
    try:
        await worker.in_thread(retiring.retire, *where, outcome.reason, at)
    except STORE_ERRORS as error:
        log.warning("address not retired", tenant=context.payload.tenant, error=type(error).__name__)
