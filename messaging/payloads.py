"""A message's payload in Redis, for the time of its life: dispatchers go on from it while MongoDB is away.

A payload that is missing tells that Redis lost data: it is put back from the record, marked `suspect`, and the
deliveries of a suspect message are compared with the record before anything is sent.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from messaging.documents import Message
from sprayer_project import redis, worker

_GRACE = 3600


@dataclass(frozen=True, kw_only=True)
class Payload:
    """What dispatching needs of a message."""

    id: str
    tenant: str
    mode: str
    content: dict[str, Any]
    overrides: dict[str, Any]
    metadata: dict[str, str]
    attributes: dict[str, Any]
    priority: str
    collapse_key: str | None
    created_at: str
    expires_at: str
    addresses: dict[str, str] = field(default_factory=dict)
    """hash -> plain address"""
    starts_at: str = ""
    """send_at where the message was scheduled, else when it was accepted."""
    exclude_connection: str | None = None
    cancelled: bool = False
    suspect: bool = False

    @cached_property
    def expires(self) -> datetime:
        return datetime.fromisoformat(self.expires_at)

    @cached_property
    def created(self) -> datetime:
        return datetime.fromisoformat(self.created_at)

    @cached_property
    def scheduled(self) -> bool:
        return self.starts_at not in ("", self.created_at)

    @cached_property
    def starts(self) -> datetime:
        return datetime.fromisoformat(self.starts_at or self.created_at)


_NAMES = tuple(field.name for field in fields(Payload))


def of_record(record: Mapping[str, Any], suspect: bool = False) -> Payload:
    """The payload of a stored message (its raw document)."""
    return Payload(
        id=record["_id"],
        tenant=record["tenant"],
        mode=record["mode"],
        content=record.get("content", {}),
        overrides=record.get("overrides", {}),
        metadata=record.get("metadata", {}),
        attributes=record.get("attributes", {}),
        priority=record.get("priority", "normal"),
        collapse_key=record.get("collapse_key"),
        created_at=record["created_at"].isoformat(),
        expires_at=record["expires_at"].isoformat(),
        addresses={item["hash"]: item["address"] for item in record["to"].get("addresses", []) if item["address"]},
        starts_at=starts_of(record).isoformat(),
        exclude_connection=record.get("exclude_connection"),
        cancelled=record["status"] == "cancelled",
        suspect=suspect,
    )


def starts_of(record: Mapping[str, Any]) -> datetime:
    """When a stored message is or was to be sent first."""
    created: datetime = record["created_at"]
    return max(created, record.get("send_at") or created)


def store(payload: Payload) -> None:
    """Raises redis errors."""
    with redis.hurried(redis.shard_of(payload.tenant)) as client:
        stage(client, payload)


def stage(client: Any, payload: Payload) -> None:
    """Store it by a client of the tenant's shard, or queue that in a pipeline."""
    client.set(_key(payload.tenant, payload.id), _encode(payload), ex=_seconds(payload))


def forget(tenant: str, message: str) -> None:
    """Who needs it reads the record again. Raises redis errors."""
    redis.client(tenant).delete(_key(tenant, message))


async def load(tenant: str, ids: Sequence[str]) -> dict[str, Payload]:
    """Payloads by message id; a message that the record does not hold is missing from the answer.

    Raises the errors of the stores that it needs: Redis always, MongoDB only for what Redis lost.
    """
    client = redis.aclient(tenant)
    raw = await client.mget([_key(tenant, identifier) for identifier in ids])
    found = {identifier: Payload(**json.loads(text)) for identifier, text in zip(ids, raw, strict=True) if text}
    missing = [identifier for identifier in ids if identifier not in found]
    if missing:
        records = await worker.in_thread(_records, tenant, missing)
        for record in records:
            payload = of_record(record, suspect=True)
            found[payload.id] = payload
            await client.set(_key(tenant, payload.id), _encode(payload), ex=_seconds(payload))
    return found


def _records(tenant: str, ids: Sequence[str]) -> list[dict[str, Any]]:
    return list(Message._get_collection().find({"_id": {"$in": list(ids)}, "tenant": tenant}))


def _encode(payload: Payload) -> str:
    body = {name: getattr(payload, name) for name in _NAMES}
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False)


def _seconds(payload: Payload) -> int:
    return max(60, int((payload.expires - datetime.now(UTC)).total_seconds()) + _GRACE)


def _key(tenant: str, message: str) -> str:
    return redis.key(tenant, "message", message)
