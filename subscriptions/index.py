"""The Redis index of a tenant's receivers, groups and subscriptions. scripts.py has its keys.

Nothing in it is the truth: rebuild.py makes it again from the record whenever the server lost it or came back older.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from sprayer_project import redis
from subscriptions import scripts

CHUNK = 500
"""Entries in one pipeline: bounds memory and how long anyone waits for the server."""


class NotValid(Exception):
    """The server has no complete index of this tenant: build it first."""


class NotBuilding(Exception):
    """The generation that was being filled is no longer wanted."""


class IndexedAddress(NamedTuple):
    address: str
    """Canonical, as the channel's clean_address returned it."""
    hash: str
    retired: str | None
    """Why it must not be used; None while it is active."""


@dataclass(frozen=True, slots=True)
class ReceiverEntry:
    """All that the index says of a receiver, as one version of the record has it."""

    name: str
    version: int
    deleted: bool
    addresses: Mapping[str, tuple[IndexedAddress, ...]]
    """channel -> addresses, active and retired"""
    memberships: tuple[tuple[str, str], ...]
    """(group id, channel)"""


@dataclass(frozen=True, slots=True)
class GroupEntry:
    name: str
    version: int
    deleted: bool
    id: str
    channels: tuple[str, ...] | None
    """The only channels of the group; None for all."""


@dataclass(frozen=True, slots=True)
class SuppressionEntry:
    name: str
    """<channel>/<hash of the address>"""
    version: int
    deleted: bool
    reason: str


class Resolved(NamedTuple):
    """One receiver on one channel, now."""

    addresses: tuple[IndexedAddress, ...]
    """Only those that may be used."""
    known: bool
    """Whether there is such a receiver."""
    subscribed: bool
    """Whether the group that was asked for reaches it on the channel; False without a group."""
    retired: tuple[tuple[str, str], ...] = ()
    """(hash, reason) of those that must not be used"""


NOBODY = Resolved((), False, False)
Entry = ReceiverEntry | GroupEntry | SuppressionEntry


def base(tenant: str) -> str:
    return redis.key(tenant, "subscriptions", "")


def marker_key(tenant: str) -> str:
    return base(tenant) + "at"


def building_key(tenant: str) -> str:
    return base(tenant) + "building"


def apply(tenant: str, entries: Sequence[Entry], generation: str = "") -> list[int]:
    """Write entries to the valid generation and to the one being built; without either there is nothing to do.

    With a generation: to that one alone; raises NotBuilding when it is not the one being built.
    Returns for each entry the newer version that the index holds already, 0 where it now holds this one.
    """
    client = redis.client(tenant)
    writers = {
        ReceiverEntry: client.register_script(scripts.APPLY_RECEIVER),
        GroupEntry: client.register_script(scripts.APPLY_GROUP),
        SuppressionEntry: client.register_script(scripts.APPLY_SUPPRESSION),
    }
    keys, answers = [marker_key(tenant), building_key(tenant)], []
    for start in range(0, len(entries), CHUNK):
        with client.pipeline(transaction=False) as pipe:
            for entry in entries[start : start + CHUNK]:
                arguments: list[str | int] = [base(tenant), generation, redis.part_of_key(entry.name)]
                # hiredis takes plain numbers only, and BSON has integers of its own.
                arguments += [int(entry.version), int(entry.deleted)]
                writers[type(entry)](keys, arguments + _arguments(entry), client=pipe)
            answers += pipe.execute()
    if -1 in answers:
        raise NotBuilding
    return answers


def is_valid(tenant: str) -> bool:
    return bool(redis.client(tenant).register_script(scripts.VALID)([marker_key(tenant)], [base(tenant)]))


def channels_of_receivers(tenant: str, names: Sequence[str]) -> list[frozenset[str] | None]:
    """For each receiver the channels on which it has addresses, None where the index does not know it."""
    found = _read(tenant, scripts.CHANNELS_OF_RECEIVERS, [redis.part_of_key(name) for name in names])
    return [None if channels is None else frozenset(channels) for channels in found]


def channels_of_groups(tenant: str, names: Sequence[str], channels: Sequence[str]) -> list[frozenset[str] | None]:
    """For each group those of these channels that have subscribers, None where the index does not know it."""
    arguments = [str(len(channels)), *channels, *(redis.part_of_key(name) for name in names)]
    found = _read(tenant, scripts.CHANNELS_OF_GROUPS, arguments)
    return [None if subscribed is None else frozenset(subscribed) for subscribed in found]


