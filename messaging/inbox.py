"""Inboxes: one short Redis stream a receiver, read by realtime connections from positions of their own.

An inbox is three keys in one slot: the stream (offsets are its ids' second halves, "0-<offset>", growing by one), the
processes that hold connections of its receiver, and one hash with all that an append must know, so that it is one
reading: epoch, run_id, floor, acknowledged and last offset, the delivery rounds that it holds, until when its receiver
may be held, the newest message of each collapse key. Stream and hash are made and deleted together, so that an offset
is never issued twice under one epoch. A message's payload is stored once and outlives every entry that refers to it.

An inbox that is missing, or that another run_id of Redis made (it was restarted, or came back older), counts as lost:
calls raise Lost until messaging.inbox_restore has put back what the record says is waiting, under a new epoch. So the
append-only file, which only a restarted Redis reads, hears nothing of inboxes.
"""

import json
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby, islice
from typing import Any

from django.conf import settings

from messaging import scripts
from messaging.channels.base import Outgoing, Recipient
from sprayer_project import redis
from sprayer_project.ids import order_of

CHANNEL = "websocket"
"""The channel whose deliveries wait in inboxes."""
WAKE = "sprayer:wake:"
"""Prefix of the pub/sub channel of one process."""
BUDGET = 262_144
TOGETHER, _AT_ONCE = 252, 84
"""Recipients that are best appended by one call; of one script: nobody else is served while it runs, a millisecond."""
_CARRIED = 16_384
"""Bytes of the longest frame that travels in wake-ups."""
_DAY = 86_400_000


class Lost(Exception):
    """These receivers' inboxes are not there, or of another server: restore them first. Nothing was done to them."""

    def __init__(self, tenant: str, receivers: Sequence[str], run_id: str):
        super().__init__(f"{len(receivers)} inboxes of {tenant} are lost")
        self.tenant, self.receivers, self.run_id = tenant, tuple(dict.fromkeys(receivers)), run_id


@dataclass(frozen=True, slots=True)
class Appended:
    """Where a recipient's message stands."""

    delivery: str
    offset: int
    epoch: str
    keeper: str
    """"<shard>/<incarnation>" of the server that holds it."""
    replaced: bool = False
    """It was not appended: a newer message of its collapse key was there before."""


@dataclass(frozen=True, slots=True)
class Appending:
    """What became of one append."""

    places: tuple[Appended, ...]
    ended: int
    """How many deliveries left the tenant's inboxes unacknowledged and are to be reported: see inbox_ended."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One waiting message."""

    offset: int
    message: str
    delivery: str
    round: int
    mode: str
    group: str | None
    expires_at: datetime
    size: int = 0
    """Bytes of the frame that its receivers share."""
    excluded: str = ""
    """The connection that does not get it."""


@dataclass(frozen=True, slots=True)
class View:
    """An inbox as one read found it. floor: the last offset that left it, acked: the default start, both 0 at first."""

    epoch: str
    floor: int
    acked: int
    last: int
    upto: int
    """The last offset that this read looked at: read on after it. Expired entries are looked at and left out."""
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class History:
    """What an inbox held, newest first."""

    epoch: str
    entries: tuple[Entry, ...]
    upto: int
    """Go on before this offset; 0: there is nothing older."""


@dataclass(frozen=True, slots=True)
class Ack:
    """A receiver has everything up to this offset."""

    receiver: str
    epoch: str
    offset: int


