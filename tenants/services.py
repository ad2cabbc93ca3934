"""Writes: tenants, members, API keys, channel configurations. Each leaves an entry in the audit log, never a secret."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction

from sprayer_project.errors import Conflict, Invalid, NotFound
from tenants import encryption, keys, selectors
from tenants.models import SLUG_PATTERN, ApiKey, AuditEntry, ChannelConfig, Membership, Tenant, User
from tenants.rights import ROLES, SCOPES, Forbidden


@transaction.atomic
def create_tenant(slug: str, name: str, owner_email: str, password: str | None = None) -> tuple[Tenant, str]:
    """A tenant, its owner and a first live key with the scope admin; answers the tenant and the plain key.

    The owner may be a user already. A password is for an owner who cannot log in yet: Conflict otherwise.
    Raises Invalid, Conflict.
    """
    _refuse_slug(slug)
    tenant = _found(slug, name, _user(owner_email, password), None, None)
    _, plain = create_api_key(tenant, "live", ["admin"], None, "first key")
    return tenant, plain


@transaction.atomic
def found_tenant(slug: str, name: str, owner: User, ip: str | None = None) -> Tenant:
    """The same for a person at the console, without a key. Raises Invalid, Conflict, Forbidden (owns enough)."""
    _refuse_slug(slug)
    person = User.objects.select_for_update().get(pk=owner.pk)
    owned = Membership.objects.filter(user=person, role=Membership.Role.OWNER).count()
    if owned >= settings.OWNED_TENANTS and not person.is_staff:
        raise Forbidden("too_many_tenants", f"You own {owned} tenants: ask the operators for more.")
    return _found(slug, name, owner, owner, ip)


def set_password(email: str, password: str) -> None:
    """Give a user a new password. Raises NotFound."""
    user = User.objects.filter(email__iexact=email).first()
    if user is None:
        raise NotFound("not_found", f"There is no user {email}.")
    user.set_password(password)
    user.save(update_fields=["password"])


@transaction.atomic
def add_member(
    tenant: Tenant | str, email: str, role: str, by: User | None = None, ip: str | None = None
) -> Membership:
    """Give a person, known or new, a role, or another role. Raises Invalid, NotFound, Conflict (last owner)."""
    if role not in ROLES:
        raise Invalid("invalid_role", f"role is one of {', '.join(ROLES)}.", "/role")
    row = selectors.tenant_named(tenant)
    user = _user(email, None)
    if role != Membership.Role.OWNER:
        _keep_an_owner(row, user)
    member, _ = Membership.objects.update_or_create(tenant=row, user=user, defaults={"role": role})
    audit(tenant, by, "member.set", user.email, {"role": role}, ip)
    return member


@transaction.atomic
def remove_member(tenant: Tenant | str, user: User, by: User | None = None, ip: str | None = None) -> None:
    """Idempotent. Raises NotFound, Conflict (last owner)."""
    row = selectors.tenant_named(tenant)
    _keep_an_owner(row, user)
    removed, _ = Membership.objects.filter(tenant=row, user=user).delete()
    if removed:
        audit(tenant, by, "member.removed", user.email, ip=ip)


@transaction.atomic
def create_api_key(
    tenant: Tenant | str,
    mode: str,
    scopes: Iterable[str],
    expires_at: datetime | None = None,
    name: str = "",
    by: User | None = None,
    ip: str | None = None,
) -> tuple[ApiKey, str]:
    """A key and its plain text, which is shown once and kept nowhere. Raises Invalid, NotFound."""
    wanted = sorted(set(scopes))
    if mode not in keys.MODES:
        raise Invalid("invalid_mode", f"mode is one of {', '.join(keys.MODES)}.", "/mode")
    if not wanted or (unknown := set(wanted) - set(SCOPES)):
        problem = f"{', '.join(sorted(unknown))}: no such scope" if wanted else "A key needs a scope"
        raise Invalid("invalid_scope", f"{problem}: use {', '.join(SCOPES)}.", "/scopes")
    if expires_at is not None and (expires_at.tzinfo is None or expires_at <= _now()):
        raise Invalid("invalid_expiry", "A key expires in the future, at a time with an offset.", "/expires_at")
    new = keys.generate(mode)
    key = ApiKey.objects.create(
        tenant=selectors.tenant_named(tenant),
        name=name[:100],
        mode=mode,
        prefix=new.prefix,
        hash=new.hash,
        scopes=wanted,
        created_by=by,
        expires_at=expires_at,
    )
    audit(tenant, by, "key.created", key.id, {"prefix": key.prefix, "scopes": wanted}, ip)
    return key, new.plain


@transaction.atomic
def rotate_api_key(
    tenant: Tenant | str,
    key_id: str,
    overlap: timedelta = timedelta(days=1),
    by: User | None = None,
    ip: str | None = None,
) -> tuple[ApiKey, str]:
    """A new key like the old one, living as long; the old one goes on for the overlap. Raises NotFound, Conflict."""
    old, now = _key(tenant, key_id), _now()
    if old.state() != "active" or old.replaced_by_id:
        state = "replaced" if old.replaced_by_id else old.state()
        raise Conflict("key_not_active", f"The key is {state}: create a new one.")
    end = now + (old.expires_at - old.created_at) if old.expires_at else None
    new, plain = create_api_key(tenant, old.mode, old.scopes, end, old.name, by, ip)
    old.expires_at = min(old.expires_at or now + overlap, now + overlap)
    old.replaced_by = new
    old.save(update_fields=["expires_at", "replaced_by"])
    audit(tenant, by, "key.rotated", old.id, {"replaced_by": new.id, "expires_at": old.expires_at.isoformat()}, ip)
    changed()
    return new, plain


@transaction.atomic
def revoke_api_key(tenant: Tenant | str, key_id: str, by: User | None = None, ip: str | None = None) -> ApiKey:
    """Refused from now on: here at once, in other processes within a second. Idempotent. Raises NotFound."""
    key = _key(tenant, key_id)
    if key.revoked_at is None:
        key.revoked_at = _now()
        key.save(update_fields=["revoked_at"])
        audit(tenant, by, "key.revoked", key.id, {"prefix": key.prefix}, ip)
    changed()
    return key


@transaction.atomic
def set_channel_config(
    tenant: Tenant | str,
    channel: str,
    values: Mapping[str, Any],
    enabled: bool = True,
    provider: str = "",
    by: User | None = None,
    ip: str | None = None,
) -> ChannelConfig:
    """Store a channel's cleaned configuration, encrypted. values must be JSON-able. Raises NotFound."""
    config, created = ChannelConfig.objects.update_or_create(
        tenant=selectors.tenant_named(tenant),
        channel=channel,
        defaults={
            "enabled": enabled,
            "provider": provider,
            "encrypted_values": encryption.encrypt(values),
            "refused_at": None,
            "refused_words": "",
            "updated_by": by,
        },
    )
    detail = {"enabled": enabled, "fields": sorted(values)}
    audit(tenant, by, "channel.configured" if created else "channel.changed", channel, detail, ip)
    changed()
    return config


