"""Large groups and many rows in little time: inserted as they are, and the index told of groups directly.

The services would do the same through one read of the record for each chunk, which the embedded MongoDB-compatible
server answers by looking at every row for every name.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bson import ObjectId
from django.conf import settings
from mongoengine import Document
from pymongo import MongoClient

from feedback.documents import Collection
from sprayer_project.errors import STORE_ERRORS
from subscriptions import documents, index
from subscriptions.addresses import address_hash
from subscriptions.index import IndexedAddress, ReceiverEntry
from subscriptions.services import ensure_index, put_group
from tests.live import wait_for

_CHUNK = 1_000


@dataclass(frozen=True, slots=True)
class Seeded:
    id: ObjectId
    names: list[str]
    """Of the members, in order."""


def group(
    tenant: str, name: str, members: int, channel: str, address: Callable[[str], str] | None, recorded: bool = True
) -> Seeded:
    """A group of so many new receivers, each with its address on one channel (None: the channel needs none).

    Not recorded: the receivers are in the index alone, from which messages are routed.
    """
    ensure_index(tenant)
    identifier = put_group(tenant, name).id
    names = [f"{name}-{number:06}" for number in range(members)]
    for start in range(0, members, _CHUNK):
        _insert(tenant, identifier, name, names[start : start + _CHUNK], channel, address, recorded)
    return Seeded(identifier, names)


def _insert(
    tenant: str,
    group_id: ObjectId,
    group_name: str,
    names: list[str],
    channel: str,
    address: Callable[[str], str] | None,
    recorded: bool,
) -> None:
    now = datetime.now(UTC)
    version = int(now.timestamp() * 1000)
    common = {"tenant": tenant, "created_at": now, "version": version, "index_pending": False, "deleted": False}
    receivers, subscriptions, entries = [], [], []
    for name in names:
        receiver, place = ObjectId(), address(name) if address else ""
        hashed = address_hash(tenant, channel, place)
        row = {"channel": channel, "address": place, "hash": hashed, "status": "active"}
        rows = [row | {"created_at": now, "active_at": now}] if place else []
        receivers.append(common | {"_id": receiver, "name": name, "addresses": rows, "updated_at": now})
        pair = {"group": group_name, "receiver": name, "group_id": group_id, "receiver_id": receiver}
        subscriptions.append(common | pair)
        indexed = {channel: (IndexedAddress(place, hashed, None),)} if place else {}
        entries.append(ReceiverEntry(name, version, False, indexed, ((str(group_id), channel),)))
    if recorded:
        documents.receivers().insert_many(receivers, ordered=False)
        documents.subscriptions().insert_many(subscriptions, ordered=False)
    index.apply(tenant, entries)


@contextmanager
def patient(document: type[Document]) -> Iterator[Collection]:
    """A document's collection, for a million rows: the product's client gives up a server that is busy for 1.25 s."""
    with MongoClient[dict[str, Any]](settings.MONGODB_URL) as client:
        yield client.get_default_database()[document._get_collection_name()]


def count(roll_up: Callable[[], int], limit: float = 3_600) -> None:
    """Have the sweeper's count repeated until nothing is left. A busy server costs a round, as it does the sweeper."""
    wait_for(lambda: _counted(roll_up), limit, "the end of counting")


def _counted(roll_up: Callable[[], int]) -> bool:
    try:
        return not roll_up()
    except STORE_ERRORS:
        return False
