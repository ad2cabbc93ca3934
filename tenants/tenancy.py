"""A tenant as a whole: its name and how long it keeps things, and its end."""

from datetime import UTC, datetime, timedelta

from django.db import transaction

from sprayer_project.errors import Conflict
from tenants import selectors, services
from tenants.models import ApiKey, AuditEntry, ChannelConfig, Invitation, Membership, Tenant, User

_LOOKS = (timedelta(minutes=1), timedelta(hours=1), timedelta(days=1))
"""After the deletion: what was under way may have written once more."""
_KEPT = ("tenant.created", "tenant.deleted")


@transaction.atomic
def change(
    tenant: Tenant | str, name: str, retention_days: int | None, by: User | None = None, ip: str | None = None
) -> Tenant:
    """Another name, another number of days. Raises NotFound."""
    row = selectors.tenant_named(tenant)
    before = {"name": row.name, "retention_days": row.retention_days}
    row.name, row.retention_days = name, retention_days
    row.save(update_fields=["name", "retention_days"])
    after = {"name": name, "retention_days": retention_days}
    changed = {field: {"from": old, "to": after[field]} for field, old in before.items() if old != after[field]}
    if changed:
        services.audit(row, by, "tenant.changed", row.slug, changed, ip)
    services.changed()
    return row


@transaction.atomic
def delete(tenant: Tenant, slug: str, by: User, ip: str | None = None) -> None:
    """The beginning of a tenant's end: from now on it answers nobody and sends nothing; the sweeper removes the rest.

    slug is what the person typed to confirm. Raises Conflict.
    """
    if slug != tenant.slug:
        raise Conflict("wrong_slug", f"Type {tenant.slug} to confirm.")
    tenant.is_active, tenant.deleted_at = False, datetime.now(UTC)
    tenant.look_at = tenant.deleted_at
    tenant.save(update_fields=["is_active", "deleted_at", "look_at"])
    services.audit(tenant, by, "tenant.deleted", tenant.slug, ip=ip)
    services.changed()


def due() -> list[str]:
    """Slugs of deleted tenants of which something may be left. Raises StoreUnavailable."""
    with selectors.sql():
        found = Tenant.objects.filter(look_at__lte=datetime.now(UTC)).order_by("look_at")
        return list(found.values_list("slug", flat=True))


@transaction.atomic
def remove_rows(tenant: str) -> None:
    """When the record and Redis are empty: people, keys, configurations and log in SQL, and when to look again.

    The slug stays, with who made and who ended the tenant.
    """
    row, now = selectors.tenant_named(tenant), datetime.now(UTC)
    for model in (Membership, Invitation, ApiKey, ChannelConfig):
        model._default_manager.filter(tenant=row).delete()
    AuditEntry.objects.filter(tenant=row).exclude(action__in=_KEPT).delete()
    deleted_at = row.deleted_at or now
    later = [deleted_at + wait for wait in _LOOKS if deleted_at + wait > now]
    row.name, row.look_at, row.removed_at = row.slug, min(later, default=None), None if later else now
    row.save(update_fields=["name", "look_at", "removed_at"])
