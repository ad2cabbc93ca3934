"""Message bodies that this process has read lately: a broadcast's payload is fetched once, not once a receiver."""

from collections import OrderedDict
from collections.abc import Iterable
from sys import getsizeof

from messaging import inbox

_MOST = 8 * 1024 * 1024


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
            self._remember(tenant, fetched)
        return found

    def _remember(self, tenant: str, fetched: dict[str, str]) -> None:
        for message, body in fetched.items():
            if (tenant, message) not in self._known:
                self._known[tenant, message] = body
                self._size += getsizeof(body)
        while self._size > _MOST:
            self._size -= getsizeof(self._known.popitem(last=False)[1])
