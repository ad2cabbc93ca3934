"""Writes to receivers and their addresses; the names of every write of this package.

All are idempotent. The record is written first and decides; the index follows at once, or when its server is back.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from pymongo import InsertOne, UpdateOne
from pymongo.errors import BulkWriteError

from sprayer_project.errors import Conflict, Invalid, NotFound, SprayerError
from subscriptions import addressing, changes, documents, record, syncing
from subscriptions.addresses import is_device
from subscriptions.addressing import add_address, reactivate_address, remove_address, retire_address
from subscriptions.inputs import (
    AddressInput,
    CleanAddress,
    ReceiverInput,
    clean_addresses,
    clean_attributes,
    clean_locale,
    clean_timezone,
    named,
)
from subscriptions.memberships import delete_group, put_group, subscribe, subscribe_many, unsubscribe
from subscriptions.rebuild import ensure_index, rebuild
from subscriptions.record import ReceiverRow
from subscriptions.syncing import finish_pending

__all__ = [
    "KEEP",
    "AddressInput",
    "ReceiverInput",
    "add_address",
    "delete_group",
    "delete_receiver",
    "ensure_index",
    "erase_receiver",
    "finish_pending",
    "patch_receiver",
    "put_group",
    "put_receiver",
    "put_receivers",
    "reactivate_address",
    "rebuild",
    "remove_address",
    "retire_address",
    "subscribe",
    "subscribe_many",
    "unsubscribe",
]

_TRIES = 10
_DUPLICATE = 11000


class Keep(Enum):
    KEEP = "keep"


KEEP = Keep.KEEP
"""In a patch: leave this field as it is."""

_Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A ReceiverInput, cleaned."""

    values: _Values
    addresses: list[CleanAddress]
    keeps_retired: bool

    def after(self, row: ReceiverRow | None) -> _Values:
        """What the record has to say. row: what there was before."""
        return self.values | {"addresses": addressing.merged(row, self.addresses, self.keeps_retired)}


def put_receiver(
    tenant: str,
    name: str,
    addresses: Sequence[AddressInput] = (),
    attributes: Mapping[str, Any] | None = None,
    locale: str | None = None,
    timezone: str | None = None,
) -> ReceiverRow:
    """Make a receiver be exactly this. An address that was retired becomes active again when it is named here.

    One that is retired for a lasting reason of its channel does not, until it is taken out and put again. A device's
    address leaves whatever receiver had it before. Raises Invalid with pointers.
    """
    (result,) = put_receivers(tenant, [ReceiverInput(name, addresses, attributes or {}, locale, timezone)])
    if isinstance(result, SprayerError):
        raise result
    return result


def put_receivers(tenant: str, items: Sequence[ReceiverInput]) -> list[ReceiverRow | SprayerError]:
    """put_receiver for many: a row or what is wrong with the item, in their order."""
    wanted: dict[str, _Wanted] = {}
    results: list[ReceiverRow | SprayerError | str] = []
    for item in items:
        try:
            name = named(item.name, "/receiver")
            if name in wanted:
                raise Invalid("duplicate_receiver", "This receiver is in the batch already.", "/receiver")
            wanted[name] = _cleaned(tenant, item)
            results.append(name)
        except SprayerError as error:
            results.append(error)
    rows = _write(tenant, _last_wins(wanted))
    syncing.attempt(
        tenant, lambda: syncing.sync_receivers(tenant, [row.id for row in rows.values() if row.index_pending])
    )
    return [rows[result] if isinstance(result, str) else result for result in results]


def patch_receiver(
    tenant: str,
    name: str,
    addresses: Sequence[AddressInput] | Keep = KEEP,
    attributes: Mapping[str, Any] | Keep = KEEP,
    locale: str | Keep | None = KEEP,
    timezone: str | Keep | None = KEEP,
) -> ReceiverRow:
    """Change what is given (JSON Merge Patch, RFC 7396): addresses are replaced, attributes merged, None removes.

    Raises NotFound, Invalid, and Conflict when others keep changing the receiver meanwhile.
    """
    for _ in range(_TRIES):
        row = _receiver(tenant, name)
        values: _Values = {"updated_at": record.now()}
        if not isinstance(addresses, Keep):
            values["addresses"] = addressing.merged(row, clean_addresses(tenant, addresses))
        if not isinstance(attributes, Keep):
            merged = {**row.attributes, **attributes}
            values["attributes"] = clean_attributes({key: value for key, value in merged.items() if value is not None})
        if not isinstance(locale, Keep):
            values["locale"] = clean_locale(locale)
        if not isinstance(timezone, Keep):
            values["timezone"] = clean_timezone(timezone)
        if addressing.replace(tenant, row, values):
            return _receiver(tenant, name)
    raise Conflict("busy", "The receiver is being changed by others: repeat the request.", retry_after=1)


