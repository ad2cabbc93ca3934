"""What a wake-up says: which inboxes have grown, and mostly also by which message."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from messaging import inbox


@dataclass(frozen=True, slots=True)
class News:
    """The message by which inboxes have grown."""

    message: str
    body: str
    """What its receivers share, as frames.message_body makes it."""
    expires: int
    """Unix time in milliseconds."""
    excluded: str
    """The connection that does not get it."""


@dataclass(frozen=True, slots=True)
class Wake:
    tenant: str
    news: News | None
    """None where the message is too long for a wake-up, or was put back: the inboxes are to be read."""
    grown: tuple[str, ...]

    @property
    def receivers(self) -> tuple[str, ...]:
        return self.grown[::4]

    @property
    def places(self) -> Iterator[tuple[str, str, str, str]]:
        """Receiver, epoch, offset of the message, group or nothing, of each inbox."""
        values = iter(self.grown)
        return zip(values, values, values, values, strict=True)


def decode(text: str) -> Wake:
    """A wake-up as messaging/lua/inbox_append.lua writes it. An expired message is no news."""
    said = json.loads(text)
    news = None
    if "frame" in said and int(said["expires"]) > inbox.now():
        news = News(said["id"], said["frame"], int(said["expires"]), said["excluded"])
    return Wake(said["tenant"], news, tuple(said["grown"]))
