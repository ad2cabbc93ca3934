"""Connections without a client."""

from messaging.realtime.connection import Connection, Start
from messaging.realtime.message_frames import Frame
from messaging.realtime.refusals import Refused


class Follower(Connection):
    """Nothing reaches it but what a test's own one takes."""

    async def deliver(self, offset: int, frame: Frame) -> None:
        raise AssertionError(f"a frame at {offset}")

    async def moved(self, start: Start) -> None:
        raise AssertionError(f"moved to {start}")

    async def expel(self, reason: Refused) -> None:
        raise AssertionError(f"expelled: {reason}")

    def too_slow(self) -> None:
        raise AssertionError("too slow")
