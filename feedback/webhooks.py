"""Tenants' feedback webhooks in SQL: reads, and writes that each leave an entry in the audit log, never a secret."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from yarl import URL

from feedback import webhook_events, webhook_lanes
from feedback.models import Webhook
from sprayer_project import outbound, paging, signatures, webhook_urls
from sprayer_project.errors import Conflict, Invalid, NotFound
from tenants import encryption, selectors, services
from tenants.cache import Remembered
from tenants.models import User

MOST = 20
"""Webhooks of a tenant in each mode."""
LONGEST_OVERLAP = timedelta(days=7)
_subscribed: Remembered[str, "Sequence[Subscribed]"] = Remembered(1.5)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who changes something, for the audit log: a person at the console, or an API key."""

    user: User | None = None
    key: str = ""
    ip: str | None = None


@dataclass(frozen=True, slots=True)
class Subscribed:
    """An enabled webhook, as far as choosing its events needs."""

    id: str
    mode: str
    events: frozenset[str]


@dataclass(frozen=True, slots=True)
class Target:
    """An enabled webhook, as far as sending to it needs."""

    id: str
    tenant: str
    url: str
    secrets: tuple[str, ...]
    """The newest first; two while a secret is being replaced."""


def subscribed(tenant: str) -> Sequence[Subscribed]:
    """A tenant's enabled webhooks; changes show within two seconds. Raises StoreUnavailable."""
    return _subscribed.get(tenant, lambda: _load(tenant))


def target(webhook: str) -> Target | None:
    """None for one that is gone or off. Raises StoreUnavailable, Undecryptable."""
    with selectors.sql():
        row = Webhook.objects.filter(id=webhook, enabled=True, tenant__is_active=True).select_related("tenant").first()
    return target_of(row) if row else None


def target_of(row: Webhook) -> Target:
    """Raises Undecryptable."""
    secret, previous, until = _secrets(row)
    secrets = (secret, previous) if until and until > _now() else (secret,)
    return Target(row.id, row.tenant.slug, row.url, secrets)


def overlap_end(row: Webhook) -> datetime | None:
    """Until when the secret before this one signs as well. Raises Undecryptable."""
    until = _secrets(row)[2]
    return until if until and until > _now() else None


def known(ids: Sequence[str]) -> set[str]:
    """Those of the ids that exist."""
    with selectors.sql():
        return set(Webhook.objects.filter(id__in=ids).values_list("id", flat=True))


def of_tenant(tenant: str) -> QuerySet[Webhook]:
    """In both modes, newest first."""
    return Webhook.objects.filter(tenant__slug=tenant).select_related("tenant", "created_by").order_by("-id")


def page(tenant: str, mode: str, cursor: str | None, limit: int) -> paging.Page[Webhook]:
    """Newest first. Raises Invalid for a bad cursor."""
    position = paging.decode(cursor, str)
    found = of_tenant(tenant).filter(mode=mode)
    if position is not None:
        found = found.filter(id__lt=position)
    return paging.page(list(found[: limit + 1]), limit, lambda row: row.id)


def one(tenant: str, mode: str | None, webhook: str) -> Webhook:
    """A tenant's webhook, of this mode where one is given. Raises NotFound."""
    found = of_tenant(tenant).filter(id=webhook)
    row = (found.filter(mode=mode) if mode else found).first()
    if row is None:
        raise NotFound("webhook_not_found", f"There is no webhook {webhook!r}.")
    return row


@transaction.atomic
def create(tenant: str, mode: str, url: str, events: Sequence[str], actor: Actor) -> tuple[Webhook, str]:
    """A webhook and its secret, which is shown once. Raises Invalid, Conflict (MOST)."""
    owner = selectors.tenant_named(tenant)
    if of_tenant(tenant).filter(mode=mode).count() >= MOST:
        raise Conflict("too_many_webhooks", f"A tenant has at most {MOST} webhooks in each mode: delete one first.")
    secret = signatures.new_secret()
    row = Webhook.objects.create(
        tenant=owner,
        mode=mode,
        url=checked_url(url),
        events=webhook_events.checked(events),
        encrypted_values=encryption.encrypt({"secret": secret}),
        created_by=actor.user,
    )
    _changed(row, actor, "webhook.created", {"mode": mode, "host": _host(row.url), "events": row.events})
    return row, secret


