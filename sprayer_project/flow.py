"""A client's socket, as the server that holds it sees it: whether it takes what it is sent, and a short way to it."""

from collections.abc import Callable, Mapping
from typing import Any

SCOPE = "sprayer.flow"
"""Where run_web puts a function without arguments into an ASGI scope, that begins to watch the connection."""


class Flow:
    """Of a server that says nothing about it: never paused."""

    def __init__(self) -> None:
        self.paused = False
        """More than some ten kilobytes wait for the client's socket."""
        self.changed: Callable[[], None] = _nothing
        self.write: Callable[[bytes], bool] = _cannot
        """Write whole frames to a WebSocket at once, past the server's own sending; False where this cannot be."""

    def abort(self) -> None:
        """Drop the connection with all that waits for it."""


def watch(scope: Mapping[str, Any]) -> Flow:
    """The flow of the connection behind a scope."""
    begin: Callable[[], Flow] = scope.get(SCOPE, Flow)
    return begin()


def _nothing() -> None:
    pass


def _cannot(data: bytes) -> bool:
    return False