def subscribers_of_groups(
    tenant: str, names: Sequence[str], channels: Sequence[str], most: int
) -> dict[tuple[str, str], tuple[int, list[str]]]:
    """(group, channel) -> the number of its subscribers, and the first `most` by name."""
    arguments = [str(len(channels)), *channels, str(most), *(redis.part_of_key(name) for name in names)]
    found = _read(tenant, scripts.SUBSCRIBERS_OF_GROUPS, arguments)
    pairs = [(name, channel) for name in names for channel in channels]
    return dict(zip(pairs, zip(map(int, found[::2]), found[1::2], strict=True), strict=True))


async def expand(tenant: str, group: str, channel: str, after: str | None, count: int) -> list[str]:
    """The next subscribers by name, byte by byte."""
    smallest = "-" if after is None else f"({after}"
    return await _aread(tenant, scripts.EXPAND, [redis.part_of_key(group), channel, smallest, str(count)])


def subscribers_after(tenant: str, group: str, channel: str, after: str, count: int) -> list[str]:
    """The same for threads."""
    return _read(tenant, scripts.EXPAND, [redis.part_of_key(group), channel, f"({after}", str(count)])


def subscribers_among(tenant: str, group: str, channel: str, names: Sequence[str]) -> list[bool]:
    """For each receiver whether the group reaches it on the channel."""
    return [found == 1 for found in _read(tenant, scripts.MEMBERS, [channel, "1", redis.part_of_key(group), *names])]


async def resolve(
    tenant: str, channel: str, names: Sequence[str], group: str | None, plain: Sequence[str] = ()
) -> tuple[list[Resolved], dict[str, str]]:
    """Receivers in their order; and of the plain addresses' hashes those that are suppressed, with the reasons."""
    arguments = [channel, "" if group is None else redis.part_of_key(group), str(len(plain))]
    arguments += [redis.part_of_key(f"{channel}/{hashed}") for hashed in plain]
    for name in names:
        arguments += [redis.part_of_key(name), name]
    reasons, *found = await _aread(tenant, scripts.RESOLVE, arguments)
    resolutions = [
        resolved(_addresses(addresses), subscribed == 1) if known == 1 else NOBODY
        for known, addresses, subscribed in zip(found[::3], found[1::3], found[2::3], strict=True)
    ]
    return resolutions, {hashed: reason for hashed, reason in zip(plain, reasons, strict=True) if reason}


async def members(tenant: str, channel: str, groups: Sequence[str], names: Sequence[str]) -> list[bool]:
    """For each receiver whether one of the groups reaches it on the channel."""
    arguments = [channel, str(len(groups)), *(redis.part_of_key(group) for group in groups), *names]
    return [found == 1 for found in await _aread(tenant, scripts.MEMBERS, arguments)]


def resolved(found: Sequence[IndexedAddress], subscribed: bool) -> Resolved:
    """Of a receiver that there is, with all its addresses on the channel."""
    active = tuple([row for row in found if row.retired is None])
    if len(active) == len(found):
        return Resolved(active, True, subscribed)
    retired = tuple((row.hash, row.retired) for row in found if row.retired is not None)
    return Resolved(active, True, subscribed, retired)


def _read(tenant: str, script: str, arguments: Sequence[str]) -> list[Any]:
    with redis.hurried(redis.shard_of(tenant)) as client:
        found = client.register_script(script)([marker_key(tenant)], [base(tenant), *arguments])
    return _valid(found)


async def _aread(tenant: str, script: str, arguments: Sequence[str]) -> list[Any]:
    found = await redis.aclient(tenant).register_script(script)([marker_key(tenant)], [base(tenant), *arguments])
    return _valid(found)


def _valid(found: Any) -> list[Any]:
    if found is None:
        raise NotValid
    return list(found)


def _arguments(entry: Entry) -> list[str | int]:
    if isinstance(entry, GroupEntry):
        return [entry.id, "" if entry.channels is None else f",{','.join(entry.channels)},"]
    if isinstance(entry, SuppressionEntry):
        return [entry.reason]
    fields = [part for channel, addresses in entry.addresses.items() for part in (channel, _text(addresses))]
    return [entry.name, len(fields), *fields, *(f"{group}:{channel}" for group, channel in entry.memberships)]


def _text(addresses: Sequence[IndexedAddress]) -> str:
    rows = [[address.address, address.hash, address.retired] for address in addresses]
    return json.dumps(rows, separators=(",", ":"), ensure_ascii=False)


def _addresses(text: str | None) -> list[IndexedAddress]:
    return [IndexedAddress._make(row) for row in orjson.loads(text)] if text else []
