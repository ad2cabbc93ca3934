"""Who may do what: scopes of API keys, roles of members, and the two refusals."""

from collections.abc import Collection

from sprayer_project.errors import SprayerError

SCOPES = (
    "messages:send",
    "messages:read",
    "subscriptions:write",
    "subscriptions:read",
    "tokens:create",
    "admin",
)
"""What a key may be allowed. admin implies all the others."""

ROLES = ("viewer", "developer", "admin", "owner")
"""In growing order: each role has the rights of those before it."""

RIGHTS = {
    "read": "viewer",
    "send": "developer",
    "keys": "developer",
    "admin_keys": "admin",
    "webhooks": "developer",
    "receivers": "developer",
    "channels": "admin",
    "members": "admin",
    "settings": "admin",
    "erase": "admin",
    "delete": "owner",
}
"""The least role that has each right."""


class Unauthorized(SprayerError):
    """401: no valid API key."""

    status = 401


class Forbidden(SprayerError):
    """403: known, but not allowed."""

    status = 403


def can(role: str, right: str) -> bool:
    """Raises ValueError or KeyError for a role or right that does not exist."""
    return ROLES.index(role) >= ROLES.index(RIGHTS[right])


def may_make_key(role: str, scopes: Collection[str]) -> bool:
    """Whether somebody with this role may get to see a new key with these scopes: admin does what no developer may."""
    return can(role, "admin_keys" if "admin" in scopes else "keys")


def may_give(giver: str, role: str) -> bool:
    """Whether somebody with the role `giver` may give, change or take the role `role`: nothing above the own one."""
    return can(giver, "members") and ROLES.index(role) <= ROLES.index(giver)
