"""A provider's calls back, as providers make them: repeated while nobody listens."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from aiohttp import ClientError, ClientSession
from yarl import URL

log = structlog.get_logger(__name__)

_TRIES = 6


async def call_back(session: ClientSession, url: URL, request: Callable[[], Mapping[str, Any]], **about: str) -> None:
    """One callback, repeated on 5xx and when nobody listens.

    request makes what aiohttp's post takes beside the URL, anew for each try; about is for the log.
    """
    reason = ""
    for attempt in range(_TRIES):
        try:
            async with session.post(url, **request()) as answer:
                if answer.status < 500:
                    return
                reason = str(answer.status)
        except (ClientError, TimeoutError) as error:
            reason = type(error).__name__
        await asyncio.sleep(0.5 * 2**attempt)
    log.warning("callback given up", reason=reason, **about)
