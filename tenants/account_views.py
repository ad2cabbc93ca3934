"""Pages of a person: the first page, the account, a new tenant, an invitation. Logging in is django-allauth's."""

from allauth.mfa.utils import is_mfa_enabled
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from sprayer_project.errors import Conflict, Invalid, NotFound
from tenants import console, impersonation, invitations, selectors, services
from tenants.forms import NameForm, NewTenantForm
from tenants.models import User
from tenants.rights import Forbidden


@never_cache
@login_required
@require_GET
def home(request: HttpRequest) -> HttpResponse:
    """The first of the viewer's tenants, or what to do without one."""
    first = selectors.memberships(console.user_of(request)).first()
    if first is not None:
        return redirect("console", first.tenant.slug)
    invitation = invitations.remembered(request)
    context = {
        "may_create": selectors.can_create_tenants(console.user_of(request)),
        "invitation": invitation,
        "link": invitations.link(invitation) if invitation else "",
    }
    return render(request, "tenants/no_tenant.html", context)


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def account(request: HttpRequest) -> HttpResponse:
    """Who the viewer is, where a member, and how to log in."""
    user = console.user_of(request)
    form = NameForm(request.POST or None, initial={"name": user.name})
    if request.method == "POST" and form.is_valid():
        user.name = form.cleaned_data["name"]
        user.save(update_fields=["name"])
        messages.success(request, "Saved.")
        return redirect("account")
    context = {
        "form": form,
        "memberships": selectors.memberships(user),
        "second_factor": is_mfa_enabled(user),
        "may_create": selectors.can_create_tenants(user),
    }
    return render(request, "tenants/account.html", context)


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def new_tenant(request: HttpRequest) -> HttpResponse:
    """A person's first tenant, or a further one."""
    user = console.user_of(request)
    if not selectors.can_create_tenants(user):
        return render(request, "tenants/no_tenant.html", {"may_create": False}, status=403)
    form = NewTenantForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        values = form.cleaned_data
        try:
            tenant = services.found_tenant(values["slug"], values["name"], user, console.ip_of(request))
        except (Conflict, Invalid) as error:
            form.add_error("slug", error.detail)
        except Forbidden as error:
            form.add_error(None, error.detail)
        else:
            messages.success(request, f"{tenant.name} is there, and you own it.")
            return redirect("console", tenant.slug)
    return render(request, "tenants/tenant_new.html", {"form": form})


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Where an invitation's link leads: to joining, or first to logging in or signing up."""
    try:
        row = invitations.find(token)
    except NotFound:
        return render(request, "tenants/invitation_gone.html", status=404)
    user = request.user if isinstance(request.user, User) else None
    fits = user is not None and user.email == row.email
    if request.method == "POST" and user is not None and fits:
        member = invitations.accept(row, user, console.ip_of(request))
        messages.success(request, f"You are in: {member.role} of {member.tenant.name}.")
        return redirect("console", member.tenant.slug)
    invitations.remember(request, token)
    here = request.path
    context = {
        "invitation": row,
        "fits": fits,
        "known": User.objects.filter(email=row.email).exists(),
        "login": f"{reverse('account_login')}?next={here}",
        "signup": f"{reverse('account_signup')}?next={here}",
        "here": here,
    }
    return render(request, "tenants/invitation.html", context)


@login_required
@require_POST
def end_impersonation(request: HttpRequest) -> HttpResponse:
    """Back to the operators' pages."""
    seen = impersonation.end(request, console.user_of(request), console.ip_of(request))
    return redirect("admin:tenants_tenant_change", seen.tenant.pk) if seen else redirect("home")
