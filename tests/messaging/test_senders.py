"""A page's attempts: shared out among senders, or all at once."""

import asyncio
from contextlib import aclosing

import pytest

from feedback.events import Status
from messaging.channels.base import Outcome, Recipient
from messaging.senders import as_they_end, shared_out

PLACES = 3


def recipients(page: str, number: int) -> list[Recipient]:
    return [
        Recipient(delivery=f"{page}{index}", receiver="", address="", address_hash="", round=1, attempt=1)
        for index in range(number)
    ]


class Provider:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.gate = asyncio.Semaphore(PLACES)
        self.asked: list[str] = []
        self._answers: dict[str, asyncio.Future[None]] = {}

    async def attempt(self, recipient: Recipient) -> Outcome:
        self.asked.append(recipient.delivery)
        self._answers[recipient.delivery] = asyncio.get_running_loop().create_future()
        await self._answers[recipient.delivery]
        return Outcome(delivery=recipient.delivery, status=Status.SENT)

    def page(self, name: str, number: int) -> "asyncio.Task[list[str]]":
        async def collected() -> list[str]:
            found = shared_out(recipients(name, number), self.attempt, self.gate, PLACES)
            return [outcome.delivery async for outcome in found]

        return asyncio.create_task(collected())

    async def answer(self, *deliveries: str) -> None:
        for delivery in deliveries:
            self._answers[delivery].set_result(None)
        await self.quiet()

    async def fail(self, delivery: str) -> None:
        self._answers[delivery].set_exception(LookupError(delivery))
        await self.quiet()

    async def quiet(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)


async def test_so_many_are_tried_at_once_and_who_answers_makes_room_for_the_next() -> None:
    provider = Provider()
    page = provider.page("a", 5)
    await provider.quiet()
    assert provider.asked == ["a0", "a1", "a2"]
    await provider.answer("a1")
    assert provider.asked == ["a0", "a1", "a2", "a3"]
    await provider.answer("a3", "a0")
    await provider.answer("a4", "a2")
    assert await page == ["a1", "a3", "a0", "a4", "a2"]


async def test_a_page_has_its_turn_behind_the_one_before_as_its_places_come_free() -> None:
    provider = Provider()
    first = provider.page("a", 4)
    second = provider.page("b", 2)
    await provider.quiet()
    await provider.answer("a0")
    assert provider.asked == ["a0", "a1", "a2", "a3"]
    await provider.answer("a1")
    assert provider.asked[4:] == ["b0"]
    await provider.answer("a2", "b0")
    await provider.answer("a3", "b1")
    assert sorted(await first) == ["a0", "a1", "a2", "a3"]
    assert await second == ["b0", "b1"]


async def test_a_failed_attempt_is_raised_and_all_places_come_free() -> None:
    provider = Provider()
    page = provider.page("a", 5)
    await provider.quiet()
    await provider.fail("a1")
    with pytest.raises(LookupError, match="a1"):
        await page
    await provider.quiet()
    assert provider.asked == ["a0", "a1", "a2"]
    for _ in range(PLACES):
        await asyncio.wait_for(provider.gate.acquire(), 1)


async def test_who_stops_listening_cancels_what_is_left() -> None:
    provider = Provider()
    async with aclosing(shared_out(recipients("a", 5), provider.attempt, provider.gate, PLACES)) as outcomes:
        waiting = asyncio.ensure_future(anext(outcomes))
        await provider.quiet()
        await provider.answer("a0")
        assert (await waiting).delivery == "a0"
    await provider.quiet()
    assert provider.asked == ["a0", "a1", "a2", "a3"]
    for _ in range(PLACES):
        await asyncio.wait_for(provider.gate.acquire(), 1)


async def test_outcomes_come_as_attempts_end() -> None:
    provider = Provider()
    outcomes = as_they_end(recipients("a", 3), provider.attempt)
    first = asyncio.ensure_future(anext(outcomes))
    await provider.quiet()
    assert provider.asked == ["a0", "a1", "a2"]
    await provider.answer("a2")
    assert (await first).delivery == "a2"
    await provider.answer("a1", "a0")
    assert [outcome.delivery async for outcome in outcomes] == ["a1", "a0"]


async def test_pages_begin_one_behind_the_other_and_a_few_recipients_behind_nobody() -> None:
    provider = Provider()

    async def first_outcome(page: str, number: int) -> Outcome:
        return await anext(as_they_end(recipients(page, number), provider.attempt))

    pages = [asyncio.ensure_future(first_outcome(page, 50)) for page in "ab"]
    few = asyncio.ensure_future(first_outcome("c", 3))
    await provider.quiet()
    begun = "".join(delivery[0] for delivery in provider.asked)
    assert begun.replace("c", "") == "a" * 50 + "b" * 50
    assert begun.index("c") < begun.index("b")
    await provider.answer("c0", "a0", "b0")
    assert [(await one).delivery for one in (few, *pages)] == ["c0", "a0", "b0"]


async def test_a_page_that_nobody_wants_any_more_lets_the_next_begin() -> None:
    provider = Provider()
    unwanted = asyncio.ensure_future(anext(as_they_end(recipients("a", 1_000), provider.attempt)))
    page = asyncio.ensure_future(anext(as_they_end(recipients("b", 50), provider.attempt)))
    await asyncio.sleep(0)
    unwanted.cancel()
    await provider.quiet()
    assert len([delivery for delivery in provider.asked if delivery.startswith("b")]) == 50
    page.cancel()
