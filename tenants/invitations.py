"""Inviting people by e-mail: a signed link that expires, for the owner of one mailbox."""

from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.core import signing
from django.core.mail import EmailMessage
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse

from sprayer_project.errors import Conflict, Invalid, Limited, NotFound, SprayerError
from tenants import limiter, selectors, services
from tenants.models import Invitation, Membership, Tenant, User
from tenants.rights import ROLES

LIFE = timedelta(days=7)
MOST = 50
"""Invitations of a tenant at the same time."""
RATE = "30/hour"
"""Mails that one tenant may cause, and one person in all tenants together."""
_SALT = "tenants.invitation"
_IN_SESSION = "invitation"


class MailNotSent(SprayerError):
    """503: the invitation is there, its mail is not."""

    status = 503


def invite(tenant: Tenant, email: str, role: str, by: User, ip: str | None = None) -> Invitation:
    """Invite, or invite anew: an earlier link to this address ends. Raises Invalid, Conflict, Limited, MailNotSent."""
    if role not in ROLES:
        raise Invalid("invalid_role", f"role is one of {', '.join(ROLES)}.", "/role")
    email = email.strip().lower()
    validate_email(email)
    if selectors.members(tenant.slug).filter(user__email=email).exists():
        raise Conflict("is_member", f"{email} is a member already: change the role in the list.")
    if selectors.invitations(tenant.slug).exclude(email=email).count() >= MOST:
        raise Conflict("too_many_invitations", f"{MOST} invitations are open: take one back first.")
    for whose in (tenant.slug, f"person/{by.pk}"):
        quota = limiter.take(whose, "invitations", RATE)
        if quota.exceeded:
            raise Limited("rate_limited", f"More than {quota.limit} invitations in an hour.", (), quota.reset)
    row = Invitation(tenant=tenant, email=email, role=role, created_by=by, expires_at=datetime.now(UTC) + LIFE)
    try:
        with transaction.atomic():
            Invitation.objects.filter(tenant=tenant, email=email).delete()
            row.save(force_insert=True)
            services.audit(tenant, by, "member.invited", email, {"role": role}, ip)
    except IntegrityError as error:
        raise Conflict("invited_already", f"Somebody else has just invited {email}.") from error
    _mail(row, by)
    return row


def link(row: Invitation) -> str:
    """What the owner of the mailbox opens. Whoever has it counts as that owner: mail it, show it nobody."""
    return settings.PUBLIC_URL + reverse("invitation", args=[signing.dumps(row.id, salt=_SALT)])


def find(token: str) -> Invitation:
    """The open invitation of a link. Raises NotFound for one that is forged, used, taken back or too old."""
    try:
        identifier = signing.loads(token, salt=_SALT, max_age=LIFE)
    except signing.BadSignature as error:
        raise NotFound("unknown_invitation", "This invitation does not work any more: ask for another one.") from error
    found = Invitation.objects.filter(id=identifier, expires_at__gt=datetime.now(UTC), tenant__is_active=True)
    if row := found.select_related("tenant", "created_by").first():
        return row
    raise NotFound("unknown_invitation", "This invitation does not work any more: ask for another one.")


@transaction.atomic
def accept(row: Invitation, user: User, ip: str | None = None) -> Membership:
    """The person joins; who is a member already keeps the role."""
    member, joined = Membership.objects.get_or_create(tenant=row.tenant, user=user, defaults={"role": row.role})
    if joined:
        services.audit(row.tenant, user, "member.joined", user.email, {"role": row.role}, ip)
    row.delete()
    return member


@transaction.atomic
def take_back(tenant: Tenant, identifier: str, by: User, ip: str | None = None) -> None:
    """Its link ends. Idempotent."""
    row = selectors.invitations(tenant.slug).filter(id=identifier).first()
    if row is not None:
        services.audit(tenant, by, "member.invitation_taken_back", row.email, ip=ip)
        row.delete()


def remember(request: HttpRequest, token: str) -> None:
    """Whoever has opened the link may sign up in this session, with the invited address alone."""
    request.session[_IN_SESSION] = token


def remembered(request: HttpRequest) -> Invitation | None:
    """The open invitation whose link was opened in this session."""
    token = request.session.get(_IN_SESSION)
    try:
        return find(token) if token else None
    except NotFound:
        return None


def _mail(row: Invitation, by: User) -> None:
    context = {"invitation": row, "by": by, "link": link(row)}
    text = render_to_string("tenants/invitation.txt", context)
    try:
        EmailMessage(f"Join {row.tenant.name} at Sprayer", text, to=[row.email]).send()
    except OSError as error:
        raise MailNotSent("mail_not_sent", "The mail server did not take the mail: send it again later.") from error
