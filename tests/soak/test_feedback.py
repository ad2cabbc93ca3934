"""Events in any order, some twice, through two feeders of which one is killed: every total is exact."""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from feedback import backlog, rollups, selectors, services
from feedback.events import DeliveryEvent, Status, delivery_id
from feedback.periods import Interval, floor
from feedback.series import series
from sprayer_project.ids import new_id, time_of
from tests.conftest import TenantUnderTest
from tests.live import LiveSystem, wait_for
from tests.soak import either

pytestmark = pytest.mark.services

EVENTS = either(20_000, 1_000_000)
"""Different ones: two a delivery. A tenth is reported twice."""
LIMIT = either(300, 3600)
CALM = {"SPRAYER_FEEDER_BATCH": "200"}
"""Short writes: one small server answers feeders, sweeper and test."""
SMALL = 40
"""Messages without a group, beside the one to a group that has half of the deliveries."""
CHANNELS = ("sms", "email", "ios")
ENDS = (Status.DELIVERED, Status.DELIVERED, Status.READ, Status.FAILED, Status.BOUNCED)
_CHUNK = 2_000
_MOST_WAITING = 50
"""AMQP messages: what is reported waits until the feeders have come so far."""


class Story:
    """The events by number, without holding a million of them, and what must become of them."""

    def __init__(self, now: datetime) -> None:
        start = floor(now - timedelta(minutes=SMALL + 5), Interval.MINUTE)
        self._messages = [new_id("msg", start + timedelta(minutes=number)) for number in range(SMALL)]
        self.large = new_id("msg", start + timedelta(minutes=20))
        self.start = start

    def event(self, number: int) -> DeliveryEvent:
        delivery, last = divmod(number, 2)
        message = self.message(delivery)
        channel, receiver = CHANNELS[delivery % len(CHANNELS)], f"r{delivery}"
        return DeliveryEvent(
            tenant="acme",
            mode="live",
            message=message,
            delivery=delivery_id(message, receiver, channel, "a" * 32),
            receiver=receiver,
            channel=channel,
            group="everybody" if message == self.large and not last else None,
            status=self.end(delivery) if last else Status.SENT,
            at=time_of(message) + timedelta(seconds=30 if last else 1),
            event=f"evt_{number:08}",
            attempt=1 - last,
            address_hash="a" * 32,
        )

    def message(self, delivery: int) -> str:
        return self.large if delivery % 2 else self._messages[delivery // 2 % SMALL]

    def end(self, delivery: int) -> Status:
        return ENDS[delivery // 7 % len(ENDS)]

    def totals(self, key: Callable[[int], object]) -> dict[object, dict[str, Counter[str]]]:
        """key of a delivery -> channel -> status -> deliveries."""
        counted: dict[object, dict[str, Counter[str]]] = {}
        for delivery in range(EVENTS // 2):
            channels = counted.setdefault(key(delivery), {})
            channels.setdefault(CHANNELS[delivery % len(CHANNELS)], Counter())[self.end(delivery).value] += 1
        return counted


def test_shuffled_and_repeated_events_through_two_feeders_one_of_them_killed_give_exact_totals(
    live_system: LiveSystem, acme: TenantUnderTest, tell: Callable[[str], None]
) -> None:
    now = datetime.now(UTC)
    story, chance = Story(now), random.Random(5)
    numbers = [*range(EVENTS), *chance.sample(range(EVENTS), EVENTS // 10)]
    chance.shuffle(numbers)
    victim, _, _ = live_system.start("feeder", "feeder", "sweeper", env=CALM)
    chunks = list(_chunks(numbers))
    for place, chunk in enumerate(chunks):
        services.report(story.event(number) for number in chunk)
        if place == len(chunks) // 2:
            victim.kill()
        wait_for(lambda: (backlog.read().waiting or 0) < _MOST_WAITING, LIMIT, "room in the queue")
    expected = {
        message: {channel: dict(statuses) for channel, statuses in channels.items()}
        for message, channels in story.totals(story.message).items()
    }
    wait_for(lambda: _is_settled() and selectors.totals("acme", story.large).total == EVENTS // 4, LIMIT, "every row")
    wait_for(_is_settled, LIMIT, "the end of counting")
    assert {message: selectors.totals("acme", str(message)).channels for message in expected} == expected
    for interval in Interval:
        assert _told(interval, now) == story.totals(partial(_start, story, interval)), interval
    tell(f"{len(numbers):,} events of {EVENTS // 2:,} deliveries, every total exact")


def _is_settled() -> bool:
    """Everything is written, and counted since."""
    found = backlog.read()
    if found.waiting or found.lag:
        return False
    return not any(kept.count_documents({"stale": True}) for kept in (selectors.summaries(), rollups.totals()))


def _start(story: Story, interval: Interval, delivery: int) -> datetime:
    return floor(time_of(story.message(delivery)), interval)


def _told(interval: Interval, now: datetime) -> dict[datetime, dict[str, Counter[str]]]:
    found = series("acme", "live", interval, now, since=now - timedelta(hours=30 if interval is Interval.DAY else 7))
    return {row.start: {channel: Counter(statuses) for channel, statuses in row.channels.items()} for row in found.rows}


def _chunks(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(numbers), _CHUNK):
        yield numbers[start : start + _CHUNK]
