"""Why a receiver got a message or did not get it, channel by channel: from the message, the receiver and feedback."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from feedback import search
from feedback.events import Status
from feedback.selectors import DeliveryDetail
from messaging import channels, collapsing, explain_verdicts, selectors
from messaging.channels.base import OPTED_OUT, Channel
from messaging.explain_verdicts import Finding, Verdict, of_channel, of_delivery
from messaging.routing import targets_of
from sprayer_project.errors import NotFound
from subscriptions import reaching, suppressions
from subscriptions.reaching import ReceiverRow
from subscriptions.suppressions import SuppressionRow
from tenants.selectors import ChannelSettings

_BEST = (
    *(Status.READ, Status.DELIVERED, Status.SENT, Status.DEFERRED, Status.QUEUED, Status.SCHEDULED),
    *(Status.BOUNCED, Status.FAILED, Status.SUPPRESSED, Status.EXPIRED, Status.CANCELLED),
)
"""Of several addresses the one that got furthest speaks for the channel."""
_OVER = {
    "scheduled": Finding(Verdict.SCHEDULED, "The message waits for its time to be sent."),
    "cancelled": Finding(Verdict.CANCELLED, "The message was cancelled before anything was sent here."),
    "expired": Finding(Verdict.EXPIRED, "The message's time to live was over before anything was sent here."),
    "settled": Finding(Verdict.NOT_RECORDED, "The message is settled and has no delivery to this receiver here."),
}
_WAITS = Finding(Verdict.QUEUED, "The message is on its way: nothing has become of it on this channel yet.")


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressState:
    """One of the receiver's addresses as it stands now."""

    address: str
    """Masked."""
    status: str
    """active or retired"""
    reason: str | None = None
    retired_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelStory:
    """What became of the message on one channel."""

    channel: str
    verdict: Verdict
    detail: str
    deliveries: Sequence[DeliveryDetail] = ()
    addresses: Sequence[AddressState] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    message: str
    receiver: str
    channels: Sequence[ChannelStory]
    """One for every channel that there is."""


@dataclass(frozen=True, slots=True)
class _Case:
    """All that is known of one message and one receiver."""

    message: Mapping[str, Any]
    receiver: str
    row: ReceiverRow | None
    reach: Mapping[str, frozenset[str]]
    """Those of the message's groups that have the receiver now, and the channels on which each reaches it."""
    settings: Mapping[str, ChannelSettings]
    suppression: SuppressionRow | None = None
    """Of the plain address, if there is one."""

    @property
    def groups(self) -> Sequence[str]:
        return list(self.message["to"]["groups"])

    @property
    def is_named(self) -> bool:
        return self.receiver in self.message["to"]["receivers"]

    @property
    def plain(self) -> Mapping[str, str] | None:
        """The plain address that the receiver stands for."""
        items = self.message["to"]["addresses"]
        return next((item for item in items if f"addr:{item['hash']}" == self.receiver and item["address"]), None)


def explain(tenant: str, mode: str | None, message: str, receiver: str) -> Explanation:
    """receiver: a name, or addr:<hash> for a plain address.

    Raises NotFound for an unknown message, and for a receiver whom the message names neither itself nor by a group.
    """
    record = selectors.record(tenant, mode, message)
    row = reaching.receivers_named(tenant, [receiver]).get(receiver)
    groups = record["to"]["groups"]
    reach = reaching.reach(tenant, row, groups) if row and groups else {}
    case = _Case(record, receiver, row, reach, explain_verdicts.settings_of(tenant, record["mode"]))
    if case.plain and record["mode"] == "live":
        place = case.plain["channel"], case.plain["hash"]
        case = replace(case, suppression=suppressions.states(tenant, [place]).get(place))
    found: dict[str, list[DeliveryDetail]] = {}
    for detail in search.of_receiver(tenant, record["mode"], message, receiver):
        found.setdefault(detail.row.channel, []).append(detail)
    if not (found or groups or case.is_named or case.plain):
        raise NotFound("receiver_not_named", f"The message is not for {receiver!r}, and names no group.")
    stories = [_story(case, channel, found.get(name, ())) for name, channel in channels.registry().items()]
    return Explanation(message, receiver, stories)


def addresses_of(channel: Channel, row: ReceiverRow | None) -> list[AddressState]:
    """A receiver's addresses on a channel, masked."""
    return [
        AddressState(
            address=channel.mask_address(item.address),
            status=item.status,
            reason=item.reason,
            retired_at=item.retired_at,
        )
        for item in (row.addresses if row else ())
        if item.channel == channel.name
    ]


def plain_state(channel: Channel, address: str, suppression: SuppressionRow | None) -> AddressState:
    """A plain address as it stands now, masked: suppressed is to it what retired is to a receiver's."""
    masked = channel.mask_address(address)
    if suppression is None:
        return AddressState(address=masked, status="active")
    return AddressState(address=masked, status="retired", reason=suppression.reason, retired_at=suppression.at)


