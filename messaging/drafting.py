"""From a submitted body to the document that is stored: what can be refused is refused here, before anything is."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import bson
import bson.errors

from messaging import channels, collapsing, unit_of_work
from messaging.serializers import MessageSerializer
from sprayer_project.errors import FieldError, Invalid, TooLarge
from sprayer_project.ids import new_id
from subscriptions import selectors as subscribers
from subscriptions.addresses import address_hash

MAX_MESSAGE = 256 * 1024
MAX_DEPTH = 100


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a tenant and of the names in its messages."""

    enabled: Sequence[str]
    """Its channels."""
    receivers: Mapping[str, frozenset[str]]
    """Those of the named that exist, with their channels."""
    groups: Mapping[str, frozenset[str]]
    """Those of the named that exist, with the channels on which they may reach anybody."""


def canonical(body: Mapping[str, Any]) -> bytes:
    """The body as one text, whatever the order of its names. Raises Invalid for what no store can hold, TooLarge."""
    try:
        text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        bson.encode(body)
        if text.count("[") + text.count("{") > MAX_DEPTH and _depth(body) > MAX_DEPTH:
            raise Invalid("unstorable", f"Values may be nested {MAX_DEPTH} deep.", "")
        raw = text.encode()
    except UnicodeEncodeError as error:
        raise Invalid("malformed_json", "Text must be valid Unicode, without lone surrogates.", "") from error
    except (ValueError, OverflowError, bson.errors.BSONError, RecursionError) as error:
        raise Invalid("unstorable", f"The body holds a value that cannot be stored: {error}.", "") from error
    if len(raw) > MAX_MESSAGE:
        raise TooLarge("message_too_large", f"A message may have {MAX_MESSAGE} bytes; this one has {len(raw)}.")
    return raw


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inner), default=0)


def draft(tenant: str, mode: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The raw document that a body makes, stored nowhere. Raises what validated and document raise."""
    values = validated(body)
    return document(tenant, mode, values, look_up(tenant, mode, [values]))


def validated(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body in its full shape. Raises REST framework's ValidationError."""
    return dict(_shape().run_validation(body))


@cache
def _shape() -> MessageSerializer:
    """Validating keeps nothing in a serializer, and making one costs more than using it."""
    return MessageSerializer()


def look_up(tenant: str, mode: str, messages: Iterable[Mapping[str, Any]]) -> Known:
    """For validated messages, all at once. Raises the errors of the stores that it needs."""
    named = [values["to"] for values in messages]
    receivers, groups = ([*{name: None for to in named for name in to[kind]}] for kind in ("receivers", "groups"))
    return Known(
        enabled=channels.enabled(tenant, mode),
        receivers=subscribers.receiver_channels(tenant, receivers),
        groups=subscribers.group_channels(tenant, groups),
    )


def document(tenant: str, mode: str, values: Mapping[str, Any], known: Known) -> dict[str, Any]:
    """The raw document of a validated message. Raises Invalid."""
    to = values["to"]
    _refuse_unknown(to, known)
    plain = [item | {"hash": address_hash(tenant, item["channel"], item["address"])} for item in to["addresses"]]
    names, targets, routes = _channels(values.get("channels"), to, known)
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
        "progress_at": now,
        "look_at": now + unit_of_work.FIRST_LOOK,
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


def _refuse_unknown(to: Mapping[str, Any], known: Known) -> None:
    errors = [
        FieldError(f"/to/{kind}/{index}", f"There is no {kind[:-1]} {name!r}: create it first.")
        for kind, there in (("receivers", known.receivers), ("groups", known.groups))
        for index, name in enumerate(to[kind])
        if name not in there
    ]
    if errors:
        raise Invalid("unknown_target", "Some names in `to` do not exist: see errors.", errors=errors)


def _channels(
    asked: Sequence[str] | None, to: Mapping[str, Any], known: Known
) -> tuple[list[str], dict[str, list[str]] | None, list[str]]:
    """The message's channels; where they were left to us, which receivers have which; and its routes over groups."""
    enabled = known.enabled
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
    has, reach = known.receivers, known.groups
    targets = {name: [receiver for receiver in to["receivers"] if name in has[receiver]] for name in enabled}
    routes = [f"{name}/{index}" for name in enabled for index, group in enumerate(to["groups"]) if name in reach[group]]
    routed = {route.partition("/")[0] for route in routes}
    names = [name for name in enabled if targets[name] or name in routed or name in plain]
    return names, {name: targets[name] for name in names}, routes
