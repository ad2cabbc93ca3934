"""The frames of messages, each made once for all who have it at the same offset."""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property

from messaging.inbox import Entry

_KEPT = 1024 * 1024
"""Characters of frames that are kept for the next who want them."""


class Frame:
    def __init__(self, text: str) -> None:
        self.text = text
        self.size = len(text)

    @cached_property
    def wire(self) -> bytes:
        """As one text frame of a WebSocket server: https://www.rfc-editor.org/rfc/rfc6455#section-5.2"""
        payload = self.text.encode()
        size = len(payload)
        if size < 126:
            head = bytes((0x81, size))
        elif size < 65_536:
            head = b"\x81\x7e" + size.to_bytes(2, "big")
        else:
            head = b"\x81\x7f" + size.to_bytes(8, "big")
        return head + payload


class Frames:
    """Of the messages whose shared bodies (see frames.message_body) are given by their ids."""

    def __init__(self, bodies: Mapping[str, str]) -> None:
        self._bodies = bodies
        self._made: dict[tuple[str, int, str | None], Frame] = {}
        self._size = 0

    def get(self, message: str, offset: int, group: str | None) -> Frame:
        """The body, which must be there, with an offset and a group, without decoding it."""
        key = (message, offset, group)
        if found := self._made.get(key):
            return found
        named = f'"group":{json.dumps(group, ensure_ascii=False)},' if group else ""
        frame = Frame(f'{{"type":"message","offset":"{offset}",{named}{self._bodies[message][1:]}')
        self._size += frame.size
        if self._size > _KEPT:
            self._made.clear()
            self._size = frame.size
        self._made[key] = frame
        return frame

    def of(self, entries: Sequence[Entry]) -> list[tuple[Entry, Frame]]:
        """Entries with their frames; one whose body is gone is left out."""
        there = (entry for entry in entries if entry.message in self._bodies)
        return [(entry, self.get(entry.message, entry.offset, entry.group)) for entry in there]
