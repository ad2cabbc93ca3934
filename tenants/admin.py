"""Pages for operators. They show and change everything but secrets, which nobody sees again."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as BaseUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from tenants import limiter, services
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
    """A tenant is made inactive, never deleted: its slug must not come back as someone else's."""

    form = TenantForm
    list_display = ("slug", "name", "is_active", "rate_limit", "retention_days", "created_at")
    list_filter = ("is_active",)
    search_fields = ("slug", "name")
    inlines = (MembershipInline,)

    def get_readonly_fields(self, request: HttpRequest, obj: Tenant | None = None) -> tuple[str, ...]:
        return ("slug",) if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: Tenant | None = None) -> bool:
        return False


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
            by = request.user if isinstance(request.user, User) else None
            services.revoke_api_key(key.tenant, key.id, by=by, ip=request.META.get("REMOTE_ADDR"))


@admin.register(ChannelConfig)
class ChannelConfigAdmin(ReadOnlyAdmin):
    list_display = ("tenant", "channel", "provider", "enabled", "refused_at", "updated_at", "updated_by")
    list_filter = ("channel", "enabled")
    exclude = ("encrypted_values",)


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    list_display = ("at", "tenant", "by_email", "action", "target", "ip")
    list_filter = ("action", "tenant")
    search_fields = ("target", "by_email")
    date_hierarchy = "at"
