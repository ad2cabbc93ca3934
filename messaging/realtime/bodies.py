"""Message bodies that this process has read lately: a broadcast's payload is fetched once, not once a receiver."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from sys import getsizeof

from messaging import inbox
from messaging.inbox import View

_MOST = 8 * 1024 * 1024
_PORTION = 1024 * 1024

Reading = list[tuple[tuple[str, int], View]]
"""Of each inbox: its receiver, the offset after which it was read, and what was found."""


class Bodies:
    """The bodies used last, as many as fit into 8 MiB of memory."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._size = 0

    async def get(self, tenant: str, messages: Iterable[str]) -> dict[str, str]:
        """The bodies of messages; those that no longer exist are missing."""
        found: dict[str, str] = {}
        missing: list[str] = []
        for message in messages:
            if (tenant, message) in self._known:
                self._known.move_to_end((tenant, message))
                found[message] = self._known[tenant, message]
            else:
                missing.append(message)
        if missing:
            fetched = await inbox.frames(tenant, missing)
            found |= fetched
            self.remember(tenant, fetched)
        return found

    def remember(self, tenant: str, bodies: Mapping[str, str]) -> None:
        for message, body in bodies.items():
            if (tenant, message) not in self._known:
                self._known[tenant, message] = body
                self._size += getsizeof(body)
        while self._size > _MOST:
            self._size -= getsizeof(self._known.popitem(last=False)[1])


def portions(read: Reading) -> Iterator[Reading]:
    """What was read, cut so that the bodies of each part are not much more than a MiB."""
    portion: Reading = []
    wanted: dict[str, int] = {}
    for position, view in read:
        portion.append((position, view))
        wanted |= {entry.message: entry.size for entry in view.entries}
        if sum(wanted.values()) > _PORTION:
            yield portion
            portion, wanted = [], {}
    yield portion
