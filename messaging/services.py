"""What a tenant can do with messages: submit, cancel, retry a delivery."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import bson
import bson.errors
from django.conf import settings
from rest_framework.exceptions import ValidationError

from feedback import services as feedback
from messaging import channels, collapsing, payloads, unit_of_work
from messaging.documents import Message
from messaging.retrying import next_attempt, retry_deliveries, retry_delivery
from messaging.serializers import MessageSerializer
from sprayer_project import mongo
from sprayer_project.errors import (
    STORE_ERRORS,
    Conflict,
    FieldError,
    Invalid,
    KeyReused,
    NotFound,
    TooLarge,
)
from sprayer_project.ids import new_id
from subscriptions import selectors as subscribers
from subscriptions.addresses import address_hash

__all__ = [
    "Accepted",
    "accept",
    "accept_batch",
    "cancel",
    "canonical",
    "draft",
    "next_attempt",
    "retry_deliveries",
    "retry_delivery",
]

MAX_MESSAGE = 256 * 1024
MAX_DEPTH = 100
KEY_LIFE = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The answer to a submission; replayed: the Idempotency-Key was used before, with this very body."""

    id: str
    status: str
    channels: list[str]
    created_at: datetime
    replayed: bool = False


@mongo.patience(mongo.TIMEOUT_MS / 1000)
def accept(tenant: str, mode: str, body: Mapping[str, Any], idempotency_key: str | None = None) -> Accepted:
    """Take responsibility for a message. Raises Invalid, TooLarge, KeyReused, pymongo errors: nothing is stored."""
    raw = canonical(body)
    if idempotency_key is not None and not 1 <= len(idempotency_key) <= 255:
        raise Invalid("invalid_idempotency_key", "An Idempotency-Key has 1 to 255 characters.")
    body_hash = hashlib.sha256(raw).hexdigest()
    if idempotency_key and (earlier := _earlier(tenant, mode, idempotency_key, body_hash)):
        return earlier
    record = draft(tenant, mode, body)
    if idempotency_key:
        record |= {
            "idempotency": _claim(tenant, mode, idempotency_key),
            "idempotency_key": idempotency_key,
            "body_hash": body_hash,
            "key_expires_at": record["created_at"] + KEY_LIFE,
        }
    try:
        unit_of_work.accept(record)
    except unit_of_work.Duplicate:
        earlier = _earlier(tenant, mode, str(idempotency_key), body_hash)
        if earlier is None:
            raise Conflict(
                "key_in_use", "The key of this request is just expiring: repeat it.", retry_after=1
            ) from None
        return earlier
    return Accepted(record["_id"], record["status"], record["channels"], record["created_at"])


def cancel(tenant: str, mode: str, identifier: str) -> None:
    """Stop what is not yet sent. Raises NotFound, Conflict when nothing is left to stop, and a store's errors.

    After a store's error it may be half done: repeated, it finishes.
    """
    collection = Message._get_collection()
    query = {"_id": identifier, "tenant": tenant, "mode": mode}
    record = collection.find_one(query)
    if record is None:
        raise NotFound("not_found", "There is no such message.")
    stoppable = {"status": {"$in": ["scheduled", "accepted", "routing", "routed", "cancelled"]}}
    if not collection.update_one(query | stoppable, {"$set": {"status": "cancelled"}}).matched_count:
        raise Conflict("not_cancellable", f"The message is {record['status']}: nothing is left to cancel.")
    payloads.store(payloads.of_record(record | {"status": "cancelled"}))
    feedback.cancel_open(tenant, identifier, datetime.now(UTC))


def _earlier(tenant: str, mode: str, key: str, body_hash: str) -> Accepted | None:
    """The message that this key made in the last 24 hours. Raises KeyReused."""
    collection = Message._get_collection()
    claim = _claim(tenant, mode, key)
    record = collection.find_one({"idempotency": claim})
    if record is None:
        return None
    if record["key_expires_at"] <= datetime.now(UTC):
        unset = {"idempotency": "", "key_expires_at": ""}
        collection.update_one({"_id": record["_id"], "idempotency": claim}, {"$unset": unset})
        return None
    if record["body_hash"] != body_hash:
        raise KeyReused(
            "idempotency_key_reused",
            f"This Idempotency-Key made {record['_id']} from another body: use a new key for a new message.",
        )
    status = "scheduled" if record["status"] == "scheduled" else "accepted"
    return Accepted(record["_id"], status, record["channels"], record["created_at"], replayed=True)


def canonical(body: Mapping[str, Any]) -> bytes:
    """The body as one text, whatever the order of its names. Raises Invalid for what no store can hold, TooLarge."""
    try:
        text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        bson.encode(body)
        if text.count("[") + text.count("{") > MAX_DEPTH and _depth(body) > MAX_DEPTH:
            raise Invalid("unstorable", f"Values may be nested {MAX_DEPTH} deep.", "")
        raw = text.encode()
    except UnicodeEncodeError as error:
        raise Invalid("malformed_json", "Text must be valid Unicode, without lone surrogates.", "") from error
    except (OverflowError, bson.errors.BSONError, RecursionError) as error:
        raise Invalid("unstorable", f"The body holds a value that cannot be stored: {error}.", "") from error
    if len(raw) > MAX_MESSAGE:
        raise TooLarge("message_too_large", f"A message may have {MAX_MESSAGE} bytes; this one has {len(raw)}.")
    return raw


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inner), default=0)


