"""What a provider says of credentials before they are stored."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from messaging.channels.base import Channel, DeliveryError

LIMIT = 10.0
"""Seconds that a provider has."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why a configuration should not be stored as it is."""

    refused: bool
    """The provider said no; otherwise it could not be asked, and whoever knows better may store it all the same."""
    sentence: str


def doubt(channel: Channel, config: Mapping[str, Any]) -> Doubt | None:
    """What speaks against this cleaned configuration for live messages; None: nothing, or nobody can be asked.

    Blocks for LIMIT seconds at most, in the thread of a request or a command, on an event loop and connections of its
    own: neither the server's loop nor other requests wait for it.
    """
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(_ask(type(channel)(), config))
    except DeliveryError as error:
        words = (error.detail if error.detail != error.reason else error.reason.replace("_", " ")).rstrip(".")
        if error.permanent:
            return Doubt(True, f"The provider refuses this configuration: {words}.")
        return Doubt(False, f"The provider could not be asked about this configuration: {words}.")
    finally:
        loop.close()  # unlike asyncio.run it does not wait for a look-up of a name that nobody answers
    return None


async def _ask(channel: Channel, config: Mapping[str, Any]) -> None:
    try:
        async with asyncio.timeout(LIMIT):
            await channel.check(config)
    except TimeoutError as error:
        raise DeliveryError("timeout", detail=f"it did not answer within {LIMIT:g} seconds") from error
    finally:
        await channel.aclose()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
