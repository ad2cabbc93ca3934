"""Where a gateway of the sandbox listens, for adapters whose protocol needs a port or an authority of its own."""

from dataclasses import dataclass

import aiohttp

_TIMEOUT = aiohttp.ClientTimeout(total=5)


@dataclass(frozen=True, slots=True)
class Found:
    base: str
    """The sandbox's URL."""
    url: str
    ca: str | None
    """PEM."""


async def find(base: str, channel: str) -> Found:
    """What the sandbox's root page says of a gateway. Raises OSError when there is no such page."""
    try:
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session, session.get(f"{base}/") as answer:
            said = (await answer.json())["gateways"][channel]
            return Found(base, str(said["url"]), said["ca"])
    except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError) as error:
        raise OSError(f"no {channel} gateway: {type(error).__name__}") from error
