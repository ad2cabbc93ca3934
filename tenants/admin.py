"""Pages for operators. They show and change everything but secrets, which nobody sees again."""

from typing import TYPE_CHECKING, Any

from allauth.account.decorators import secure_admin_login
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as BaseUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Count, Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path
from django.views.decorators.http import require_POST
from django.views.generic import RedirectView

from sprayer_project import redis
from tenants import console, impersonation, limiter, services
from tenants.models import ApiKey, AuditEntry, ChannelConfig, Membership, Tenant, User

# Generic in their stubs only.
if TYPE_CHECKING:
    _TenantForm = forms.ModelForm[Tenant]
    _Inline = admin.TabularInline[Membership, Tenant]
    _TenantAdmin = admin.ModelAdmin[Tenant]
    _AnyAdmin = admin.ModelAdmin[Any]
    _UserAdmin = BaseUserAdmin[User]
else:
    _TenantForm, _Inline = forms.ModelForm, admin.TabularInline
    _TenantAdmin = _AnyAdmin = admin.ModelAdmin
    _UserAdmin = BaseUserAdmin

# One way to log in, with second factors and limits: the console's.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]
admin.site.password_change = RedirectView.as_view(pattern_name="account_change_password")  # type: ignore[method-assign,assignment]
admin.site.site_header = admin.site.site_title = "Sprayer's operators"
admin.site.index_title = "All tenants"
admin.site.unregister(Authenticator)
admin.site.unregister(UserSession)


class TenantForm(_TenantForm):
    class Meta:
        model = Tenant
        fields = ("slug", "name", "is_active", "rate_limit", "retention_days")

    def clean_rate_limit(self) -> str:
        rate: str = self.cleaned_data["rate_limit"]
        if rate and not limiter.valid_rate(rate):
            raise ValidationError("A rate is a number, a slash and second, minute, hour or day: 6000/minute.")
        return rate


class MembershipInline(_Inline):
    model = Membership
    extra = 0
    autocomplete_fields = ("user",)


@admin.register(User)
class UserAdmin(_UserAdmin):
    add_form = AdminUserCreationForm
    list_display = ("email", "name", "is_active", "is_staff", "last_login")
    search_fields = ("email", "name")
    ordering = ("email",)
    fieldsets = (
        (None, {"fields": ("email", "password")}),
        ("Person", {"fields": ("name",)}),
        ("Rights", {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")}),
    )
    add_fieldsets = ((None, {"fields": ("email", "usable_password", "password1", "password2")}),)


@admin.register(Tenant)
class TenantAdmin(_TenantAdmin):
    """Its members, limits and shard; its console as one of the members sees it.

    A tenant is made inactive here, and deleted by its owner; its slug must not come back as someone else's.
    """

    form = TenantForm
    list_display = ("slug", "name", "state", "people", "rate", "retention", "shard", "created_at")
    list_filter = ("is_active",)
    search_fields = ("slug", "name", "memberships__user__email")
    inlines = (MembershipInline,)
    readonly_fields = ("shard", "state", "created_at", "deleted_at", "removed_at")
    change_form_template = "tenants/operators_tenant.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Tenant]:
        return super().get_queryset(request).annotate(member_count=Count("memberships"))

    @admin.display(ordering="is_active")
    def state(self, tenant: Tenant) -> str:
        """active, inactive, being deleted or deleted"""
        if tenant.removed_at:
            return "deleted"
        if tenant.deleted_at:
            return "being deleted"
        return "active" if tenant.is_active else "inactive"

    @admin.display(ordering="member_count", description="members")
    def people(self, tenant: Tenant) -> int:
        return int(getattr(tenant, "member_count", 0))

    @admin.display(ordering="rate_limit")
    def rate(self, tenant: Tenant) -> str:
        return tenant.rate_limit or f"{settings.RATE_LIMIT} (default)"

    @admin.display(ordering="retention_days")
    def retention(self, tenant: Tenant) -> str:
        days = settings.RETENTION_DAYS if tenant.retention_days is None else tenant.retention_days
        text = f"{days} days" if days else "for ever"
        return text if tenant.retention_days is not None else f"{text} (default)"

    @admin.display(description="Redis shard")
    def shard(self, tenant: Tenant) -> str:
        """Which server of SPRAYER_REDIS_URLS holds its data."""
        return str(redis.shard_of(tenant.slug)) if tenant.slug else ""

    def get_readonly_fields(self, request: HttpRequest, obj: Tenant | None = None) -> tuple[str, ...]:
        if obj is None:
            return ()
        return ("slug", *self.readonly_fields, *(("is_active",) if obj.deleted_at else ()))

    def has_delete_permission(self, request: HttpRequest, obj: Tenant | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Tenant, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        values = {name: form.cleaned_data[name] for name in form.changed_data}
        _audit(request, obj, "tenant.changed" if change else "tenant.created", obj.slug, values)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        super().save_formset(request, form, formset, change)
        for member in [*formset.new_objects, *(member for member, _ in formset.changed_objects)]:
            _audit(request, form.instance, "member.set", member.user.email, {"role": member.role})
        for member in formset.deleted_objects:
            _audit(request, form.instance, "member.removed", member.user.email, {})

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(require_POST(self.see_as))
        return [path("see-as/<int:member>/", view, name="tenants_see_as"), *super().get_urls()]

    def see_as(self, request: HttpRequest, member: int) -> HttpResponse:
        """Open the console of a member's tenant in that member's role; read-only unless the operator is a superuser."""
        found = get_object_or_404(Membership.objects.select_related("tenant", "user"), pk=member)
        if not self.has_view_permission(request, found.tenant):
            raise PermissionDenied
        impersonation.start(request, console.user_of(request), found, console.ip_of(request))
        return redirect("console", found.tenant.slug)


class ReadOnlyAdmin(_AnyAdmin):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnlyAdmin):
    list_display = ("prefix", "tenant", "name", "mode", "state", "last_used_at", "expires_at", "created_by")
    list_filter = ("mode", "tenant")
    search_fields = ("id", "prefix", "name")
    exclude = ("hash",)
    actions = ("revoke",)

    @admin.action(description="Revoke the selected keys")
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        for key in queryset.select_related("tenant"):
            services.revoke_api_key(key.tenant, key.id, by=console.user_of(request), ip=console.ip_of(request))


@admin.register(ChannelConfig)
class ChannelConfigAdmin(ReadOnlyAdmin):
    list_display = ("tenant", "channel", "provider", "enabled", "refused_at", "updated_at", "updated_by")
    list_filter = ("channel", "enabled")
    exclude = ("encrypted_values",)


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    list_display = ("at", "tenant", "by_email", "by_key", "action", "target", "ip")
    list_filter = ("action", "tenant")
    search_fields = ("target", "by_email", "by_key")
    date_hierarchy = "at"


@admin.register(Authenticator)
class SecondFactorAdmin(ReadOnlyAdmin):
    """Deleting a lost second factor lets its owner in with the password alone."""

    list_display = ("user", "type", "created_at", "last_used_at")
    list_filter = ("type",)
    search_fields = ("user__email",)
    exclude = ("data",)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return super(ReadOnlyAdmin, self).has_delete_permission(request, obj)


def _audit(request: HttpRequest, tenant: Tenant, action: str, target: str, detail: dict[str, Any]) -> None:
    services.audit(tenant, console.user_of(request), action, target, detail, console.ip_of(request))
    services.changed()
