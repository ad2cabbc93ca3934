"""Dead letters: what a replay would come to, and doing it, for one, many or all of a channel and reason."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from feedback import dead
from feedback.selectors import DeliveryRow, states
from feedback.services import RETRIABLE
from messaging import channels, explain_verdicts, services
from messaging.channels.base import OPTED_OUT
from messaging.errand_row import Row
from messaging.explain_verdicts import Verdict, of_channel
from subscriptions import reaching, suppressions
from subscriptions.reaching import ReceiverRow
from subscriptions.suppressions import SuppressionRow
from tenants.selectors import ChannelSettings

STEP = 100
"""Dead letters of one step of an errand."""
JUDGED = 1_000
"""Dead letters that a preview judges one by one, the oldest: all of them are counted."""

WILL_SEND = "will_send"
SENTENCES = {
    WILL_SEND: "are tried again",
    "expired": "are refused: their message's time to live is over",
    "not_dead": "are refused: they are no dead letters any more",
    "channel_off": "would fail at once: the channel is off or has no credentials",
    "credentials_refused": "would probably fail: the provider refuses the tenant's credentials",
    "no_receiver": "would not be sent: there is no such receiver any more",
    "no_address": "would not be sent: the receiver does not have this address any more",
    "address_retired": "would not be sent: the address is retired",
    "opted_out": "would not be sent: the person does not want messages there",
}
"""What a replay comes to, in one word and for people."""
_REFUSED = frozenset({"expired", "not_dead"})


@dataclass(frozen=True, slots=True)
class Chosen:
    """Some dead letters by their ids, or all of one channel and reason up to the newest id."""

    mode: str
    ids: tuple[str, ...] = ()
    channel: str | None = None
    reason: str | None = None
    newest: str = ""

    @property
    def named(self) -> dict[str, str]:
        found = {"channel": self.channel, "reason": self.reason}
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Preview:
    """What a replay of the chosen would come to now."""

    count: int
    more: bool
    """There are more than were counted."""
    judged: int
    outcomes: Mapping[str, int]
    """word of SENTENCES -> how many of the judged"""
    channels: Mapping[str, int]
    newest: str
    """The newest id that is meant: what comes later is not."""


def preview(tenant: str, chosen: Chosen) -> Preview:
    """Nothing is changed. Raises the errors of MongoDB and SQL."""
    newest = chosen.newest or dead.newest(tenant, chosen.mode)
    rows = list(chosen_rows(tenant, chosen, newest=newest))
    count, more = len(rows), False
    if not chosen.ids and count == JUDGED:
        known = dead.groups(tenant, chosen.mode)
        wanted = [group for group in known.groups if (group.channel, group.reason) == (chosen.channel, chosen.reason)]
        count, more = max(JUDGED, sum(group.count for group in wanted)), known.more
    words = Counter(outcomes(tenant, chosen.mode, rows).values())
    words["not_dead"] += len(chosen.ids) - len(rows) if chosen.ids else 0
    ordered = {word: words[word] for word in SENTENCES if words[word]}
    return Preview(count, more, len(rows), ordered, Counter(row.channel for row in rows), newest)


def chosen_rows(
    tenant: str, chosen: Chosen, after: str | None = None, limit: int = JUDGED, newest: str = ""
) -> Iterable[DeliveryRow]:
    """Those of the chosen that are dead letters, from old to new, after an id and up to the newest."""
    if chosen.ids:
        found = states(tenant, chosen.ids).values()
        return [row for row in found if row.mode == chosen.mode and row.dead]
    return dead.letters(tenant, chosen.mode, chosen.named, after, limit, newest)


def outcomes(tenant: str, mode: str, rows: Sequence[DeliveryRow]) -> dict[str, str]:
    """By id what a replay would come to, as far as it can be told now: a word of SENTENCES."""
    now, settings = datetime.now(UTC), explain_verdicts.settings_of(tenant, mode)
    off = {name: _channel_off(name, mode, settings.get(name)) for name in {row.channel for row in rows}}
    receivers = reaching.receivers_named(tenant, sorted({row.receiver for row in rows}))
    plain = [(row.channel, row.address_hash) for row in rows if _is_plain(row)]
    suppressed = suppressions.states(tenant, plain) if mode == "live" else {}
    return {
        row.id: _outcome(
            row,
            now,
            off[row.channel],
            receivers.get(row.receiver),
            suppressed.get((row.channel, row.address_hash)),
        )
        for row in rows
    }


def replay(tenant: str, mode: str, ids: Sequence[str]) -> Counter[str]:
    """Open another round of these: by word of SENTENCES, or the code of a refusal, how many."""
    counted = Counter[str]()
    for error in services.retry_deliveries(tenant, mode, ids).values():
        counted[error.code if error else WILL_SEND] += 1
    return counted


def drop(tenant: str, mode: str, ids: Sequence[str]) -> int:
    """Take them off the list, for good; they stay failed. Returns how many were on it."""
    return dead.drop(tenant, mode, ids)


def replay_step(errand: Row) -> tuple[Mapping[str, Any], bool]:
    """One step of an errand whose arguments are a Chosen of a channel and reason."""
    rows, progress, last = _next(errand)
    counted = Counter(progress["outcomes"])
    counted.update(replay(errand.tenant, errand.arguments["mode"], [row.id for row in rows]))
    return progress | {"outcomes": dict(counted)}, last


def drop_step(errand: Row) -> tuple[Mapping[str, Any], bool]:
    rows, progress, last = _next(errand)
    drop(errand.tenant, errand.arguments["mode"], [row.id for row in rows])
    return progress, last


def _next(errand: Row) -> tuple[list[DeliveryRow], dict[str, Any], bool]:
    """The step's dead letters, the progress after it, and whether they are the last."""
    before = {"done": 0, "after": None, "outcomes": {}} | dict(errand.progress)
    chosen = Chosen(**dict(errand.arguments))
    rows = list(chosen_rows(errand.tenant, chosen, before["after"], STEP, chosen.newest))
    after = rows[-1].id if rows else before["after"]
    return rows, before | {"done": before["done"] + len(rows), "after": after}, len(rows) < STEP


def _channel_off(name: str, mode: str, settings: ChannelSettings | None) -> str | None:
    channel = channels.registry().get(name)
    finding = of_channel(channel, mode, settings) if channel else None
    if finding is None:
        return None if channel else "channel_off"
    return "credentials_refused" if finding.verdict is Verdict.CREDENTIALS_REFUSED else "channel_off"


def _is_plain(row: DeliveryRow) -> bool:
    return row.receiver == f"addr:{row.address_hash}"


def _outcome(
    row: DeliveryRow,
    now: datetime,
    off: str | None,
    receiver: ReceiverRow | None,
    suppression: SuppressionRow | None,
) -> str:
    if row.expires_at is not None and row.expires_at <= now:
        return "expired"
    if row.status not in RETRIABLE:
        return "not_dead"
    if off:
        return off
    if _is_plain(row):
        return _put_aside(suppression.reason) if suppression else WILL_SEND
    if receiver is None:
        return "no_receiver"
    if not row.address_hash:
        return WILL_SEND
    address = next((known for known in receiver.addresses if known.hash == row.address_hash), None)
    if address is None:
        return "no_address"
    return WILL_SEND if address.status == "active" else _put_aside(address.reason)


def _put_aside(reason: str | None) -> str:
    return "opted_out" if reason == OPTED_OUT else "address_retired"
