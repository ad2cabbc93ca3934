"""Acknowledgements of many receivers, settled together."""

import pytest

from messaging import inbox
from messaging.realtime.acks import Acks
from tests.messaging.inboxes import message, send

pytestmark = pytest.mark.services

BAD = "\ud800"
"""Text that cannot be sent to any server."""


async def test_one_that_fails_costs_nobody_elses() -> None:
    acks, names = Acks(), ("alice", "bob", "carol")
    await send(message(), *names)
    epochs = [view.epoch for view in await inbox.read("acme", [(name, 0) for name in names], 0)]
    for name, epoch in zip(names, epochs, strict=True):
        acks.add("acme", f"{name}'s neighbour", BAD, 1)
        acks.read("acme", f"{name}'s neighbour", BAD, 1)
        acks.add("acme", name, epoch, 1)
    assert await acks.settled(10)
    assert [view.acked for view in await inbox.read("acme", [(name, 0) for name in names], 0)] == [1, 1, 1]