def delete_receiver(tenant: str, name: str) -> None:
    """Remove a receiver with its addresses and subscriptions; nothing happens when there is none."""
    change = {"$set": {"deleted": True, "index_pending": True}, "$inc": {"version": 1}}
    found = documents.receivers().find_one_and_update(record.live(tenant, name=name), change, {"_id": 1})
    if found:
        documents.subscriptions().delete_many({"receiver_id": found["_id"]})
        addressing.sync(tenant, found["_id"])


def erase_receiver(tenant: str, name: str) -> None:
    """delete_receiver, and the record says nothing of it meanwhile, even if the index cannot be reached for long."""
    blank: _Values = {"addresses": [], "attributes": {}, "locale": None, "timezone": None}
    delete_receiver(tenant, name)
    left = {"tenant": tenant, "index_pending": True, "name": name, "deleted": True}
    documents.receivers().update_many(left, {"$set": blank})


def _cleaned(tenant: str, item: ReceiverInput) -> _Wanted:
    values = {
        "attributes": clean_attributes(item.attributes),
        "locale": clean_locale(item.locale),
        "timezone": clean_timezone(item.timezone),
    }
    return _Wanted(values, clean_addresses(tenant, item.addresses), item.keeps_retired)


def _last_wins(wanted: dict[str, _Wanted]) -> dict[str, _Wanted]:
    """Of the items that register one device the last has it."""
    taken: set[str] = set()
    for name, item in reversed(wanted.items()):
        wanted[name] = replace(item, addresses=[address for address in item.addresses if address.hash not in taken])
        taken |= {address.hash for address in item.addresses if is_device(address.channel)}
    return wanted


def _write(tenant: str, wanted: Mapping[str, _Wanted]) -> dict[str, ReceiverRow]:
    """Insert or change these receivers; whoever was inserted, changed or deleted by others meanwhile is tried again."""
    todo = set(wanted)
    for _ in range(_TRIES):
        if not todo:
            break
        before = _rows(tenant, todo)
        operations = {name: _operation(tenant, name, before.get(name), wanted[name]) for name in sorted(todo)}
        again, missed = _bulk({name: operation for name, operation in operations.items() if operation})
        rows = _rows(tenant, todo)
        for name in before.keys() & rows.keys():
            changes.tell(tenant, before[name], rows[name].addresses)
            if missed and not _is_so(rows[name], wanted[name]):
                again.add(name)
        todo = again | (todo - set(rows))
    if todo:
        raise Conflict("busy", "The receivers are being changed by others: repeat the request.", retry_after=1)
    return _rows(tenant, wanted)


def _operation(
    tenant: str, name: str, row: ReceiverRow | None, wanted: _Wanted
) -> InsertOne[dict[str, Any]] | UpdateOne | None:
    now, values = record.now(), wanted.after(row)
    if row is None:
        first = {"version": time.time_ns() // 1_000_000, "index_pending": True, "created_at": now, "updated_at": now}
        return InsertOne(record.live(tenant, name=name) | values | first)
    old = _values_of(row)
    if old == values:
        return None
    if addressing.timeless(old) == addressing.timeless(values):
        # A device was registered again, nothing else: the index need not hear of it, and whoever changed the receiver
        # meanwhile, or moved the device away, came later.
        again = {"$set": {"addresses": values["addresses"]}, "$inc": {"version": 1}}
        return UpdateOne({"_id": row.id, "version": row.version, "deleted": False}, again)
    change = {"$set": values | {"updated_at": now, "index_pending": True}, "$inc": {"version": 1}}
    return UpdateOne({"_id": row.id, "version": row.version, "deleted": False}, change)


def _is_so(row: ReceiverRow, wanted: _Wanted) -> bool:
    """Whether the record says what was wanted of a receiver, whoever wrote it; times aside."""
    return addressing.timeless(_values_of(row)) == addressing.timeless(wanted.after(row))


def _values_of(row: ReceiverRow) -> _Values:
    found: _Values = {"attributes": row.attributes, "locale": row.locale, "timezone": row.timezone}
    return found | {"addresses": [addressing.values_of(address) for address in row.addresses]}


def _bulk(operations: Mapping[str, InsertOne[dict[str, Any]] | UpdateOne]) -> tuple[set[str], bool]:
    """The names that somebody else inserted at the same moment; whether somebody changed one of the others."""
    if not operations:
        return set(), False
    updates = sum(isinstance(operation, UpdateOne) for operation in operations.values())
    try:
        done = documents.receivers().bulk_write(list(operations.values()), ordered=False)
    except BulkWriteError as error:
        problems = error.details["writeErrors"] if error.details else []
        if not problems or any(problem["code"] != _DUPLICATE for problem in problems):
            raise
        taken = {list(operations)[problem["index"]] for problem in problems}
        return taken, error.details["nMatched"] < updates
    return set(), done.matched_count < updates


def _rows(tenant: str, names: Mapping[str, Any] | set[str]) -> dict[str, ReceiverRow]:
    return {row.name: row for row in record.find_receivers(record.live(tenant, name={"$in": list(names)}))}


def _receiver(tenant: str, name: str) -> ReceiverRow:
    for row in record.find_receivers(record.live(tenant, name=name), 1):
        return row
    raise NotFound("not_found", "There is no such receiver.")
