"""What would become of a message: judged as a submission is, resolved as dispatching does, and nothing is kept."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from messaging import channels, drafting, explain_verdicts, payloads
from messaging.channels.base import Channel, DeliveryError
from messaging.explain import AddressState, ChannelStory, addresses_of, of_addresses, plain_state
from messaging.explain_verdicts import Finding, Verdict, of_channel
from messaging.routing import targets_of
from messaging.selectors import as_outgoing
from sprayer_project import mongo
from subscriptions import reaching, suppressions
from subscriptions.reaching import ReceiverRow
from tenants.selectors import ChannelSettings

MOST_RECEIVERS = 100
"""Receivers whose channels are told one by one; all of them are counted."""
SAMPLE = 10
"""Subscribers of a group and channel that are told one by one."""
_SENDS = Finding(Verdict.WILL_SEND, "It would be sent.")


@dataclass(frozen=True, slots=True)
class Content:
    """What a message is on one channel; refusal: why nothing of it would leave."""

    channel: str
    preview: Mapping[str, Any]
    refusal: Finding | None


@dataclass(frozen=True, slots=True)
class ReceiverStory:
    """A receiver, or addr:<hash> for a plain address."""

    receiver: str
    channels: Sequence[ChannelStory]


@dataclass(frozen=True, slots=True)
class GroupReach:
    """Whom a group reaches on a channel now; count is None while nobody can tell."""

    group: str
    channel: str
    count: int | None
    sample: Sequence[ReceiverStory]


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    status: str
    """scheduled or accepted"""
    channels: Sequence[str]
    send_at: datetime | None
    expires_at: datetime
    contents: Sequence[Content]
    totals: Mapping[str, Mapping[str, int]]
    """channel -> verdict -> named receivers and plain addresses"""
    receivers: Sequence[ReceiverStory]
    """The first MOST_RECEIVERS of those named, then of the plain addresses."""
    groups: Sequence[GroupReach]


@dataclass(frozen=True, slots=True)
class _Draft:
    record: Mapping[str, Any]
    settings: Mapping[str, ChannelSettings]
    refusals: Mapping[str, Finding | None]


@mongo.patience(5)
def dry_run(tenant: str, mode: str, body: Mapping[str, Any]) -> DryRun:
    """Raises what services.accept raises for this body, without an Idempotency-Key. Stores and sends nothing."""
    drafting.canonical(body)
    record = drafting.draft(tenant, mode, body)
    contents = [_content(record, name) for name in record["channels"]]
    draft = _Draft(
        record,
        explain_verdicts.settings_of(tenant, mode),
        {content.channel: content.refusal for content in contents},
    )
    rows = reaching.receivers_named(tenant, record["to"]["receivers"])
    stories = [*_named(draft, rows), *_plain(draft)]
    return DryRun(
        status=record["status"],
        channels=record["channels"],
        send_at=record["send_at"],
        expires_at=record["expires_at"],
        contents=contents,
        totals=_totals(record["channels"], stories),
        receivers=stories[:MOST_RECEIVERS],
        groups=_groups(tenant, draft),
    )


def _content(record: Mapping[str, Any], name: str) -> Content:
    try:
        return Content(name, channels.channel(name).preview(as_outgoing(payloads.of_record(record), name)), None)
    except DeliveryError as error:
        return Content(name, {}, Finding(Verdict.FAILED, f"Nothing would leave ({error.reason}): {error.detail}"))


def _named(draft: _Draft, rows: Mapping[str, ReceiverRow]) -> list[ReceiverStory]:
    asked = {name: set(targets_of(draft.record, name)) for name in draft.record["channels"]}
    return [
        ReceiverStory(receiver, [_story(draft, name, rows.get(receiver)) for name in asked if receiver in asked[name]])
        for receiver in draft.record["to"]["receivers"]
    ]


def _plain(draft: _Draft) -> list[ReceiverStory]:
    stories, record = [], draft.record
    plain = [(item["channel"], item["hash"]) for item in record["to"]["addresses"]]
    suppressed = suppressions.states(record["tenant"], plain) if record["mode"] == "live" else {}
    for item in record["to"]["addresses"]:
        channel = channels.channel(item["channel"])
        address = plain_state(channel, item["address"], suppressed.get((channel.name, item["hash"])))
        stories.append(ReceiverStory(f"addr:{item['hash']}", [_judged(draft, channel, [address])]))
    return stories


def _groups(tenant: str, draft: _Draft) -> list[GroupReach]:
    groups, routes = draft.record["to"]["groups"], draft.record["routes"]
    pairs = [(groups[int(index)], name) for name, _, index in (route.partition("/") for route in routes)]
    found = reaching.subscribers(tenant, groups, draft.record["channels"], SAMPLE)
    names = {name for pair in pairs if pair in found for name in found[pair].sample}
    rows = reaching.receivers_named(tenant, sorted(names))
    reaches = []
    for pair in pairs:
        known = found.get(pair)
        sample = [
            ReceiverStory(name, [_story(draft, pair[1], rows[name])])
            for name in (known.sample if known else ())
            if name in rows
        ]
        reaches.append(GroupReach(*pair, known.count if known else None, sample))
    return reaches


def _story(draft: _Draft, name: str, row: ReceiverRow | None) -> ChannelStory:
    channel = channels.channel(name)
    return _judged(draft, channel, addresses_of(channel, row))


def _judged(draft: _Draft, channel: Channel, addresses: Sequence[AddressState]) -> ChannelStory:
    finding = (
        of_channel(channel, draft.record["mode"], draft.settings.get(channel.name))
        or of_addresses(channel, addresses)
        or draft.refusals[channel.name]
        or _SENDS
    )
    return ChannelStory(channel=channel.name, verdict=finding.verdict, detail=finding.detail, addresses=addresses)


def _totals(names: Iterable[str], stories: Sequence[ReceiverStory]) -> dict[str, dict[str, int]]:
    counted = Counter((story.channel, story.verdict.value) for found in stories for story in found.channels)
    return {
        name: {verdict: count for (channel, verdict), count in sorted(counted.items()) if channel == name}
        for name in names
    }
