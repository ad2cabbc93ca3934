"""What a gateway of the sandbox is: one file in this folder, called as its channel, with one class `Gateway`."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from aiohttp import web

from messaging.channels.base import Look
from messaging.sandbox.store import Arrivals, Control


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the server lends to its gateways."""

    arrivals: Arrivals
    control: Control
    host: str
    smtp_port: int
    """Where the mail gateway listens; 0 picks a free port."""


@dataclass(frozen=True, slots=True)
class Magic:
    """An address with an outcome of its own; the gateway acts, the documents and the console tell by the same list."""

    address: str
    """As a message names it. What stands in <> is free."""
    answer: str
    """What the provider does, for people."""


class Gateway(ABC):
    """One channel's provider, played locally."""

    magic: ClassVar[tuple[Magic, ...]] = ()
    magic_place: ClassVar[str] = "address"
    """Of what the addresses of magic are written, for people: number, token, path ..."""

    def __init__(self, channel: str, surroundings: Surroundings):
        self.channel = channel
        self.arrivals, self.control = surroundings.arrivals, surroundings.control
        self.host, self.smtp_port = surroundings.host, surroundings.smtp_port

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        """HTTP routes below /<channel>, each path with its leading slash."""
        return ()

    async def start(self) -> None:  # noqa: B027  (most gateways are HTTP alone)
        """Open what is not HTTP. The event loop runs."""

    async def stop(self) -> None:  # noqa: B027
        """Close it again, and end what still runs."""

    def describe(self, base: str) -> dict[str, Any]:
        """How to reach the gateway, for the server's root page: {"url", "ca"}; base is the HTTP server's URL."""
        return {"url": f"{base}/{self.channel}", "ca": None}

    def owner(self, tenant: str) -> str:
        """Under which name this tenant's arrivals are filed: what the wire format says of the sender."""
        return tenant

    @classmethod
    @abstractmethod
    def seen(cls, arrival: Mapping[str, Any]) -> tuple[str, Look]:
        """To whom an arrival went, and what that person or program got to see of it; refused ones, too."""

    def arrived(self, owner: str, content: dict[str, Any]) -> None:
        """Keep what came; content is JSON-able. The store adds arrival, a name of its own, and at."""
        self.arrivals.add(self.channel, owner, content)
