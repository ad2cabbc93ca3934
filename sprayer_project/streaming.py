"""Answers that are longer than memory: a chunk is made when the one before has left."""

import asyncio
from collections.abc import AsyncIterator, Iterator

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse

from sprayer_project import flow

PATIENCE = 60.0
"""Seconds that a client may leave untaken what waits for it, before it is cut."""


def attachment(request: HttpRequest, chunks: Iterator[bytes], content_type: str, name: str) -> StreamingHttpResponse:
    """A file that a browser saves. Under ASGI Django would collect all of a synchronous iterator first."""
    body = _in_threads(chunks, flow.watch(request.scope)) if isinstance(request, ASGIRequest) else chunks
    response = StreamingHttpResponse(body, content_type=content_type)
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["Cache-Control"] = "no-store"
    return response


async def _in_threads(chunks: Iterator[bytes], client: flow.Flow) -> AsyncIterator[bytes]:
    """Not faster than the client takes them: the server would keep them in memory."""
    ahead = sync_to_async(lambda: next(chunks, None), thread_sensitive=False)
    moved = asyncio.Event()
    client.changed = moved.set
    while (chunk := await ahead()) is not None:
        yield chunk
        while client.paused:
            moved.clear()
            try:
                await asyncio.wait_for(moved.wait(), PATIENCE)
            except TimeoutError:
                client.abort()
                return
