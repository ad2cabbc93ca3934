"""A mail's attachments: carried by the message in base64, or fetched once a message from where it says.

A reference passes the address guard, is fetched within TIMEOUT, and kept for the message's other jobs.
"""

import asyncio
import base64
import mimetypes
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from posixpath import basename
from typing import Any
from weakref import WeakKeyDictionary

import aiohttp
from yarl import URL

from messaging.channels.base import DeliveryError, Outgoing
from messaging.mail import File
from sprayer_project.outbound import BlockedAddress, GuardedResolver, check_host

MAX_BYTES = 10 * 1024 * 1024
"""All attachments of a message together."""
TIMEOUT = 10.0
"""Seconds for one reference, from the look-up of its host to the last byte."""
_KEPT, _KEPT_FOR = 64 * 1024 * 1024, 600.0
_CHUNK = 64 * 1024
MEDIA_TYPE = re.compile(r"^(?!message/|multipart/)[a-z0-9.+-]+/[a-z0-9.+-]+$")
_UNKNOWN_TYPE = "application/octet-stream"
_BUSY = frozenset({408, 425, 429})

# Threads of its own: names whose servers do not answer must not hold up anything else.
_lookups = ThreadPoolExecutor(16, thread_name_prefix="attachment")
_Fetched = tuple[str, bytes]
"""(media type as the server said it, content)"""


class _Library:
    """What one event loop fetched lately, and what it is fetching: at most _KEPT bytes stay, _KEPT_FOR seconds."""

    def __init__(self) -> None:
        self._tasks: OrderedDict[tuple[str, str], asyncio.Task[_Fetched]] = OrderedDict()

    async def get(self, message: str, url: str) -> _Fetched:
        key = (message, url)
        task = self._tasks.get(key)
        if task is None or (task.done() and (task.cancelled() or task.exception())):
            task = self._tasks[key] = asyncio.create_task(_fetch(url))
            asyncio.get_running_loop().call_later(_KEPT_FOR, self._tasks.pop, key, None)
        self._tasks.move_to_end(key)
        try:
            return await asyncio.shield(task)
        finally:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        done = {key: task for key, task in self._tasks.items() if task.done()}
        sizes = {
            key: 0 if task.cancelled() or task.exception() else len(task.result()[1]) for key, task in done.items()
        }
        total = sum(sizes.values())
        for key, size in sizes.items():
            if total > _KEPT or not size:
                del self._tasks[key]
                total -= size


_libraries: WeakKeyDictionary[asyncio.AbstractEventLoop, _Library] = WeakKeyDictionary()


async def attachments_of(message: Outgoing) -> list[File]:
    """In the message's order. Raises DeliveryError for what cannot be fetched, or is too large."""
    wanted: Sequence[Mapping[str, Any]] = message.overrides.get("attachments") or ()
    library = _libraries.setdefault(asyncio.get_running_loop(), _Library())
    fetched = await asyncio.gather(*(library.get(message.id, one["url"]) for one in wanted if one.get("url")))
    rest = iter(fetched)
    files = [
        _file(one, *next(rest)) if one.get("url") else _file(one, "", base64.b64decode(one["content"]))
        for one in wanted
    ]
    if sum(len(file.content) for file in files) > MAX_BYTES:
        raise _too_large()
    return files


def _file(wanted: Mapping[str, Any], said: str, content: bytes) -> File:
    name = wanted.get("name") or basename(URL(wanted.get("url") or "").path) or "attachment"
    named = mimetypes.guess_type(name)[0] or ""
    known = (wanted.get("type") or "", said.partition(";")[0].strip().lower(), named)
    return File(name, next((word for word in known if MEDIA_TYPE.fullmatch(word)), _UNKNOWN_TYPE), content)


async def _fetch(url: str) -> _Fetched:
    target = URL(url)
    try:
        async with asyncio.timeout(TIMEOUT):
            host, port = target.raw_host or "", target.port or 0
            addresses = await asyncio.get_running_loop().run_in_executor(_lookups, check_host, host, port)
            async with aclosing(_Session(addresses)) as session:
                return await session.get(target)
    except BlockedAddress as error:
        raise DeliveryError(error.code, permanent=True, detail=f"An attachment's address: {error.detail}") from error
    except (aiohttp.ClientError, OSError) as error:  # a timeout is an OSError
        detail = f"An attachment could not be fetched: {type(error).__name__}."
        raise DeliveryError("attachment_unavailable", detail=detail) from error


class _Session:
    """One request to addresses that were checked; redirects are not followed, nothing is unpacked."""

    def __init__(self, addresses: list[str]):
        self._resolver = GuardedResolver(lambda host, port: addresses)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=self._resolver, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={"User-Agent": "Sprayer/1", "Accept-Encoding": "identity"},
        )

    async def get(self, url: URL) -> _Fetched:
        async with self._session.get(url, allow_redirects=False) as answer:
            if answer.status in _BUSY or answer.status >= 500:
                raise DeliveryError("attachment_unavailable", detail=f"An attachment's server answers {answer.status}.")
            if answer.status != 200:
                detail = f"An attachment's server answers {answer.status}."
                raise DeliveryError("attachment_refused", permanent=True, detail=detail)
            content = bytearray()
            async for chunk in answer.content.iter_chunked(_CHUNK):
                content += chunk
                if len(content) > MAX_BYTES:
                    raise _too_large()
            return answer.headers.get("Content-Type", ""), bytes(content)

    async def aclose(self) -> None:
        await self._session.close()
        await self._resolver.close()


def _too_large() -> DeliveryError:
    limit = MAX_BYTES // 1024 // 1024
    return DeliveryError("attachments_too_large", permanent=True, detail=f"Attachments have at most {limit} MiB.")
