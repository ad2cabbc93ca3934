"""Console pages of a tenant's people: the list for everyone; inviting, roles and removing for admins; leaving."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect

from sprayer_project.errors import Conflict, Limited
from tenants import console, invitations, selectors, services
from tenants.forms import InvitationForm, RoleForm
from tenants.models import Membership
from tenants.rights import Forbidden, may_give

_SECTION = {"section": "settings", "tab": "members"}


@console.page()
def members(request: HttpRequest, member: Membership) -> HttpResponse:
    """Who belongs to the tenant, and who is invited."""
    return _list(request, member, InvitationForm(member.role))


@console.page("members", methods=("POST",))
def invite(request: HttpRequest, member: Membership) -> HttpResponse:
    """Mail a link."""
    form = InvitationForm(member.role, request.POST)
    if not form.is_valid():
        return _list(request, member, form)
    values = form.cleaned_data
    try:
        invitations.invite(member.tenant, values["email"], values["role"], member.user, console.ip_of(request))
    except (Conflict, Limited, invitations.MailNotSent) as error:
        form.add_error("email", error.detail)
        return _list(request, member, form)
    messages.success(request, f"{values['email']} is invited: the mail is on its way.")
    return redirect("console-members", member.tenant.slug)


@console.page("members", methods=("POST",))
def take_back(request: HttpRequest, member: Membership, invitation: str) -> HttpResponse:
    """Its link ends."""
    invitations.take_back(member.tenant, invitation, member.user, console.ip_of(request))
    messages.success(request, "The invitation is taken back: its link does not work any more.")
    return redirect("console-members", member.tenant.slug)


@console.page("members", methods=("POST",))
def change_role(request: HttpRequest, member: Membership, person: int) -> HttpResponse:
    """Another role, none above the own one."""
    other = _other(member, person)
    form = RoleForm(member.role, request.POST)
    if form.is_valid():
        role = form.cleaned_data["role"]
        try:
            services.add_member(member.tenant, other.user.email, role, member.user, console.ip_of(request))
            messages.success(request, f"{other.user.email} is {role} now.")
        except Conflict as error:
            messages.error(request, error.detail)
    else:
        messages.error(request, "Choose one of the roles.")
    return redirect("console-members", member.tenant.slug)


@console.page("members", methods=("GET", "HEAD", "POST"))
def remove(request: HttpRequest, member: Membership, person: int) -> HttpResponse:
    """Asks, saying what will happen; then does it."""
    other = _other(member, person)
    if request.method != "POST":
        return console.show(request, member, "tenants/member_remove.html", _SECTION | {"other": other})
    try:
        services.remove_member(member.tenant, other.user, member.user, console.ip_of(request))
        messages.success(request, f"{other.user.email} is removed.")
    except Conflict as error:
        messages.error(request, error.detail)
    return redirect("console-members", member.tenant.slug)


@console.page(methods=("GET", "HEAD", "POST"))
def leave(request: HttpRequest, member: Membership) -> HttpResponse:
    """The same for oneself, whatever the role."""
    if member.pk is None:
        raise Forbidden("missing_right", "You look at this tenant as an operator: there is nothing to leave.")
    if request.method != "POST":
        return console.show(request, member, "tenants/member_leave.html", _SECTION)
    try:
        services.remove_member(member.tenant, member.user, member.user, console.ip_of(request))
    except Conflict as error:
        messages.error(request, error.detail)
        return redirect("console-members", member.tenant.slug)
    messages.success(request, f"You have left {member.tenant.name}.")
    return redirect("home")


def _list(request: HttpRequest, member: Membership, form: InvitationForm) -> HttpResponse:
    rows = [
        (
            other,
            RoleForm(member.role, initial=other.role, auto_id=f"id_{other.pk}_%s")
            if _may_change(member, other)
            else None,
        )
        for other in selectors.members(member.tenant.slug)
    ]
    context: dict[str, Any] = {
        "rows": rows,
        "invitations": selectors.invitations(member.tenant.slug),
        "form": form,
        "sends_mail": settings.SENDS_MAIL,
        "days": invitations.LIFE.days,
    }
    return console.show(request, member, "tenants/members.html", _SECTION | context)


def _may_change(member: Membership, other: Membership) -> bool:
    """Others, up to the own role; oneself one leaves."""
    return other.user_id != member.user_id and may_give(member.role, other.role)


def _other(member: Membership, person: int) -> Membership:
    other = selectors.members(member.tenant.slug).filter(pk=person).first()
    if other is None:
        raise Http404(f"There is no member {person}.")
    if not _may_change(member, other):
        raise Forbidden("missing_right", f"Your role here, {member.role}, does not reach up to this member's.")
    return other
