"""Outcomes are written together, full batches side by side, and nobody hears "recorded" before they are."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from feedback.events import DeliveryEvent, Status
from messaging import recorder
from messaging.recorder import Entry, Recorder, all_recorded
from sprayer_project.amqp import BrokerUnavailable

FULL = 500


class Stores:
    """Writes that end when they are told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        self._ends: list[asyncio.Future[None]] = []
        monkeypatch.setattr(recorder, "_write", self._write)

    async def _write(self, entries: Sequence[Entry], encoded: Sequence[bytes]) -> None:
        assert [entry.event.encoded() for entry in entries] == list(encoded)
        self.sizes.append(len(entries))
        self._ends.append(asyncio.get_running_loop().create_future())
        await self._ends[-1]

    async def end(self, write: int, error: Exception | None = None) -> None:
        if error is None:
            self._ends[write].set_result(None)
        else:
            self._ends[write].set_exception(error)
        await quiet()


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch) -> Stores:
    return Stores(monkeypatch)


async def test_what_comes_while_one_write_goes_on_is_written_together_after_it(stores: Stores) -> None:
    async with recording() as record:
        first = await record(1)
        second = await record(7)
        third = await record(5)
        assert stores.sizes == [1]
        await stores.end(0)
        assert stores.sizes == [1, 12]
        assert [done(futures) for futures in (first, second, third)] == [True, False, False]
        await stores.end(1)
        assert done(second) and done(third)


async def test_full_batches_are_written_side_by_side_up_to_three(stores: Stores) -> None:
    async with recording() as record:
        await record(1)
        many = await record(4 * FULL + 1)
        assert stores.sizes == [1, FULL, FULL]
        await stores.end(1)
        assert stores.sizes == [1, FULL, FULL, FULL]
        for write in (2, 0, 3):
            await stores.end(write)
        assert stores.sizes == [1, FULL, FULL, FULL, FULL]
        assert not done(many)
        await stores.end(4)
        assert stores.sizes[5:] == [1]
        await stores.end(5)
        assert done(many)


async def test_an_error_is_that_batch_s_alone(stores: Stores) -> None:
    async with recording() as record:
        await record(1)
        full = await record(FULL)
        rest = await record(2)
        await stores.end(1, KeyError("a bug"))
        with pytest.raises(KeyError):
            await all_recorded(full)
        await stores.end(0)
        await stores.end(2)
        await all_recorded(rest)


async def test_a_store_that_is_away_is_tried_again_while_nobody_stops(stores: Stores) -> None:
    stop = asyncio.Event()
    async with recording(stop) as record:
        futures = await record(3)
        await stores.end(0, BrokerUnavailable("away"))
        await until(lambda: len(stores.sizes) == 2)
        stop.set()
        await stores.end(1, BrokerUnavailable("still away"))
        with pytest.raises(BrokerUnavailable):
            await all_recorded(futures)


class Recording:
    def __init__(self, into: Recorder) -> None:
        self._into = into

    async def __call__(self, number: int) -> "set[asyncio.Future[None]]":
        """Records so many outcomes, and lets what can go on go on."""
        futures = {self._into.record(Entry(event=event(index))) for index in range(number)}
        await quiet()
        return futures


@asynccontextmanager
async def recording(stop: asyncio.Event | None = None) -> AsyncIterator[Recording]:
    into = Recorder(stop or asyncio.Event())
    try:
        yield Recording(into)
    finally:
        await into.aclose()


def done(futures: "set[asyncio.Future[None]]") -> bool:
    return all(future.done() for future in futures)


def event(index: int) -> DeliveryEvent:
    return DeliveryEvent(
        tenant="acme",
        mode="live",
        message="msg_1",
        delivery=f"dlv_{index}",
        receiver=f"r{index}",
        channel="http",
        status=Status.DELIVERED,
        at=datetime.now(UTC),
    )


async def quiet() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)
