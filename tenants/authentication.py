"""Who calls the API: an API key in `Authorization: Bearer spr_live_...`, and what it may do."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import structlog
from django.db import DatabaseError
from django.db.models import Q
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from tenants import keys, selectors
from tenants.models import ApiKey
from tenants.rights import Forbidden, Unauthorized

if TYPE_CHECKING:  # REST framework's views import this module through the settings
    from rest_framework.views import APIView

log = structlog.get_logger(__name__)

_USE_EVERY = 60.0
"""Seconds."""
_used: dict[str, float] = {}


@dataclass(frozen=True, slots=True)
class Caller:
    """The key behind a request: request.auth."""

    tenant: str
    """slug"""
    mode: str
    """live or test"""
    key_id: str
    scopes: frozenset[str]
    rate_limit: str = ""
    """The tenant's own, as 6000/minute; empty: the default."""
    key_prefix: str = ""
    key_name: str = ""


class ApiKeyAuthentication(BaseAuthentication):
    """request.auth becomes a Caller and request.user None: keys belong to tenants, not to people."""

    def authenticate(self, request: Request) -> tuple[None, Caller]:
        """Raises Unauthorized (missing_key, invalid_key, expired_key, revoked_key), Forbidden (tenant_inactive)."""
        return None, caller_of(bearer(request.META.get("HTTP_AUTHORIZATION", "")))

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


def caller_of(plain: str) -> Caller:
    """The caller behind a plain key; notes the use. Raises as ApiKeyAuthentication."""
    found = selectors.key_info(keys.hash_of(plain)) if keys.looks_like_key(plain) else None
    if found is None:
        raise Unauthorized("invalid_key", "There is no such API key: check that it was copied whole.")
    if found.revoked_at is not None:
        raise Unauthorized("revoked_key", "This API key was revoked: use another.")
    if found.expires_at is not None and found.expires_at <= datetime.now(UTC):
        raise Unauthorized("expired_key", "This API key has expired: create a new one.")
    if not found.tenant.is_active:
        raise Forbidden("tenant_inactive", "This tenant is not active: ask the operators.")
    _note_use(found.id, found.last_used_at)
    names = {"key_prefix": found.prefix, "key_name": found.name}
    return Caller(found.tenant.slug, found.mode, found.id, found.scopes, found.tenant.rate_limit, **names)


class HasScope(BasePermission):
    """The view's `scopes` names the scope that each method needs; admin has them all."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        """Raises Forbidden naming the scope."""
        scopes: dict[str, str] = getattr(view, "scopes", {})
        method = "GET" if request.method == "HEAD" else request.method or ""
        scope = scopes.get(method)
        if scope is not None and not (isinstance(request.auth, Caller) and request.auth.scopes & {scope, "admin"}):
            raise Forbidden("missing_scope", f"This API key lacks the scope {scope}.")
        return True


def bearer(header: str) -> str:
    """The key of an Authorization header. Raises Unauthorized."""
    scheme, _, plain = header.partition(" ")
    if scheme.lower() != "bearer" or not plain.strip():
        raise Unauthorized("missing_key", "Send your API key as `Authorization: Bearer spr_live_...`.")
    return plain.strip()


def _note_use(key_id: str, last_used_at: datetime | None) -> None:
    """Write a key's last-used time, once a minute at most. A database that refuses costs the note, not the request."""
    now = time.monotonic()
    if now - _used.get(key_id, -_USE_EVERY) < _USE_EVERY:
        return
    _used[key_id] = now
    at = datetime.now(UTC)
    before = at - timedelta(seconds=_USE_EVERY)
    if last_used_at is not None and last_used_at > before:
        return
    try:
        ApiKey.objects.filter(Q(last_used_at=None) | Q(last_used_at__lte=before), id=key_id).update(last_used_at=at)
    except DatabaseError as error:
        log.warning("key use not noted", key=key_id, error=type(error).__name__)
