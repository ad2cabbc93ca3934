"""How long deliveries took from the acceptance of their message: a histogram whose limits grow by the root of two.

A bucket is a small number that never changes once it is the smallest, so that repeated and late events change nothing.
Left out is what says nothing about Sprayer and its providers: messages with a send_at, and rounds that somebody opened.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from math import ceil, log2

from feedback.events import DeliveryEvent, Status
from sprayer_project.ids import time_of

STATUSES = (Status.SENT, Status.DELIVERED)
"""Those whose time is measured."""
LAST = 60
"""Twelve days and more."""

accepted_at = lru_cache(maxsize=8192)(time_of)
"""When a message was accepted, by its id."""


def bucket_of(event: DeliveryEvent) -> int | None:
    """The bucket of the time that an event's status took; None where it is not measured."""
    if event.status not in STATUSES or event.fact or event.round != 1 or event.scheduled:
        return None
    return bucket(event.at, accepted_at(event.message))


def bucket(at: datetime, accepted: datetime) -> int:
    milliseconds = (at - accepted).total_seconds() * 1000
    return min(LAST, ceil(2 * log2(milliseconds))) if milliseconds > 1 else 0


def percentile(counts: Mapping[str, int], share: float) -> float:
    """The milliseconds within which this share (0 to 1) of the counted deliveries was done; counts must not be empty.

    Exact to the limits of a bucket, a factor of 1.41; within one, times are taken to be spread evenly on its scale.
    """
    wanted, seen = share * sum(counts.values()), 0
    for name, count in sorted(counts.items(), key=lambda item: int(item[0])):
        if seen + count >= wanted:
            return float(2 ** ((int(name) - 1 + (wanted - seen) / count) / 2))
        seen += count
    raise ValueError("nothing was counted")
