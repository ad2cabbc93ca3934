"""Single addresses of receivers: put, taken out, retired, used again. The others of the receiver stay as they are."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from bson import ObjectId

from sprayer_project.errors import Conflict, Invalid, NotFound
from subscriptions import changes, documents, record, syncing
from subscriptions.addresses import is_device, kind_of
from subscriptions.inputs import MAX_ADDRESSES, AddressInput, CleanAddress, clean_addresses
from subscriptions.record import AddressRow, ReceiverRow

_TRIES = 10

Values = dict[str, Any]


def add_address(tenant: str, name: str, address: AddressInput) -> ReceiverRow:
    """Put one more address, or use a retired one again, as put_receiver would. Raises NotFound, Invalid, Conflict."""
    (clean,) = clean_addresses(tenant, [address])

    def change(row: ReceiverRow) -> list[Values]:
        found = {known.hash: values_of(known) for known in row.addresses}
        (found[clean.hash],) = merged(row, [clean])
        if len(found) > MAX_ADDRESSES:
            raise Invalid("too_many_addresses", f"A receiver has at most {MAX_ADDRESSES} addresses.", "/addresses")
        return list(found.values())

    return _change(tenant, name, change)


def remove_address(tenant: str, name: str, address_hash: str) -> ReceiverRow:
    """Nothing happens when the receiver has no such address. Raises NotFound for the receiver, Conflict."""
    return _change(
        tenant, name, lambda row: [values_of(known) for known in row.addresses if known.hash != address_hash]
    )


def reactivate_address(tenant: str, name: str, address_hash: str) -> ReceiverRow:
    """Use a retired address again. Raises NotFound, Conflict also where its owner put it aside."""

    def change(row: ReceiverRow) -> list[Values]:
        known = next((known for known in row.addresses if known.hash == address_hash), None)
        if known is None:
            raise NotFound("not_found", "The receiver has no such address.")
        if known.reason in kind_of(known.channel).lasting:
            raise Conflict(
                "lasting", "Its owner does not want messages there: take it out and put it when they ask for it again."
            )
        again = merged(row, [CleanAddress(known.channel, known.address, known.hash)])
        return [again[0] if other.hash == address_hash else values_of(other) for other in row.addresses]

    return _change(tenant, name, change)


def retire_address(tenant: str, channel: str, address_hash: str, reason: str, at: datetime) -> None:
    """The provider called an address dead at that time: no receiver of the tenant is reached there any more.

    Repeating it is harmless, also after the tenant has put the address again later than `at`.
    """

    def meant(address: AddressRow) -> bool:
        return address.hash == address_hash and address.status == "active" and address.active_at <= at

    dead = {"status": "retired", "reason": reason, "retired_at": at}
    for _ in range(_TRIES):
        rows = [row for row in record.holders(tenant, channel, [address_hash]) if any(map(meant, row.addresses))]
        changed = []
        for row in rows:
            retired = [values_of(address) | (dead if meant(address) else {}) for address in row.addresses]
            changed.append(replace(tenant, row, {"addresses": retired, "updated_at": record.now()}))
        if all(changed):
            return
    raise Conflict("busy", "The address is being changed by others: repeat the retirement.", retry_after=1)


def merged(row: ReceiverRow | None, addresses: Sequence[CleanAddress], keeps_retired: bool = False) -> list[Values]:
    """The addresses as they are after having been named now. row: what there was before.

    keeps_retired: whether what is retired and not named stays.
    """
    known = {address.hash: address for address in row.addresses} if row else {}
    now, found = record.now(), []
    for address in addresses:
        old = known.get(address.hash)
        values = {"channel": address.channel, "address": address.address, "hash": address.hash, "status": "active"}
        if old and old.reason in kind_of(old.channel).lasting:
            found.append(values_of(old))
            continue
        keeps_time = old and old.status == "active" and not is_device(address.channel)
        active_at = old.active_at if old and keeps_time else now
        found.append(values | {"created_at": old.created_at if old else now, "active_at": active_at})
    if keeps_retired:
        named = {address.hash for address in addresses}
        found += [values_of(old) for old in known.values() if old.status == "retired" and old.hash not in named]
    return found


def timeless(values: Values) -> Values:
    return values | {"addresses": [address | {"active_at": None} for address in values["addresses"]]}


def values_of(address: AddressRow) -> Values:
    names = ("channel", "address", "hash", "status", "created_at", "active_at", "reason", "retired_at")
    return {name: value for name in names if (value := getattr(address, name)) is not None}


def replace(tenant: str, row: ReceiverRow, values: Values) -> bool:
    """Change a receiver unless somebody else was faster."""
    change = {"$set": values | {"index_pending": True}, "$inc": {"version": 1}}
    query = {"_id": row.id, "version": row.version, "deleted": False}
    if not documents.receivers().update_one(query, change).matched_count:
        return False
    changes.tell(tenant, row, [AddressRow(**address) for address in values.get("addresses", ())])
    sync(tenant, row.id)
    return True


def sync(tenant: str, identifier: ObjectId) -> None:
    syncing.attempt(tenant, lambda: syncing.sync_receivers(tenant, [identifier]))


def _change(tenant: str, name: str, change: Callable[[ReceiverRow], list[Values]]) -> ReceiverRow:
    for _ in range(_TRIES):
        rows = record.find_receivers(record.live(tenant, name=name), 1)
        if not rows:
            raise NotFound("not_found", "There is no such receiver.")
        addresses = change(rows[0])
        if addresses == [values_of(known) for known in rows[0].addresses]:
            return rows[0]
        if replace(tenant, rows[0], {"addresses": addresses, "updated_at": record.now()}):
            return record.find_receivers({"_id": rows[0].id}, 1)[0]
    raise Conflict("busy", "The receiver is being changed by others: repeat the request.", retry_after=1)
