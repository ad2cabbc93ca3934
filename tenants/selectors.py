"""Reads. Look-ups that every request or job makes are remembered in the process for less than a second or two."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.db.models import Q, QuerySet

from sprayer_project.errors import NotFound, StoreUnavailable
from tenants import encryption
from tenants.cache import Remembered
from tenants.models import ApiKey, AuditEntry, ChannelConfig, Invitation, Membership, Tenant, User
from tenants.rights import Forbidden, can

__all__ = ["can"]

# A revoked key, a deactivated tenant: refused by every process within a second.
_keys: Remembered[str, "KeyInfo | None"] = Remembered(0.8)
_tenants: Remembered[str, "TenantInfo | None"] = Remembered(0.8)
_channels: Remembered[str, "Mapping[str, ChannelSettings]"] = Remembered(1.5)


@dataclass(frozen=True, slots=True)
class TenantInfo:
    slug: str
    name: str
    is_active: bool
    rate_limit: str
    """As 6000/minute; empty: the default."""


@dataclass(frozen=True, slots=True)
class KeyInfo:
    id: str
    prefix: str
    name: str
    tenant: TenantInfo
    mode: str
    scopes: frozenset[str]
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class ChannelSettings:
    """A tenant's configuration of one channel; values are decrypted, as the channel's Config form cleaned them."""

    channel: str
    enabled: bool
    values: Mapping[str, Any]
    provider: str
    source: str
    """Whose credentials these are: tenant."""
    version: datetime
    """Of these credentials: another one with every change."""
    refused_at: datetime | None
    """Since when the provider refuses them."""
    refused_words: str
    """The provider's own."""


def tenant_exists(slug: str) -> bool:
    """Whether there is such a tenant and it is active. Known to every process within a second."""
    found = tenant_info(slug)
    return found is not None and found.is_active


async def atenant_exists(slug: str) -> bool:
    """The same for an event loop."""
    return tenant_exists(slug) if _tenants.has(slug) else await sync_to_async(tenant_exists)(slug)


def tenant_info(slug: str) -> TenantInfo | None:
    return _tenants.get(slug, lambda: _load_tenant(slug))


def retentions() -> dict[str, int]:
    """slug -> days that a tenant's messages are kept after their end, of all that have some; 0: for ever."""
    with sql():
        rows = list(Tenant.objects.filter(removed_at=None).order_by("slug").values_list("slug", "retention_days"))
    return {slug: settings.RETENTION_DAYS if days is None else days for slug, days in rows}


def tenant_named(tenant: Tenant | str) -> Tenant:
    """The row of a slug. Raises NotFound."""
    if isinstance(tenant, Tenant):
        return tenant
    with sql():
        found = Tenant.objects.filter(slug=tenant).first()
    if found is None:
        raise NotFound("unknown_tenant", f"There is no tenant {tenant!r}.")
    return found


def key_info(key_hash: str) -> KeyInfo | None:
    """The key with this hash, whatever its state. Changes are known to every process within a second."""
    # An unknown hash is not remembered: guesses would push the real keys out.
    found = _keys.get(key_hash, lambda: _load_key(key_hash))
    if found is None:
        _keys.forget(key_hash)
    return found


def api_keys(tenant: str) -> QuerySet[ApiKey]:
    """A tenant's keys, newest first."""
    found = ApiKey.objects.filter(tenant__slug=tenant)
    return found.select_related("created_by", "replaced_by").order_by("-id")


def channel_config(tenant: str, channel: str) -> ChannelSettings | None:
    """What the tenant configured for a channel, None for nothing. Changes show within two seconds."""
    return channel_configs(tenant).get(channel)


async def achannel_config(tenant: str, channel: str) -> ChannelSettings | None:
    """The same for an event loop."""
    if _channels.has(tenant):
        return channel_config(tenant, channel)
    return await sync_to_async(channel_config)(tenant, channel)


def channel_configs(tenant: str) -> Mapping[str, ChannelSettings]:
    """Everything that the tenant configured, enabled or not, by channel."""
    return _channels.get(tenant, lambda: _load_channels(tenant))


def enabled_channels(tenant: str) -> list[str]:
    """The channels that the tenant configured and enabled, in alphabetical order."""
    return sorted(name for name, found in channel_configs(tenant).items() if found.enabled)