def of_addresses(channel: Channel, addresses: Sequence[AddressState]) -> Finding | None:
    """Why a receiver with these addresses cannot be reached on a channel; None: it can."""
    if not channel.needs_address or any(address.status == "active" for address in addresses):
        return None
    if not addresses:
        return Finding(Verdict.NO_ADDRESS, "The receiver has no address on this channel.")
    said = ", ".join(f"{address.address} {_since(address)}" for address in addresses)
    if any(address.reason == OPTED_OUT for address in addresses):
        return Finding(Verdict.OPTED_OUT, f"The receiver does not want messages on this channel: {said}.")
    return Finding(Verdict.ADDRESS_RETIRED, f"Every address on this channel is retired: {said}.")


def _story(case: _Case, channel: Channel, deliveries: Sequence[DeliveryDetail]) -> ChannelStory:
    addresses = addresses_of(channel, case.row)
    if case.plain and case.plain["channel"] == channel.name:
        addresses = [plain_state(channel, case.plain["address"], case.suppression)]
    finding = _of_deliveries(case, channel, deliveries, addresses) or _without_delivery(case, channel, addresses)
    return ChannelStory(
        channel=channel.name,
        verdict=finding.verdict,
        detail=finding.detail,
        deliveries=deliveries,
        addresses=addresses,
    )


def _of_deliveries(
    case: _Case, channel: Channel, deliveries: Sequence[DeliveryDetail], addresses: Sequence[AddressState]
) -> Finding | None:
    if not deliveries:
        return None
    best = min(deliveries, key=lambda found: _BEST.index(found.row.status))
    finding = of_delivery(channel, best, case.settings.get(channel.name))
    retired = [address for address in addresses if address.status == "retired"]
    if finding.verdict in (Verdict.ADDRESS_RETIRED, Verdict.OPTED_OUT) and retired:
        said = ", ".join(f"{address.address} {_since(address)}" for address in retired)
        return replace(finding, detail=f"{finding.detail} Now: {said}.")
    if finding.verdict is Verdict.REPLACED and case.message.get("collapse"):
        newest = collapsing.newest(case.message)
        return replace(finding, detail=f"{finding.detail} The newest: {newest}.") if newest else finding
    return finding


def _without_delivery(case: _Case, channel: Channel, addresses: Sequence[AddressState]) -> Finding:
    if case.plain:
        return _waits(case) if case.plain["channel"] == channel.name else _not_asked(case, channel, addresses)
    if channel.name not in case.message["channels"]:
        return _not_asked(case, channel, addresses)
    if case.is_named and case.receiver in targets_of(case.message, channel.name):
        return _waits(case)
    return _by_groups(case, channel) if case.groups else _not_asked(case, channel, addresses)


def _by_groups(case: _Case, channel: Channel) -> Finding:
    names = ", ".join(case.groups)
    if case.row is None:
        return Finding(Verdict.NO_RECEIVER, f"There is no receiver {case.receiver!r}, so none of {names} has it.")
    if not case.reach:
        return Finding(Verdict.NOT_SUBSCRIBED, f"The receiver subscribes to none of {names}.")
    reached = [name for name, found in case.reach.items() if channel.name in found]
    if not reached:
        return Finding(Verdict.NOT_SUBSCRIBED, f"{', '.join(case.reach)} does not reach the receiver on this channel.")
    routes = [f"{channel.name}/{case.groups.index(name)}" for name in reached]
    if any(route in case.message["routes"] and route not in case.message["routed"] for route in routes):
        return _waits(case)
    joined = f"{', '.join(reached)} reaches the receiver now, and did not when its subscribers were resolved."
    return Finding(Verdict.NOT_SUBSCRIBED, joined)


def _waits(case: _Case) -> Finding:
    return _OVER.get(case.message["status"], _WAITS)


def _not_asked(case: _Case, channel: Channel, addresses: Sequence[AddressState]) -> Finding:
    """Why the message does not use a channel for this receiver, as far as it can be told now."""
    if case.plain:
        return Finding(Verdict.NOT_ASKED, f"A plain address has one channel, which is {case.plain['channel']}.")
    if "targets" not in case.message:
        named = ", ".join(case.message["channels"])
        return Finding(Verdict.NOT_ASKED, f"The message asks for {named} alone.")
    settings = case.settings.get(channel.name)
    reason = of_channel(channel, case.message["mode"], settings) or of_addresses(channel, addresses)
    return reason or Finding(
        Verdict.NOT_ASKED, "When the message was accepted, the channel was off or the receiver had no address on it."
    )


def _since(address: AddressState) -> str:
    when = f" since {address.retired_at:%Y-%m-%d %H:%M} UTC" if address.retired_at else ""
    return f"({(address.reason or 'retired').replace('_', ' ')}{when})"