async def append(
    message: Outgoing, recipients: Sequence[Recipient], frame: str, *, restoring: bool = False, token: str = ""
) -> Appending:
    """Append a message to its recipients' inboxes and wake their holders. Raises Lost when the others have it.

    Idempotent by delivery and round. frame is the JSON object that realtime clients get, without its offset. Of the
    messages with one collapse key only the newest stays: the one that was accepted last, in whatever order they come.
    token is what redis.atoken said before; who appends a page part by part asks once.
    """
    # Asked before appending: a server that is emptied in between has another token, so that the loss is seen.
    token = token or await redis.atoken(message.tenant)
    places, lost, unreported, run_id = list[Appended](), list[str](), 0, ""
    parts = list(_parts(recipients))
    calls = (_append_arguments(message, some, frame, restoring) for some in parts)
    said = await scripts.run_all(message.tenant, "inbox_append", calls)
    for some, (run_id, missing, answers, ended) in zip(parts, said, strict=True):
        unreported = max(unreported, ended)
        keeper = f"{redis.shard_of(message.tenant)}/{run_id}:{token}"
        places += [
            Appended(recipient.delivery, int(offset), epoch, keeper, replaced=offset == "0")
            for recipient, offset, epoch in zip(some, answers[::2], answers[1::2], strict=True)
        ]
        lost += missing
    if lost:
        raise Lost(message.tenant, lost, run_id)
    return Appending(tuple(places), unreported)


async def read(tenant: str, positions: Sequence[tuple[str, int]], count: int) -> list[View]:
    """The inboxes of receivers, each after an offset, `count` entries at most each (0: none). Raises Lost.

    One's reading ends also when its entries' frames are BUDGET bytes or more.
    """
    keys = [stream_key(tenant, receiver) for receiver, _ in positions]
    arguments = [now(), count, BUDGET, *(value for position in positions for value in position)]
    run_id, lost, views = await scripts.run(tenant, "inbox_read", keys, arguments)
    if lost:
        raise Lost(tenant, lost, run_id)
    return [
        View(epoch, int(floor), int(acked), int(last), int(upto), tuple(_entry(*raw) for raw in entries))
        for epoch, floor, acked, last, upto, entries in views
    ]


async def history(tenant: str, receiver: str, before: int | None, count: int) -> History:
    """The newest `count` entries before an offset, newest first. Raises Lost."""
    arguments = [now(), receiver, "" if before is None else before, count]
    run_id, lost, *found = await scripts.run(tenant, "inbox_history", [stream_key(tenant, receiver)], arguments)
    if lost:
        raise Lost(tenant, lost, run_id)
    ((epoch, upto, entries),) = found
    return History(epoch, tuple(_entry(*raw) for raw in entries), int(upto))


async def frames(tenant: str, messages: Sequence[str]) -> dict[str, str]:
    """The frames of messages; those that are gone are missing."""
    return {message: frame for message, frame in (await _payloads(tenant, messages, "frame")).items() if frame}


async def metadata(tenant: str, messages: Sequence[str]) -> dict[str, dict[str, str]]:
    """The metadata of messages; empty for those whose payload is gone."""
    found = await _payloads(tenant, messages, "metadata")
    return {message: json.loads(text) if text else {} for message, text in found.items()}


async def newly_acknowledged(tenant: str, acks: Sequence[Ack]) -> list[list[Entry]]:
    """Which entries each ack would acknowledge for the first time; none where its epoch is over."""
    answers = await scripts.run(tenant, "inbox_ack", *_ack_arguments(tenant, "peek", acks))
    return [[_entry(*raw) for raw in answer or ()] for answer in answers]


async def entries_at(tenant: str, places: Sequence[Ack]) -> list[list[Entry]]:
    """The entry at just each of these offsets; none where it has left or its epoch is over."""
    answers = await scripts.run(tenant, "inbox_ack", *_ack_arguments(tenant, "at", places))
    return [[_entry(*raw) for raw in answer or ()] for answer in answers]


async def acknowledge(tenant: str, acks: Sequence[Ack]) -> None:
    """Move the receivers' default starts, never backwards; nothing is deleted. Acks of an old epoch are void."""
    await scripts.run(tenant, "inbox_ack", *_ack_arguments(tenant, "move", acks))