def note_credentials(tenant: str, channel: str, version: datetime, refusal: str | None) -> bool:
    """Keep that a provider refuses these credentials, in its words, or with None that it takes them.

    Answers whether that is news; credentials that were replaced meanwhile are not judged. Raises StoreUnavailable.
    """
    found = ChannelConfig.objects.filter(tenant__slug=tenant, channel=channel, updated_at=version)
    with selectors.sql():
        if refusal is None:
            changed = found.exclude(refused_at=None).update(refused_at=None, refused_words="")
        else:
            changed = found.filter(refused_at=None).update(refused_at=_now(), refused_words=refusal[:200])
    selectors.forget_channels(tenant)
    return changed > 0


@transaction.atomic
def remove_channel_config(tenant: Tenant | str, channel: str, by: User | None = None, ip: str | None = None) -> None:
    """Forget a channel's configuration and its credentials. Idempotent. Raises NotFound."""
    row = selectors.tenant_named(tenant)
    removed, _ = ChannelConfig.objects.filter(tenant=row, channel=channel).delete()
    if removed:
        audit(row, by, "channel.removed", channel, ip=ip)
    changed()


def audit(
    tenant: Tenant | str,
    by: User | None,
    action: str,
    target: str = "",
    detail: Mapping[str, Any] | None = None,
    ip: str | None = None,
    key: str = "",
) -> AuditEntry:
    """Who did what to a tenant; by is None for an API key, whose id is given then, and for an operator's command.

    detail must be JSON-able, without secrets.
    """
    return AuditEntry.objects.create(
        tenant=selectors.tenant_named(tenant),
        by=by,
        by_email=by.email if by else "",
        by_key=key,
        action=action,
        target=target[:200],
        detail=dict(detail or {}),
        ip=ip,
    )


def _user(email: str, password: str | None) -> User:
    """The user with this address, made when new."""
    email = email.strip().lower()
    user = User.objects.filter(email=email).first()
    try:
        validate_email(email)
        if password is not None:
            validate_password(password, user)
    except ValidationError as error:
        raise Invalid("invalid_user", " ".join(error.messages)) from error
    if user is None:
        return User.objects.create_user(email, password)
    if password is not None:
        if user.has_usable_password():
            raise Conflict("user_exists", f"{email} has a password already: leave it out.")
        user.set_password(password)
        user.save(update_fields=["password"])
    return user


def _refuse_slug(slug: str) -> None:
    if not re.match(SLUG_PATTERN, slug):
        raise Invalid(
            "invalid_slug",
            "A slug is 2 to 40 lower-case letters, digits and hyphens, not beginning or ending with a hyphen.",
        )
    if Tenant.objects.filter(slug=slug).exists():
        raise Conflict("tenant_exists", f"There is a tenant {slug!r} already, or there was one.")


def _found(slug: str, name: str, owner: User, by: User | None, ip: str | None) -> Tenant:
    try:
        with transaction.atomic():
            tenant = Tenant.objects.create(slug=slug, name=name or slug)
    except IntegrityError as error:
        raise Conflict("tenant_exists", f"There is a tenant {slug!r} already.") from error
    Membership.objects.create(tenant=tenant, user=owner, role=Membership.Role.OWNER)
    audit(tenant, by, "tenant.created", slug, {"owner": owner.email}, ip)
    changed()
    return tenant


def _keep_an_owner(tenant: Tenant, leaving: User) -> None:
    owners = Membership.objects.select_for_update().filter(tenant=tenant, role=Membership.Role.OWNER)
    users = set(owners.values_list("user_id", flat=True))
    if users == {leaving.pk}:
        raise Conflict("last_owner", "A tenant keeps an owner: make someone else one first.")


def _key(tenant: Tenant | str, key_id: str) -> ApiKey:
    keys_of = ApiKey.objects.select_for_update().filter(tenant=selectors.tenant_named(tenant))
    key = keys_of.filter(id=key_id).first()
    if key is None:
        raise NotFound("unknown_key", f"There is no key {key_id!r}.")
    return key


def changed() -> None:
    """This process asks SQL again, inside the transaction as after it; the others within a second or two."""
    selectors.forget()
    transaction.on_commit(selectors.forget)


def _now() -> datetime:
    return datetime.now(UTC)
