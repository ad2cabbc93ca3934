"""A long answer is not made faster than its client takes it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import cast

import pytest
from django.core.handlers.asgi import ASGIRequest
from django.test import AsyncRequestFactory

from sprayer_project import flow, streaming


class Client(flow.Flow):
    cut = False

    def abort(self) -> None:
        self.cut = True

    def becomes(self, paused: bool) -> None:
        self.paused = paused
        self.changed()


class Chunks(Iterator[bytes]):
    made = 0

    def __next__(self) -> bytes:
        self.made += 1
        return b"chunk"


def answer(client: Client, chunks: Chunks) -> AsyncIterator[bytes]:
    request = cast(ASGIRequest, AsyncRequestFactory().get("/"))
    request.scope[flow.SCOPE] = lambda: client
    return cast(AsyncIterator[bytes], streaming.attachment(request, chunks, "text/csv", "x.csv").streaming_content)


async def test_the_next_chunk_is_made_when_the_client_takes_more() -> None:
    client, chunks = Client(), Chunks()
    parts = aiter(answer(client, chunks))
    assert await anext(parts) == b"chunk"
    client.becomes(paused=True)
    following = asyncio.ensure_future(anext(parts))
    done, _ = await asyncio.wait([following], timeout=0.1)
    assert not done
    assert chunks.made == 1
    client.becomes(paused=False)
    assert await asyncio.wait_for(following, 5) == b"chunk"


async def test_a_client_that_takes_nothing_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "PATIENCE", 0.01)
    client = Client()
    parts = aiter(answer(client, Chunks()))
    await anext(parts)
    client.becomes(paused=True)
    with pytest.raises(StopAsyncIteration):
        await anext(parts)
    assert client.cut
