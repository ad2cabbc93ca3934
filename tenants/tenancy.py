"""A tenant as a whole: its name and how long it keeps things, and its end."""

from datetime import UTC, datetime

from django.db import transaction

from sprayer_project.errors import Conflict
from tenants import selectors, services
from tenants.models import ApiKey, AuditEntry, ChannelConfig, Invitation, Membership, Tenant, User

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
    changed = {
        field: [old, new]
        for (field, old), new in zip(before.items(), (name, retention_days), strict=True)
        if old != new
    }
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
    tenant.save(update_fields=["is_active", "deleted_at"])
    services.audit(tenant, by, "tenant.deleted", tenant.slug, ip=ip)
    services.changed()


def being_deleted() -> list[str]:
    """Slugs of tenants of which something may be left. Raises StoreUnavailable."""
    with selectors.sql():
        found = Tenant.objects.filter(deleted_at__isnull=False, removed_at=None)
        return list(found.order_by("deleted_at").values_list("slug", flat=True))


@transaction.atomic
def remove_rows(tenant: str) -> None:
    """The last step: people, keys, configurations and log in SQL. The slug stays, with who made and who ended it."""
    row = selectors.tenant_named(tenant)
    for model in (Membership, Invitation, ApiKey, ChannelConfig):
        model._default_manager.filter(tenant=row).delete()
    AuditEntry.objects.filter(tenant=row).exclude(action__in=_KEPT).delete()
    row.name, row.removed_at = row.slug, datetime.now(UTC)
    row.save(update_fields=["name", "removed_at"])
