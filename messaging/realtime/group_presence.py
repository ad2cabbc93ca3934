"""Which members of a group are connected.

Of the group's members and the tenant's connected receivers the fewer are walked through, in steps, by name. Nobody
waits long where both are many: then a page is short and the number unknown.
"""

import time
from collections.abc import Iterator

from messaging import holders, inbox
from sprayer_project import paging
from sprayer_project.errors import StoreUnavailable
from sprayer_project.paging import Page
from subscriptions import reaching, selectors

_STEP = 1_000
PATIENCE = 1.0
"""Seconds for a page, and for the number."""


def page(tenant: str, group: str, after: str, limit: int) -> Page[str]:
    """The next by name; fewer than `limit` where looking for more takes long. Raises NotFound, the store errors."""
    found: list[str] = []
    until = time.monotonic() + PATIENCE
    for last, names in _walk(tenant, group, after):
        found += names
        if len(found) > limit:
            break
        if time.monotonic() > until:
            return Page(found, paging.encode(last))
    return paging.page(found[: limit + 1], limit, lambda name: name)


def count(tenant: str, group: str) -> int | None:
    """How many; None where counting takes long. Raises NotFound, the store errors."""
    found = 0
    until = time.monotonic() + PATIENCE
    for _, names in _walk(tenant, group, ""):
        if time.monotonic() > until:
            return None
        found += len(names)
    return found


def _walk(tenant: str, group: str, after: str) -> Iterator[tuple[str, list[str]]]:
    """For each step the last name that was looked at, and who is connected and a member."""
    selectors.group(tenant, group)
    reached = reaching.subscribers(tenant, [group], [inbox.CHANNEL], 0)
    if not reached:
        raise StoreUnavailable("Redis")
    if reached[group, inbox.CHANNEL].count <= holders.count(tenant):
        while members := reaching.subscribers_after(tenant, group, inbox.CHANNEL, after, _STEP):
            after = members[-1]
            yield after, holders.present_among(tenant, members)
            if len(members) < _STEP:
                return
    else:
        present = sorted(name for name in holders.all_present(tenant) if name > after)
        for start in range(0, len(present), _STEP):
            step = present[start : start + _STEP]
            yield step[-1], reaching.subscribers_among(tenant, group, inbox.CHANNEL, step)