def change(row: Webhook, actor: Actor, values: Mapping[str, Any]) -> Webhook:
    """values has any of url, events, enabled; turning on forgets past failures. Raises Invalid, StoreUnavailable."""
    if "url" in values:
        row.url = checked_url(values["url"])
    if "events" in values:
        row.events = webhook_events.checked(values["events"])
    enabled = values.get("enabled", row.enabled)
    if enabled and not row.enabled:
        webhook_lanes.forgive(row.id)
        row.disabled_at, row.disabled_reason, row.notice_at = None, "", None
    elif row.enabled and not enabled:
        row.disabled_at, row.disabled_reason = _now(), Webhook.Reason.OFF
    row.enabled = enabled
    with transaction.atomic():
        # A secret that is replaced meanwhile stays as it is.
        row.save(update_fields=["url", "events", "enabled", "disabled_at", "disabled_reason", "notice_at"])
        detail = {"fields": sorted(values), "host": _host(row.url), "events": row.events, "enabled": enabled}
        _changed(row, actor, "webhook.changed", detail)
    return row


@transaction.atomic
def rotate(row: Webhook, overlap: timedelta, actor: Actor) -> tuple[Webhook, str]:
    """A new secret, shown once; the old one signs as well until the overlap is over. Raises Undecryptable."""
    fresh = Webhook.objects.select_for_update().select_related("tenant").get(pk=row.pk)
    secret, until = signatures.new_secret(), _now() + overlap
    values = {"secret": secret, "previous": _secrets(fresh)[0], "previous_until": until.isoformat()}
    fresh.encrypted_values = encryption.encrypt(values)
    fresh.save(update_fields=["encrypted_values"])
    _changed(fresh, actor, "webhook.rotated", {"previous_until": until.isoformat()})
    return fresh, secret


@transaction.atomic
def delete(row: Webhook, actor: Actor) -> None:
    """What waits for it is dropped when the daemon next looks."""
    _changed(row, actor, "webhook.deleted", {"host": _host(row.url)})
    row.delete()


def remove_all(tenant: str) -> None:
    """With their tenant; what waits for them is the record's, and goes there."""
    Webhook.objects.filter(tenant__slug=tenant).delete()
    _subscribed.forget(tenant)


@transaction.atomic
def disable(webhook: str, reason: Webhook.Reason) -> bool:
    """Turn off what its endpoint does not want or does not take, and have its people told; False when it was off."""
    now = _now()
    changes = {"enabled": False, "disabled_at": now, "disabled_reason": reason, "notice_at": now}
    if not Webhook.objects.filter(id=webhook, enabled=True).update(**changes):
        return False
    row = Webhook.objects.select_related("tenant").get(id=webhook)
    _changed(row, Actor(), "webhook.disabled", {"reason": str(reason)})
    return True


def checked_url(value: str) -> str:
    """The canonical URL. Raises Invalid, also for a literal address that is not public."""
    try:
        url = webhook_urls.canonical(value)
    except ValueError as error:
        raise Invalid("invalid_url", str(error), "/url") from error
    try:
        webhook_urls.check_literal(url)
    except outbound.BlockedAddress as error:
        raise Invalid(error.code, error.detail, "/url") from error
    return url


def forget() -> None:
    """Ask SQL again on the next look-up, in this process."""
    _subscribed.clear()


def _load(tenant: str) -> Sequence[Subscribed]:
    found = Webhook.objects.filter(tenant__slug=tenant, tenant__is_active=True, enabled=True)
    with selectors.sql():
        rows = list(found.values_list("id", "mode", "events"))
    return [Subscribed(identifier, mode, frozenset(events)) for identifier, mode, events in rows]


def _secrets(row: Webhook) -> tuple[str, str, datetime | None]:
    """The secret, the one before it and until when that one counts."""
    values = encryption.decrypt(row.encrypted_values)
    until = values.get("previous_until")
    return values["secret"], values.get("previous", ""), datetime.fromisoformat(until) if until else None


def _changed(row: Webhook, actor: Actor, action: str, detail: Mapping[str, Any]) -> None:
    """Note it; a path or query of a URL may hold a secret, so its host alone is named."""
    services.audit(row.tenant, actor.user, action, row.id, detail, actor.ip, actor.key)
    _subscribed.forget(row.tenant.slug)
    transaction.on_commit(lambda: _subscribed.forget(row.tenant.slug))


def _host(url: str) -> str:
    return URL(url, encoded=True).raw_authority


def _now() -> datetime:
    return datetime.now(UTC)
