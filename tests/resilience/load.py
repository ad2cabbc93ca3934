"""Clients that send messages at the same time, each message again and again until it is accepted."""

import asyncio
import json
from collections import deque
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

import httpx

T = TypeVar("T")

_PAUSE = 0.1


@dataclass(frozen=True, slots=True)
class Submission:
    """One message to send; url is the web process's."""

    url: str
    headers: Mapping[str, str]
    key: str
    body: Mapping[str, Any]


class Load:
    """Sends in a thread of its own. What no answer came to is repeated with its Idempotency-Key.

    `accepted` grows meanwhile: Idempotency-Key -> message id. `repeats` counts requests that were not answered.
    `allowed` may be set at any time: no more than so many are sent.
    """

    def __init__(self, submissions: Sequence[Submission], clients: int, limit: float) -> None:
        """limit: seconds after which it gives up."""
        self.accepted: dict[str, str] = {}
        self.repeats = 0
        self.allowed = len(submissions)
        self._sent = 0
        self._left = deque(submissions)
        self._clients, self._limit = clients, limit
        self._executor = ThreadPoolExecutor(1, "load")
        self._sending: Future[None] | None = None

    def __enter__(self) -> "Load":
        self._sending = self._executor.submit(asyncio.run, self._send())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._left.clear()
        self._executor.shutdown()

    @property
    def sending(self) -> bool:
        """Whether it still sends. Raises what went wrong."""
        assert self._sending is not None
        if self._sending.done():
            self._sending.result()
            return False
        return True

    def finish(self) -> None:
        """Wait until everything is accepted. Raises what went wrong."""
        assert self._sending is not None
        self._sending.result(self._limit + 5)

    async def _send(self) -> None:
        limits = httpx.Limits(max_connections=self._clients)
        async with asyncio.timeout(self._limit), httpx.AsyncClient(limits=limits, timeout=10) as http:
            await asyncio.gather(*(self._client(http) for _ in range(self._clients)))

    async def _client(self, http: httpx.AsyncClient) -> None:
        while self._left:
            if self._sent >= self.allowed:
                await asyncio.sleep(_PAUSE)
                continue
            self._sent += 1
            submission = self._left.popleft()
            answer, repeats = await accepted(http, submission)
            self.accepted[submission.key] = str(answer.json()["id"])
            self.repeats += repeats


async def accepted(http: httpx.AsyncClient, submission: Submission) -> tuple[httpx.Response, int]:
    """The 202, and how often the request was repeated before: after a lost connection and after 503."""
    repeats = 0
    while True:
        try:
            answer = await post(http, submission)
        except httpx.TransportError:
            answer = None
        if answer is not None and answer.status_code != 503:
            assert answer.status_code == 202, answer.text
            return answer, repeats
        repeats += 1
        await asyncio.sleep(_PAUSE)


async def post(http: httpx.AsyncClient, submission: Submission) -> httpx.Response:
    headers = {**submission.headers, "Content-Type": "application/json", "Idempotency-Key": submission.key}
    return await http.post(f"{submission.url}/api/v1/messages", content=json.dumps(submission.body), headers=headers)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """asyncio.run in a thread of its own: the test's thread keeps the event loop that it has."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(asyncio.run, coroutine).result()
