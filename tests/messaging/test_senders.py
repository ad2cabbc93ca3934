"""A page's attempts, shared out among senders."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

import pytest

from feedback.events import Status
from messaging.breaker import is_working
from messaging.channels.base import Outcome, Recipient
from messaging.senders import Line, shared_out
from sprayer_project.gate import Busy, Gate

PLACES = 3


def recipients(page: str, number: int) -> list[Recipient]:
    return [
        Recipient(delivery=f"{page}{index}", receiver="", address="", address_hash="", round=1, attempt=1)
        for index in range(number)
    ]


class Provider:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.gate = Gate(PLACES)
        self.failing: set[str] = set()
        self.asked: list[str] = []
        self._answers: dict[str, asyncio.Future[None]] = {}

    async def attempt(self, recipient: Recipient) -> Outcome:
        self.asked.append(recipient.delivery)
        self._answers[recipient.delivery] = asyncio.get_running_loop().create_future()
        await self._answers[recipient.delivery]
        return Outcome(delivery=recipient.delivery, status=Status.SENT)

    def outcomes(self, *lines: Line) -> AsyncGenerator[Outcome, None]:
        return shared_out(lines, self.attempt, lambda recipient: recipient.delivery[0] in self.failing)

    def page(self, name: str, number: int) -> "asyncio.Task[list[str]]":
        return self.collected(Line(self.gate, recipients(name, number)))

    def collected(self, *lines: Line) -> "asyncio.Task[list[str]]":
        """The deliveries in the order of their outcomes, each with its status where that is not sent."""

        async def collected() -> list[str]:
            found = [outcome async for outcome in self.outcomes(*lines)]
            return [one.delivery if one.status is Status.SENT else f"{one.delivery} {one.status}" for one in found]

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


async def free(gate: Gate) -> int:
    """How many places are taken now, which were all that there were."""
    taken = 0
    with suppress(Busy):
        while True:
            await gate.enter(0)
            taken += 1
    return taken


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
    assert await free(provider.gate) == PLACES


async def test_who_stops_listening_cancels_what_is_left() -> None:
    provider = Provider()
    async with aclosing(provider.outcomes(Line(provider.gate, recipients("a", 5)))) as outcomes:
        waiting = asyncio.ensure_future(anext(outcomes))
        await provider.quiet()
        await provider.answer("a0")
        assert (await waiting).delivery == "a0"
    await provider.quiet()
    assert provider.asked == ["a0", "a1", "a2", "a3"]
    assert await free(provider.gate) == PLACES


async def test_each_line_has_its_own_gate_and_one_that_stands_still_holds_up_no_other() -> None:
    provider, other = Provider(), Gate(2)
    page = provider.collected(Line(provider.gate, recipients("a", 4)), Line(other, recipients("b", 4)))
    await provider.quiet()
    assert sorted(provider.asked) == ["a0", "a1", "a2", "b0", "b1"]
    await provider.answer("b0", "b1")
    await provider.answer("b2", "b3")
    assert provider.asked[5:] == ["b2", "b3"]
    await provider.answer("a0", "a1", "a2")
    await provider.answer("a3")
    assert await page == ["b0", "b1", "b2", "b3", "a0", "a1", "a2", "a3"]


async def test_a_gate_that_opens_is_used_by_those_who_are_left() -> None:
    provider, gate = Provider(), Gate(3, 1)
    page = provider.collected(Line(gate, recipients("a", 6)))
    await provider.quiet()
    assert provider.asked == ["a0"]
    gate.went_well()
    await provider.answer("a0")
    assert sorted(provider.asked) == ["a0", "a1", "a2"]
    gate.went_well()
    await provider.answer("a1")
    assert sorted(provider.asked) == ["a0", "a1", "a2", "a3", "a4"]
    await provider.answer("a2", "a3", "a4")
    await provider.answer("a5")
    assert sorted(await page) == ["a0", "a1", "a2", "a3", "a4", "a5"]
    assert await free(gate) == 3


async def test_who_is_given_up_meanwhile_is_queued_without_an_attempt() -> None:
    provider, other = Provider(), Gate(1)
    page = provider.collected(Line(provider.gate, recipients("a", 6)), Line(other, recipients("b", 2)))
    await provider.quiet()
    provider.failing.add("a")
    await provider.answer("a1")
    await provider.answer("a0", "a2", "b0")
    await provider.answer("b1")
    assert await page == ["a1", "a3 queued", "a4 queued", "a5 queued", "a0", "a2", "b0", "b1"]
    assert sorted(provider.asked) == ["a0", "a1", "a2", "b0", "b1"]


async def test_pages_begin_one_behind_the_other_and_a_few_recipients_behind_nobody() -> None:
    provider = Provider()
    wide, pages = Gate(1_000), dict[str, asyncio.Task[list[str]]]()
    for name, number in (("a", 50), ("b", 50), ("c", 3)):
        pages[name] = provider.collected(Line(wide, recipients(name, number)))
    await provider.quiet()
    begun = "".join(delivery[0] for delivery in provider.asked)
    assert begun.replace("c", "") == "a" * 50 + "b" * 50
    assert begun.index("c") < begun.index("b")
    await provider.answer(*provider.asked)
    assert [len(await page) for page in pages.values()] == [50, 50, 3]


async def test_where_answers_come_at_once_a_few_senders_do_it_all() -> None:
    wide, under_way, most = Gate(1_000), 0, 0

    async def attempt(recipient: Recipient) -> Outcome:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return Outcome(delivery=recipient.delivery, status=Status.SENT)

    outcomes = [one async for one in shared_out([Line(wide, recipients("a", 1_000))], attempt, lambda recipient: False)]
    assert len({outcome.delivery for outcome in outcomes}) == 1_000
    assert most < 100
    assert await free(wide) == 1_000


async def test_each_host_has_a_sender_soon_whatever_the_others_answer() -> None:
    asked: list[str] = []

    async def attempt(recipient: Recipient) -> Outcome:
        asked.append(recipient.delivery)
        await asyncio.sleep(0)
        return Outcome(delivery=recipient.delivery, status=Status.SENT)

    quick = [Line(Gate(100), recipients("a", 1_000))]
    late = [Line(Gate(1), recipients(name, 1)) for name in "bcde"]
    outcomes = [one async for one in shared_out(quick + late, attempt, lambda recipient: False)]
    assert len(outcomes) == 1_004
    assert max(map(asked.index, ("b0", "c0", "d0", "e0"))) < 20


@pytest.mark.parametrize("turns", range(4))
async def test_a_page_that_nobody_wants_any_more_lets_the_next_begin_with_all_places(turns: int) -> None:
    provider, gate = Provider(), Gate(30)
    unwanted = provider.collected(Line(gate, recipients("a", 1_000)))
    for _ in range(turns):
        await asyncio.sleep(0)
    page = provider.collected(Line(gate, recipients("b", 30)))
    unwanted.cancel()
    await provider.quiet()
    assert len([delivery for delivery in provider.asked if delivery.startswith("b")]) == 30
    await provider.answer(*(delivery for delivery in provider.asked if delivery.startswith("b")))
    assert len(await page) == 30
    assert await free(gate) == 30


async def test_who_had_no_turn_in_time_is_deferred_and_what_is_under_way_goes_on() -> None:
    provider = Provider()
    page = provider.collected(Line(provider.gate, recipients("a", 6), patience=1))
    await provider.quiet()
    assert provider.asked == ["a0", "a1", "a2"]
    outcomes = provider.outcomes(Line(provider.gate, recipients("b", 2), patience=1))
    busy = await asyncio.wait_for(anext(outcomes), 10)
    assert (busy.delivery, busy.status, busy.reason) == ("b0", Status.DEFERRED, "endpoint_busy")
    assert is_working(busy) is None
    assert not page.done()
    await provider.answer("a0", "a1", "a2")
    assert await page == ["a3 deferred", "a4 deferred", "a5 deferred", "a0", "a1", "a2"]
    assert provider.asked == ["a0", "a1", "a2"]


async def test_a_turn_that_comes_too_late_is_none() -> None:
    provider, gate = Provider(), Gate(1)
    line = Line(gate, recipients("a", 2), patience=10)
    page = provider.collected(line)
    await provider.quiet()
    line.until = 0
    await provider.answer("a0")
    assert await page == ["a0", "a1 deferred"]
    assert await free(gate) == 1


async def test_a_recipient_alone_has_a_place_too_and_waits_no_longer_for_it() -> None:
    provider, gate = Provider(), Gate(1)
    first = provider.collected(Line(gate, recipients("a", 1)))
    second, third = provider.collected(Line(gate, recipients("b", 1))), Line(gate, recipients("c", 1), patience=0.1)
    await provider.quiet()
    assert provider.asked == ["a0"]
    assert await asyncio.wait_for(provider.collected(third), 10) == ["c0 deferred"]
    provider.failing.add("b")
    await provider.answer("a0")
    assert await first == ["a0"]
    assert await second == ["b0 queued"]
    assert await free(gate) == 1


async def test_a_recipient_alone_whose_attempt_fails_leaves_its_place() -> None:
    provider, gate = Provider(), Gate(1)
    page = provider.collected(Line(gate, recipients("a", 1)))
    await provider.quiet()
    await provider.fail("a0")
    with pytest.raises(LookupError, match="a0"):
        await page
    assert await free(gate) == 1
