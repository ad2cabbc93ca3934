"""The frames of the realtime protocol: JSON objects with a type."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from messaging.channels.base import Outgoing
from messaging.realtime.connection import Start
from sprayer_project import json_text
from sprayer_project.errors import SprayerError
from sprayer_project.ids import order_of

MAX_FRAME = 65_536
"""Bytes of a client's frame; the server refuses longer ones with close code 1009."""


class BadFrame(SprayerError):
    """A client's frame that means nothing; it is told so, and the connection goes on."""


def encode(kind: str, **fields: Any) -> str:
    """A frame as text; fields that are None are left out."""
    body = {"type": kind} | {name: value for name, value in fields.items() if value is not None}
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False)


def message_body(message: Outgoing) -> str:
    """What all receivers of a message share, as a JSON object: made once, stored once."""
    body: dict[str, Any] = {"id": message.id, "content": dict(message.content)}
    if message.collapse_key:
        body |= {"collapse_key": message.collapse_key, "version": order_of(message.id)}
    body["sent_at"] = message.created_at.isoformat().replace("+00:00", "Z")
    if message.mode == "test":
        body["test"] = True
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False)


def decode(text: str | None) -> dict[str, Any]:
    """A client's frame. Raises BadFrame."""
    if text is None:
        raise BadFrame("bad_frame", "Frames are text, not binary.")
    try:
        body = json_text.parse(text)
    except ValueError as error:
        raise BadFrame("bad_frame", "A frame is one JSON object with a type.") from error
    if not isinstance(body, dict) or not isinstance(body.get("type"), str):
        raise BadFrame("bad_frame", "A frame is one JSON object with a type.")
    return body


def offset_of(body: dict[str, Any]) -> int:
    """The offset that a client sends back. Raises BadFrame."""
    offset = parse_offset(body.get("offset"))
    if offset is None:
        raise BadFrame("bad_offset", "offset is a string: pass it unchanged as a frame of the server named it.")
    return offset


def parse_offset(value: Any) -> int | None:
    """An offset as the server writes it; None for anything else."""
    if not isinstance(value, str) or not value.isascii() or not value.isdecimal() or len(value) > 19:
        return None
    return int(value)


def with_messages(head: Mapping[str, Any], messages: Sequence[str]) -> str:
    """A JSON object that ends with message frames, without decoding them."""
    return f'{json.dumps(head, separators=(",", ":"))[:-1]},"messages":[{",".join(messages)}]}}'


def welcome(receiver: str, connection: str, start: Start) -> str:
    return encode(
        "welcome",
        receiver=receiver,
        connection=connection,
        epoch=start.epoch,
        offset=str(start.offset),
        recovered=start.recovered,
    )
