"""Erasing a receiver: its record, index, inbox, and its name and addresses in messages, deliveries, files that are
imported and what feedback webhooks have still to get.

What is asked for is written down first, then done in bounded steps; the sweeper goes on where a step was not the last
or a store was away, and looks again later: jobs that were under way may have written the name once more. Then the note
itself goes, and nothing knows the name. Whatever came after the request, under the same name, is somebody new.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from pymongo import ReturnDocument
from redis.exceptions import RedisError

from feedback.erasing import erase_deliveries, erase_webhook_batches
from messaging import imports, inbox, payloads
from messaging.documents import Erasure, Message
from sprayer_project.errors import STORE_ERRORS
from sprayer_project.ids import first_id
from sprayer_project.mongo import DURABLE
from subscriptions import reaching, suppressions
from subscriptions import services as subscriptions
from tenants import services as tenants
from tenants.models import User

log = structlog.get_logger(__name__)

_LIMIT = 1000
"""Deliveries, and messages, of one name in one step."""
_LOOKS = (timedelta(minutes=1), timedelta(hours=1), timedelta(days=1))
"""After the request, once everything was found."""


@dataclass(frozen=True, slots=True)
class Erased:
    mark: str
    """The opaque name that stands where the receiver's stood."""
    done: bool
    """Whether everything was found in this step; else the sweeper goes on at once."""


def erase(tenant: str, receiver: str, key: str = "", by: User | None = None, ip: str | None = None) -> Erased:
    """Erase a receiver or, as addr:<hash>, a plain address. Raises the errors of MongoDB and SQL.

    Repeating it is harmless: within a day it continues the same erasure. key, by and ip: the id of the API key
    or the person that asks, and from where, for the audit log, which has the mark and not the name.
    """
    now = datetime.now(UTC)
    row = reaching.receivers_named(tenant, [receiver]).get(receiver)
    hashes = [f"addr:{address.hash}" for address in row.addresses] if row else []
    note = _notes().find_one_and_update(
        {"_id": f"{tenant}/{receiver}"},
        {
            "$setOnInsert": {"tenant": tenant, "receiver": receiver, "mark": f"erased:{secrets.token_hex(8)}"},
            "$set": {"at": now, "look_at": now, "looks": 0},
            "$addToSet": {"names": {"$each": [receiver, *hashes]}},
        },
        upsert=True,
        return_document=ReturnDocument.AFTER,
    )
    imports.erase(tenant, receiver, note["mark"])
    subscriptions.erase_receiver(tenant, receiver)
    for name in note["names"]:
        suppressions.erase_address(tenant, name.removeprefix("addr:"))
    tenants.audit(tenant, by, "receiver.erased", note["mark"], ip=ip, key=key)
    done = _step(note)
    log.info("receiver erased", tenant=tenant, mark=note["mark"], done=done)
    return Erased(note["mark"], done)


def go_on() -> int:
    """Erasures that have more to do or have to look again; returns how many got further.

    One that fails holds up no other, and is tried again the next time. Raises the errors of MongoDB that is away.
    """
    further = 0
    for note in list(_notes().find({"look_at": {"$lte": datetime.now(UTC)}}).limit(_LIMIT)):
        try:
            _step(note)
            further += 1
        except STORE_ERRORS:
            raise
        except Exception:
            log.exception("an erasure failed", tenant=note["tenant"], mark=note["mark"])
    return further


def _step(note: Mapping[str, Any]) -> bool:
    """Erase what is found now and note when to look again. Whether nothing was left over."""
    tenant, mark, before = note["tenant"], note["mark"], note["at"]
    try:
        inbox.forget(tenant, note["receiver"])
        found = [
            number
            for name in note["names"]
            for number in (erase_deliveries(tenant, name, mark, before, _LIMIT), _erase_messages(note, name))
        ]
        found.append(erase_webhook_batches(tenant, note["names"], mark, before, _LIMIT))
        done = max(found) < _LIMIT
    except RedisError as error:
        log.warning("not all erased yet", tenant=tenant, error=type(error).__name__)
        done = False
    same = {"_id": note["_id"], "at": before}
    if done and note["looks"] == len(_LOOKS):
        _notes().delete_one(same)
    elif done:
        later = {"look_at": before + _LOOKS[note["looks"]], "looks": note["looks"] + 1}
        _notes().update_one(same | {"looks": note["looks"]}, {"$set": later})
    return done


def _erase_messages(note: Mapping[str, Any], name: str) -> int:
    """Take a name out of the messages that name it; what was for it alone says nothing any more.

    Redis first: a message is found again until its record has changed. Raises redis errors.
    """
    tenant, plain = note["tenant"], name.removeprefix("addr:")
    field, value = ("to.addresses.hash", plain) if plain != name else ("to.receivers", name)
    query = {"tenant": tenant, field: value, "_id": {"$lt": first_id("msg", note["at"])}}
    found = list(Message._get_collection().find(query).limit(_LIMIT))
    for record in found:
        changes = _without(record, note["names"], note["mark"])
        if "content" in changes:
            inbox.forget_message(tenant, record["_id"])
        payloads.forget(tenant, record["_id"])
        _messages().update_one({"_id": record["_id"]}, {"$set": changes})
        payloads.forget(tenant, record["_id"])
    return len(found)


def _without(record: Mapping[str, Any], names: Sequence[str], mark: str) -> dict[str, Any]:
    """What a message's record has instead, wherever it says one of the names."""
    to, targets = record["to"], record.get("targets") or {}
    receivers = [mark if name in names else name for name in to["receivers"]]
    addresses = [
        item | {"address": "", "hash": mark} if f"addr:{item['hash']}" in names else item for item in to["addresses"]
    ]
    changes: dict[str, Any] = {"to": to | {"receivers": receivers, "addresses": addresses}}
    if targets:
        changes["targets"] = {
            channel: [mark if name in names else name for name in found] for channel, found in targets.items()
        }
    others = [name for name in receivers if name != mark] or [item for item in addresses if item["hash"] != mark]
    if not others and not to["groups"]:
        return changes | {"content": {}, "overrides": {}, "attributes": {}, "metadata": {}}
    for field in ("attributes", "metadata"):
        changes[field] = {key: mark if value in names else value for key, value in record[field].items()}
    return changes


def _notes() -> Any:
    return Erasure._get_collection().with_options(write_concern=DURABLE)


def _messages() -> Any:
    return Message._get_collection().with_options(write_concern=DURABLE)