async def open_restored(lost: Lost) -> bool:
    """What the record knew is back: the lost inboxes are whole. False where Redis was lost once more meanwhile."""
    keys = [stream_key(lost.tenant, receiver) for receiver in lost.receivers]
    return bool(await scripts.run(lost.tenant, "inbox_open", keys, [_new_epoch(), keep_until(now()), lost.run_id]))


def forget(tenant: str, receiver: str) -> None:
    """Remove a receiver's inbox: a later one has another epoch. Raises redis errors."""
    stream = stream_key(tenant, receiver)
    redis.client(tenant).delete(stream, f"{stream}:meta")


def forget_message(tenant: str, message: str) -> None:
    """Remove what a message says from every inbox. Raises redis errors."""
    redis.client(tenant).delete(_payload_key(tenant, message))


def stream_key(tenant: str, receiver: str) -> str:
    return redis.key(tenant, "inbox", receiver)


def ended_key(tenant: str) -> str:
    """Of the hash of what left the tenant's inboxes unacknowledged."""
    return redis.key(tenant, "inbox-ended")


def _payload_key(tenant: str, message: str) -> str:
    return redis.key(tenant, "payload", message)


def _new_epoch() -> str:
    return secrets.token_hex(8)


def now() -> int:
    """Unix time in milliseconds."""
    return int(time.time() * 1000)


def keep_until(moment: int) -> int:
    """Until when an inbox's keys live, in ms, if nothing more happens to it."""
    return moment + int(settings.INBOX_AGE * 1000) + _DAY


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _entry(offset: str, fields: list[str]) -> Entry:
    named = dict(zip(fields[::2], fields[1::2], strict=True))
    return Entry(
        offset=int(offset),
        message=named["m"],
        delivery=named["d"],
        round=int(named["r"]),
        mode=named["t"],
        group=named["g"] or None,
        expires_at=datetime.fromtimestamp(int(named["x"]) / 1000, UTC),
        size=int(named["s"]),
        excluded=named.get("e", ""),
    )


def _parts(recipients: Sequence[Recipient]) -> Iterator[list[Recipient]]:
    """Recipients that have round and group in common, as many as one script may take."""
    for _, alike in groupby(recipients, lambda recipient: (recipient.round, recipient.group)):
        while some := list(islice(alike, _AT_ONCE)):
            yield some


def _append_arguments(
    message: Outgoing, recipients: Sequence[Recipient], frame: str, restoring: bool
) -> tuple[list[str], list[Any]]:
    """Keys and arguments of inbox_append."""
    moment = now()
    expires = min(_milliseconds(message.expires_at), moment + int(settings.INBOX_AGE * 1000))
    before = stream_key(message.tenant, "")
    streams = [before + redis.part_of_key(recipient.receiver) for recipient in recipients]
    metadata = json.dumps(dict(message.metadata), separators=(",", ":"))
    arguments: list[Any] = [int(restoring), moment, _new_epoch(), settings.INBOX_LENGTH, expires, expires + _DAY]
    arguments += [message.id, message.mode, frame, metadata, expires + _DAY, WAKE, message.tenant]
    arguments += [message.collapse_key or "", order_of(message.id), message.exclude_connection or ""]
    arguments += [recipients[0].round, recipients[0].group or "", _CARRIED]
    for recipient in recipients:
        arguments += [recipient.receiver, recipient.delivery]
    return [_payload_key(message.tenant, message.id), ended_key(message.tenant), *streams], arguments


def _ack_arguments(tenant: str, action: str, acks: Sequence[Ack]) -> tuple[list[str], list[Any]]:
    keys = [stream_key(tenant, ack.receiver) for ack in acks]
    return keys, [action, now(), *(value for ack in acks for value in (ack.epoch, ack.offset))]


async def _payloads(tenant: str, messages: Sequence[str], field: str) -> dict[str, str | None]:
    async with redis.aclient(tenant).pipeline(transaction=False) as pipeline:
        for message in messages:
            pipeline.hget(_payload_key(tenant, message), field)
        return dict(zip(messages, await pipeline.execute(), strict=True))
