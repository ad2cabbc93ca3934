"""Pages of accounts, of a tenant's keys and of its settings; the project's urls say where each list hangs."""

from django.urls import path

from tenants import account_views, member_views, settings_views, views

root_urls = [path("", account_views.home, name="home")]

account_urls = [
    path("", account_views.account, name="account"),
    path("tenants/new", account_views.new_tenant, name="tenant-new"),
    path("tenants/<slug:tenant>/leave", member_views.leave, name="tenant-leave"),
    path("invitations/<str:token>", account_views.invitation, name="invitation"),
    path("impersonation/end", account_views.end_impersonation, name="impersonation-end"),
]

console_urls = [
    path("keys", views.keys, name="console-keys"),
    path("keys/new", views.new_key, name="console-key-new"),
    path("keys/<str:key>/rotate", views.rotate_key, name="console-key-rotate"),
    path("keys/<str:key>/revoke", views.revoke_key, name="console-key-revoke"),
    path("settings", settings_views.tenant, name="console-settings"),
    path("settings/members", member_views.members, name="console-members"),
    path("settings/members/invite", member_views.invite, name="console-member-invite"),
    path("settings/members/<int:person>/role", member_views.change_role, name="console-member-role"),
    path("settings/members/<int:person>/remove", member_views.remove, name="console-member-remove"),
    path(
        "settings/invitations/<str:invitation>/take-back", member_views.take_back, name="console-invitation-take-back"
    ),
    path("settings/audit", settings_views.audit, name="console-audit"),
    path("settings/delete", settings_views.delete, name="console-tenant-delete"),
]
