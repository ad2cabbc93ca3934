"""What every page of a tenant's console shares: look-up and right in one call, the frame's context, errors as pages."""

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import wraps
from ipaddress import ip_address
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.decorators import login_required
from django.core.exceptions import BadRequest, PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from sprayer_project.errors import STORE_ERRORS, Invalid, NotFound, StoreUnavailable
from tenants import impersonation, selectors, services
from tenants.models import Membership, User
from tenants.rights import RIGHTS, Forbidden, can

View = Callable[..., HttpResponse]


def page(right: str = "read", methods: tuple[str, ...] = ("GET", "HEAD")) -> Callable[[View], View]:
    """A view of a tenant: `view(request, member, ...)`, the member having the right.

    Whoever is not logged in goes to the login page, a stranger gets 404, a member without the right 403; a store that
    is away is a 503 page that says so.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def answer(request: HttpRequest, tenant: str, **parts: str) -> HttpResponse:
            try:
                member = selectors.require(impersonation.membership(request, tenant), right)
                return view(request, member, **parts)
            except NotFound as error:
                raise Http404(error.detail) from error
            except Forbidden as error:
                raise PermissionDenied(error.detail) from error
            except Invalid as error:
                raise BadRequest(error.detail) from error
            except STORE_ERRORS as error:
                return _unavailable(request, error)

        return never_cache(login_required(require_http_methods(methods)(answer)))

    return decorate


def show(
    request: HttpRequest,
    member: Membership,
    template: str,
    context: Mapping[str, Any],
    status: int = 200,
) -> HttpResponse:
    """A page in the tenant's frame: with the tenant, what the member may do, and the member's other tenants."""
    seen = impersonation.seen_as(request)
    frame = {
        "tenant": member.tenant,
        "member": member,
        "may": {right: can(member.role, right) for right in RIGHTS},
        "memberships": selectors.memberships(member.user),
        "seen_as": seen if seen and seen.tenant == member.tenant else None,
    }
    return render(request, template, {**frame, **context}, status=status)


def note(
    request: HttpRequest, member: Membership, action: str, target: str, detail: Mapping[str, Any] | None = None
) -> None:
    """Into the audit log: a change that a page made with a service that knows no people."""
    services.audit(member.tenant, member.user, action, target, detail, ip_of(request))


def check_still(request: HttpRequest, tenant: str) -> None:
    """For a page that stays open: whether its person is still logged in, and may look. Raises Forbidden, NotFound."""
    # Anew, as it is stored: another page may have ended it, or the view of an operator who looks as a member.
    request.session = type(request.session)(request.session.session_key)
    request.user = get_user(request)
    if not request.user.is_authenticated:
        raise Forbidden("logged_out", "You have logged out: log in again.")
    impersonation.membership(request, tenant)


def user_of(request: HttpRequest) -> User:
    """The person behind a request that login_required let through."""
    assert isinstance(request.user, User)
    return request.user


def ip_of(request: HttpRequest) -> str | None:
    """Where a request came from: behind a proxy what that proxy says."""
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "") if settings.BEHIND_PROXY else ""
    for text in (forwarded.rpartition(",")[2].strip(), request.META.get("REMOTE_ADDR") or ""):
        with suppress(ValueError):
            return str(ip_address(text))
    return None


def _unavailable(request: HttpRequest, error: Exception) -> HttpResponse:
    retry_after = error.retry_after if isinstance(error, StoreUnavailable) and error.retry_after else 2
    response = render(request, "console/unavailable.html", status=503)
    response["Retry-After"] = str(math.ceil(retry_after))
    return response
