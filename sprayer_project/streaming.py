"""Answers that are longer than memory: a chunk is made when the one before has left."""

from collections.abc import AsyncIterator, Iterator

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse


def attachment(request: HttpRequest, chunks: Iterator[bytes], content_type: str, name: str) -> StreamingHttpResponse:
    """A file that a browser saves. Under ASGI Django would collect all of a synchronous iterator first."""
    body = _in_threads(chunks) if isinstance(request, ASGIRequest) else chunks
    response = StreamingHttpResponse(body, content_type=content_type)
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["Cache-Control"] = "no-store"
    return response


async def _in_threads(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    ahead = sync_to_async(lambda: next(chunks, None), thread_sensitive=False)
    while (chunk := await ahead()) is not None:
        yield chunk
