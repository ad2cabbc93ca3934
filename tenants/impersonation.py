"""An operator sees a tenant's console as one of its members does. It is the operator who acts: audit entries say so."""

from datetime import UTC, datetime, timedelta

from django.http import HttpRequest

from sprayer_project.errors import NotFound
from tenants import selectors, services
from tenants.models import Membership, User

LIFE = timedelta(hours=1)
READ_ONLY = "viewer"
"""The role of an operator who is no superuser, whatever the member's."""
_IN_SESSION = "impersonation"


def start(request: HttpRequest, operator: User, member: Membership, ip: str | None) -> None:
    """For an hour, or until end."""
    until = datetime.now(UTC) + LIFE
    request.session[_IN_SESSION] = {"member": member.pk, "until": until.isoformat()}
    services.audit(
        member.tenant, operator, "impersonation.started", member.user.email, {"until": until.isoformat()}, ip
    )


def end(request: HttpRequest, operator: User, ip: str | None) -> Membership | None:
    """Whose view it was."""
    member = seen_as(request)
    request.session.pop(_IN_SESSION, None)
    if member is not None:
        services.audit(member.tenant, operator, "impersonation.ended", member.user.email, ip=ip)
    return member


def seen_as(request: HttpRequest) -> Membership | None:
    """The member as whom an operator looks just now."""
    noted = request.session.get(_IN_SESSION)
    if noted is None or not isinstance(request.user, User) or not request.user.is_staff:
        return None
    if datetime.fromisoformat(noted["until"]) <= datetime.now(UTC):
        return None
    found = Membership.objects.filter(pk=noted["member"], tenant__is_active=True)
    return found.select_related("tenant", "user").first()


def membership(request: HttpRequest, slug: str) -> Membership:
    """The membership of whoever asks; the operator's own, with the member's role, who looks. Raises NotFound."""
    seen = seen_as(request)
    if seen is None or seen.tenant.slug != slug:
        return selectors.membership(request.user, slug)
    if not isinstance(request.user, User):
        raise NotFound("unknown_tenant", f"There is no tenant {slug!r}.")
    role = seen.role if request.user.is_superuser else READ_ONLY
    return Membership(tenant=seen.tenant, user=request.user, role=role, created_at=seen.created_at)
