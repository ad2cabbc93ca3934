"""Console pages of a tenant's API keys."""

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect

from sprayer_project.errors import Conflict
from tenants import console, selectors, services
from tenants.forms import KeyForm, KeyRotationForm
from tenants.models import ApiKey, Membership
from tenants.rights import Forbidden, may_make_key


@console.page()
def keys(request: HttpRequest, member: Membership) -> HttpResponse:
    """Every key of the tenant; never a secret."""
    return console.show(request, member, "tenants/keys.html", _keys_context(member))


@console.page("keys", methods=("GET", "HEAD", "POST"))
def new_key(request: HttpRequest, member: Membership) -> HttpResponse:
    """The form of a new key, and once, in the answer that creates it, the key itself."""
    form = KeyForm(member.role, request.POST or None)
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
def rotate_key(request: HttpRequest, member: Membership, key: str) -> HttpResponse:
    """Asks how long the old key goes on; then shows the new one, once."""
    old, form = _key(member, key), KeyRotationForm(request.POST or None)
    if not may_make_key(member.role, old.scopes):
        raise Forbidden("missing_right", f"Your role here, {member.role}, does not rotate a key with the scope admin.")
    if request.method == "POST" and form.is_valid():
        overlap = form.cleaned_data["overlap"]
        try:
            new, plain = services.rotate_api_key(member.tenant, key, overlap, member.user, console.ip_of(request))
        except Conflict as error:
            messages.error(request, error.detail)
            return redirect("console-keys", member.tenant.slug)
        old.refresh_from_db()
        context = {"section": "keys", "key": new, "plain": plain, "old": old}
        return console.show(request, member, "tenants/key_created.html", context)
    return console.show(request, member, "tenants/key_rotate.html", {"section": "keys", "key": old, "form": form})


@console.page("keys", methods=("GET", "HEAD", "POST"))
def revoke_key(request: HttpRequest, member: Membership, key: str) -> HttpResponse:
    """Asks, saying what will happen; then does it."""
    found = _key(member, key)
    if request.method == "POST":
        services.revoke_api_key(member.tenant, key, by=member.user, ip=console.ip_of(request))
        messages.success(request, f"{found.name or found.prefix} is revoked: no request with it is answered any more.")
        return redirect("console-keys", member.tenant.slug)
    return console.show(request, member, "tenants/key_revoke.html", {"section": "keys", "key": found})


def _key(member: Membership, key: str) -> ApiKey:
    found = selectors.api_keys(member.tenant.slug).filter(id=key).first()
    if found is None:
        raise Http404(f"There is no key {key!r}.")
    return found


def _keys_context(member: Membership) -> dict[str, object]:
    found: list[ApiKey] = list(selectors.api_keys(member.tenant.slug))
    rows = [(key, key.state(), not key.replaced_by and may_make_key(member.role, key.scopes)) for key in found]
    return {"section": "keys", "keys": rows}