def memberships(user: User) -> QuerySet[Membership]:
    """The tenants that a person may open."""
    return (
        Membership.objects.filter(user=user, tenant__is_active=True).select_related("tenant").order_by("tenant__name")
    )


def members(tenant: str) -> QuerySet[Membership]:
    return Membership.objects.filter(tenant__slug=tenant).select_related("user").order_by("user__email")


def membership(user: Any, slug: str) -> Membership:
    """A person's membership in an active tenant. Raises NotFound for a stranger and for nobody."""
    if user is not None and user.is_authenticated:
        found = Membership.objects.filter(user=user, tenant__slug=slug, tenant__is_active=True)
        if member := found.select_related("tenant", "user").first():
            return member
    raise NotFound("unknown_tenant", f"There is no tenant {slug!r}.")


def require(member: Membership, right: str) -> Membership:
    """The member again, when the role includes the right. Raises Forbidden."""
    if not can(member.role, right):
        raise Forbidden("missing_right", f"Your role here, {member.role}, does not include {right!r}: ask an owner.")
    return member


def can_create_tenants(user: User) -> bool:
    """Who may make a tenant at the console: everybody where people sign up, otherwise operators."""
    return bool(settings.SIGNUP) or user.is_staff


def invitations(tenant: str) -> QuerySet[Invitation]:
    """Open ones and those that have expired, by address."""
    return Invitation.objects.filter(tenant__slug=tenant).select_related("tenant", "created_by").order_by("email")


def audit_entries(tenant: str) -> QuerySet[AuditEntry]:
    """Newest first."""
    return AuditEntry.objects.filter(tenant__slug=tenant).order_by("-at", "-id")


def audit_by(entries: QuerySet[AuditEntry], name: str) -> QuerySet[AuditEntry]:
    """Those of a person, by e-mail address, or of an API key, by id."""
    return entries.filter(Q(by_email=name) | Q(by_key=name))


def audit_choices(tenant: str) -> tuple[list[str], list[str]]:
    """The people and keys that did something, and the actions that there were; in alphabetical order."""
    entries = AuditEntry.objects.filter(tenant__slug=tenant).order_by()
    found = {field: set(entries.values_list(field, flat=True).distinct()) for field in ("by_email", "by_key", "action")}
    return sorted((found["by_email"] | found["by_key"]) - {""}), sorted(found["action"])


def forget() -> None:
    """Ask SQL again on the next look-up, in this process."""
    _keys.clear()
    _tenants.clear()
    _channels.clear()


def forget_channels(tenant: str) -> None:
    """The same for one tenant's channel configurations alone."""
    _channels.forget(tenant)


@contextmanager
def sql() -> Iterator[None]:
    """A database that is away raises StoreUnavailable, and its broken connection is not used again."""
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        connection.close_if_unusable_or_obsolete()
        raise StoreUnavailable("SQL") from error


def _load_tenant(slug: str) -> TenantInfo | None:
    with sql():
        tenant = Tenant.objects.filter(slug=slug).first()
    return _tenant_info(tenant) if tenant else None


def _load_key(key_hash: str) -> KeyInfo | None:
    with sql():
        key = ApiKey.objects.filter(hash=key_hash).select_related("tenant").first()
    if key is None:
        return None
    return KeyInfo(
        id=key.id,
        prefix=key.prefix,
        name=key.name,
        tenant=_tenant_info(key.tenant),
        mode=key.mode,
        scopes=frozenset(key.scopes),
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
        last_used_at=key.last_used_at,
    )


def _load_channels(tenant: str) -> Mapping[str, ChannelSettings]:
    with sql():
        rows = list(ChannelConfig.objects.filter(tenant__slug=tenant))
    return {
        row.channel: ChannelSettings(
            channel=row.channel,
            enabled=row.enabled,
            values=encryption.decrypt(row.encrypted_values),
            provider=row.provider,
            source="tenant",
            version=row.updated_at,
            refused_at=row.refused_at,
            refused_words=row.refused_words,
        )
        for row in rows
    }


def _tenant_info(tenant: Tenant) -> TenantInfo:
    return TenantInfo(tenant.slug, tenant.name, tenant.is_active, tenant.rate_limit)
