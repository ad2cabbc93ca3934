"""Console pages of a tenant's settings: what it is called, how long it keeps things, its audit log, its end."""

from urllib.parse import urlencode

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from sprayer_project.errors import Conflict
from tenants import console, selectors, tenancy
from tenants.forms import AuditFilter, SlugForm, TenantForm
from tenants.models import Membership

_PAGE = 50
_SECTION = {"section": "settings"}


@console.page(methods=("GET", "HEAD", "POST"))
def tenant(request: HttpRequest, member: Membership) -> HttpResponse:
    """Name and retention, for whoever may change them."""
    if request.method == "POST":
        selectors.require(member, "settings")
    form = TenantForm(member.tenant, request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        values = form.cleaned_data
        tenancy.change(member.tenant, values["name"], values["retention_days"], member.user, console.ip_of(request))
        messages.success(request, "Saved.")
        return redirect("console-settings", member.tenant.slug)
    return console.show(request, member, "tenants/settings.html", _SECTION | {"tab": "tenant", "form": form})


@console.page()
def audit(request: HttpRequest, member: Membership) -> HttpResponse:
    """Who did what, when and from where; newest first."""
    entries = selectors.audit_entries(member.tenant.slug)
    people, actions = selectors.audit_choices(member.tenant.slug)
    form = AuditFilter(request.GET, people, actions)
    chosen = {name: value for name, value in form.cleaned_data.items() if value} if form.is_valid() else {}
    if by := chosen.get("by"):
        entries = selectors.audit_by(entries, by)
    if action := chosen.get("action"):
        entries = entries.filter(action=action)
    page = Paginator(entries, _PAGE).get_page(request.GET.get("page"))
    context = {"tab": "audit", "form": form, "page": page, "chosen": chosen, "query": urlencode(chosen)}
    return console.show(request, member, "tenants/audit.html", _SECTION | context)


@console.page("delete", methods=("GET", "HEAD", "POST"))
def delete(request: HttpRequest, member: Membership) -> HttpResponse:
    """Asks for the slug, saying what goes; then everything goes, in the background."""
    form = SlugForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            tenancy.delete(member.tenant, form.cleaned_data["slug"], member.user, console.ip_of(request))
        except Conflict as error:
            form.add_error("slug", error.detail)
        else:
            messages.success(request, f"{member.tenant.name} is deleted: what it held is being removed.")
            return redirect("home")
    return console.show(request, member, "tenants/tenant_delete.html", _SECTION | {"tab": "tenant", "form": form})
