"""Readers of the live feed, as an application would be one."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from tests.live import LiveSystem

LIMIT = 30.0
PATH = "/api/v1/events"


class Feed:
    """What one reader is sent."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.aiter_lines()
        self.last = ""
        """The id of the last event."""

    async def hear(self) -> dict[str, Any]:
        """The next event's data. Raises EOFError at the end of the stream."""
        async with asyncio.timeout(LIMIT):
            async for line in self._lines:
                name, _, value = line.partition(": ")
                if name == "id":
                    self.last = value
                elif name == "data":
                    found: dict[str, Any] = json.loads(value)
                    return found
        raise EOFError

    async def hear_all(self, count: int) -> list[dict[str, Any]]:
        return [await self.hear() for _ in range(count)]


@asynccontextmanager
async def reading(
    system: LiveSystem, key: str, last: str = "", web: str = "web", recovered: bool = True, **query: str
) -> AsyncIterator[Feed]:
    """A reader that has been welcomed."""
    headers = {"Authorization": f"Bearer {key}", "Accept": "text/event-stream"} | (
        {"Last-Event-ID": last} if last else {}
    )
    url = str(system[web].url)
    async with (
        httpx.AsyncClient(base_url=url, timeout=LIMIT, trust_env=False) as client,
        client.stream("GET", PATH, params=query, headers=headers) as answer,
    ):
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        feed = Feed(answer)
        assert await feed.hear() == {"type": "welcome", "recovered": recovered}
        yield feed