def _claim(tenant: str, mode: str, key: str) -> str:
    """What an Idempotency-Key claims, in one unique field: a tenant's slug holds no slash."""
    return f"{tenant}/{mode}/{key}"


def draft(tenant: str, mode: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The raw document that a body makes, stored nowhere; everything that can be refused is refused here."""
    return _record(tenant, mode, dict(_shape().run_validation(body)))


@cache
def _shape() -> MessageSerializer:
    """Validating keeps nothing in a serializer, and making one costs more than using it."""
    return MessageSerializer()


def _record(tenant: str, mode: str, values: dict[str, Any]) -> dict[str, Any]:
    to = values["to"]
    _refuse_unknown(tenant, to)
    plain = [item | {"hash": address_hash(tenant, item["channel"], item["address"])} for item in to["addresses"]]
    names, targets, routes = _channels(tenant, mode, values.get("channels"), to)
    now = datetime.now(UTC)
    now = now.replace(microsecond=now.microsecond // 1000 * 1000)
    send_at = values["send_at"]
    starts = send_at if send_at and send_at > now else now
    named = targets if targets is not None else dict.fromkeys(names, to["receivers"])
    record = {
        "_id": new_id("msg", now),
        "tenant": tenant,
        "mode": mode,
        "status": "scheduled" if starts > now else "accepted",
        "created_at": now,
        "send_at": send_at,
        "expires_at": starts + timedelta(seconds=values["ttl"]),
        "to": {"receivers": to["receivers"], "groups": to["groups"], "addresses": plain},
        "channels": names,
        "queued": False,
        "progress_at": now,
        "look_at": now + timedelta(seconds=settings.SWEEP_AGE),
        "expected": sum(len(receivers) for receivers in named.values()) + len(plain),
        "routes": routes,
        "routed": {},
        "routings": 0,
    }
    if targets is not None:
        record["targets"] = targets
    kept = ("content", "overrides", "attributes", "metadata", "ttl", "priority", "collapse_key", "exclude_connection")
    record |= {name: values[name] for name in kept}
    return record | ({"collapse": collapsing.place_of(record)} if record["collapse_key"] is not None else {})


def _refuse_unknown(tenant: str, to: Mapping[str, Any]) -> None:
    unknown = set(subscribers.unknown_receivers(tenant, to["receivers"])) if to["receivers"] else set()
    absent = set(subscribers.unknown_groups(tenant, to["groups"])) if to["groups"] else set()
    errors = [
        FieldError(f"/to/{kind}/{index}", f"There is no {kind[:-1]} {name!r}: create it first.")
        for kind, missing in (("receivers", unknown), ("groups", absent))
        for index, name in enumerate(to[kind])
        if name in missing
    ]
    if errors:
        raise Invalid("unknown_target", "Some names in `to` do not exist: see errors.", errors=errors)


def _channels(
    tenant: str, mode: str, asked: Sequence[str] | None, to: Mapping[str, Any]
) -> tuple[list[str], dict[str, list[str]] | None, list[str]]:
    """The message's channels; where they were left to us, which receivers have which; and its routes over groups.

    A test message needs no configuration: the sandbox takes every channel.
    """
    enabled = channels.enabled(tenant, mode)
    plain = [item["channel"] for item in to["addresses"]]
    off = [
        FieldError(pointer, f"The channel {name} is not enabled for this tenant: configure it first.")
        for pointer, name in [
            *((f"/channels/{index}", name) for index, name in enumerate(asked or [])),
            *((f"/to/addresses/{index}/channel", name) for index, name in enumerate(plain)),
        ]
        if name not in enabled
    ]
    if off:
        raise Invalid("channel_not_enabled", "Some channels are not enabled: see errors.", errors=off)
    if asked:
        outside = [index for index, name in enumerate(plain) if name not in asked]
        if outside:
            pointers = [f"/to/addresses/{index}/channel" for index in outside]
            raise Invalid("channel_not_asked", "Add the channel of this address to `channels`.", *pointers)
        return list(asked), None, [f"{name}/{index}" for name in asked for index in range(len(to["groups"]))]
    has = subscribers.receiver_channels(tenant, to["receivers"]) if to["receivers"] else {}
    targets = {
        name: [receiver for receiver in to["receivers"] if name in has.get(receiver, frozenset())] for name in enabled
    }
    reach = subscribers.group_channels(tenant, to["groups"]) if to["groups"] else {}
    routes = [
        f"{name}/{index}"
        for name in enabled
        for index, group in enumerate(to["groups"])
        if name in reach.get(group, frozenset())
    ]
    routed = {route.partition("/")[0] for route in routes}
    names = [name for name in enabled if targets[name] or name in routed or name in plain]
    return names, {name: targets[name] for name in names}, routes


def accept_batch(tenant: str, mode: str, bodies: Sequence[Mapping[str, Any]]) -> list[Accepted | Exception]:
    """Each item on its own: what it became or why not, in order."""
    return [_attempt(tenant, mode, dict(body)) for body in bodies]


def _attempt(tenant: str, mode: str, body: dict[str, Any]) -> Accepted | Exception:
    key = body.pop("idempotency_key", None)
    if key is not None and not isinstance(key, str):
        return Invalid("invalid_idempotency_key", "Must be a string.", "/idempotency_key")
    try:
        return accept(tenant, mode, body, key)
    except (Invalid, TooLarge, KeyReused, Conflict, ValidationError, *STORE_ERRORS) as error:
        return error
