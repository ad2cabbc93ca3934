"""Console pages: logging in and out, the account, a tenant's API keys."""

from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView, LogoutView
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods

from tenants import console, selectors, services
from tenants.forms import KeyForm, LoginForm, PasswordForm
from tenants.models import ApiKey, Membership

login = LoginView.as_view(
    template_name="tenants/login.html", authentication_form=LoginForm, redirect_authenticated_user=True
)
logout = LogoutView.as_view()


@never_cache
@login_required
@require_GET
def home(request: HttpRequest) -> HttpResponse:
    """The first of the viewer's tenants, or what to do without one."""
    first = selectors.memberships(console.user_of(request)).first()
    if first is None:
        return render(request, "tenants/no_tenant.html")
    return redirect(reverse("console", args=[first.tenant.slug]))


@sensitive_post_parameters()
@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def account(request: HttpRequest) -> HttpResponse:
    """Who the viewer is, where a member, and a new password."""
    user = console.user_of(request)
    form = PasswordForm(user, request.POST or None)
    if request.method == "POST" and form.is_valid():
        update_session_auth_hash(request, form.save())
        messages.success(request, "Your password is changed. Other sessions have been logged out.")
        return redirect("account")
    context = {"form": form, "memberships": selectors.memberships(user)}
    return render(request, "tenants/account.html", context)


@console.page()
def keys(request: HttpRequest, member: Membership) -> HttpResponse:
    """Every key of the tenant; never a secret."""
    return console.show(request, member, "tenants/keys.html", _keys_context(member))


@console.page("keys", methods=("GET", "HEAD", "POST"))
def new_key(request: HttpRequest, member: Membership) -> HttpResponse:
    """The form of a new key, and once, in the answer that creates it, the key itself."""
    form = KeyForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        values = form.cleaned_data
        key, plain = services.create_api_key(
            member.tenant,
            mode=values["mode"],
            scopes=values["scopes"],
            expires_at=form.expires_at(),
            name=values["name"],
            by=member.user,
            ip=console.ip_of(request),
        )
        return console.show(
            request, member, "tenants/key_created.html", {"section": "keys", "key": key, "plain": plain}
        )
    return console.show(request, member, "tenants/key_new.html", {"section": "keys", "form": form})


@console.page("keys", methods=("GET", "HEAD", "POST"))
def revoke_key(request: HttpRequest, member: Membership, key: str) -> HttpResponse:
    """Asks, saying what will happen; then does it."""
    found = selectors.api_keys(member.tenant.slug).filter(id=key).first()
    if found is None:
        raise Http404(f"There is no key {key!r}.")
    if request.method == "POST":
        services.revoke_api_key(member.tenant, key, by=member.user, ip=console.ip_of(request))
        messages.success(request, f"{found.name or found.prefix} is revoked: no request with it is answered any more.")
        return redirect("console-keys", member.tenant.slug)
    return console.show(request, member, "tenants/key_revoke.html", {"section": "keys", "key": found})


def _keys_context(member: Membership) -> dict[str, object]:
    found: list[ApiKey] = list(selectors.api_keys(member.tenant.slug))
    return {"section": "keys", "keys": [(key, key.state()) for key in found]}
