"""What the realtime benchmarks share: web processes, nginx with the module nchan, and inboxes that are written to."""

import sys
import urllib.request
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import uvloop

from benchmarks.nginx import Nginx
from benchmarks.system import ENVIRONMENT, TENANT, Bench
from deploy.local.servers import HOST
from feedback.events import Status, delivery_id
from messaging import channels
from messaging.channels.base import Outgoing, Recipient
from messaging.realtime import frames, tokens
from sprayer_project import redis
from sprayer_project.ids import new_id
from tests.environment import free_port
from tests.live import LiveProcess

T = TypeVar("T")
CHANNEL, GROUP = "websocket", "everybody"
_PAGE = 500
"""Receivers that one job of a dispatcher names."""
_NCHAN = """
        location = /publish { nchan_publisher; nchan_channel_id $arg_to; }
        location = /subscribe {
            nchan_subscriber websocket;
            nchan_channel_id $arg_to;
            nchan_subscriber_first_message newest;
        }
"""


class Uvicorn(LiveProcess):
    """The ASGI application as one process of uvicorn, which is no dependency of Sprayer's."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        super().__init__("web-uvicorn", [], folder, ENVIRONMENT, f"http://{HOST}:{port}")
        arguments = ["--host", HOST, "--port", str(port), "--lifespan", "off", "--log-level", "warning"]
        self._command = [sys.executable, "-m", "uvicorn", "sprayer_project.asgi:application", *arguments]


def asgi_servers(bench: Bench) -> dict[str, LiveProcess]:
    """Daphne, and uvicorn where it is installed."""
    (daphne,) = bench.live.start("web", env=ENVIRONMENT)
    others = {"uvicorn": bench.start(Uvicorn(bench.live.folder))} if find_spec("uvicorn") else {}
    return {"daphne": daphne, **others}


def nchan(folder: Path) -> Nginx:
    return Nginx(folder, _NCHAN, "nchan_shared_memory_size 512M;", ["ngx_nchan_module.so"])


def publish(nginx: Nginx, to: str, text: str) -> None:
    """To a channel of nchan."""
    urllib.request.urlopen(f"{nginx.url}/publish?to={to}", text.encode(), timeout=30).close()


def place(server: LiveProcess) -> tuple[str, int]:
    parts = urlsplit(server.url or "")
    return str(parts.hostname), int(parts.port or 0)


def paths(receivers: Iterable[str]) -> list[str]:
    return [f"/api/v1/realtime?token={tokens.issue(TENANT, name, 3_600)[0]}" for name in receivers]


def outgoing() -> Outgoing:
    now = datetime.now(UTC)
    return Outgoing(
        tenant=TENANT,
        id=new_id("msg"),
        mode="live",
        content={"title": "Hello", "body": "Spray on"},
        overrides={},
        metadata={},
        attributes={},
        priority="normal",
        collapse_key=None,
        created_at=now,
        expires_at=now + timedelta(days=1),
    )


def frame(message: Outgoing) -> str:
    """The text that a receiver gets, about as long."""
    return f'{{"type":"message","offset":"10","group":"{GROUP}",{frames.message_body(message)[1:]}'


def recipients(message: Outgoing, receivers: Sequence[str]) -> list[Recipient]:
    return [
        Recipient(
            delivery=delivery_id(message.id, name, CHANNEL, ""),
            receiver=name,
            address="",
            address_hash="",
            round=1,
            attempt=1,
            group=GROUP,
        )
        for name in receivers
    ]


async def append(message: Outgoing, chosen: Sequence[Recipient]) -> None:
    """Write a message into inboxes by the channel's adapter, as a dispatcher does with each page of a group."""
    adapter = channels.channel(CHANNEL)
    for start in range(0, len(chosen), _PAGE):
        page = chosen[start : start + _PAGE]
        outcomes = [outcome async for outcome in adapter.send({}, message, page)]
        if any(outcome.status is not Status.SENT for outcome in outcomes) or len(outcomes) != len(page):
            raise RuntimeError("not everything was written")


def run_alone(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """In an event loop of its own, as a daemon runs it; its connections to Redis end with it."""

    async def closing() -> T:
        try:
            return await main()
        finally:
            await redis.aclose()

    return uvloop.run(closing())
