"""Pages of accounts and of a tenant's keys; the project's urls say where each list hangs."""

from django.urls import path

from tenants import views

root_urls = [path("", views.home, name="home")]

account_urls = [
    path("", views.account, name="account"),
    path("login", views.login, name="login"),
    path("logout", views.logout, name="logout"),
]

console_urls = [
    path("keys", views.keys, name="console-keys"),
    path("keys/new", views.new_key, name="console-key-new"),
    path("keys/<str:key>/revoke", views.revoke_key, name="console-key-revoke"),
]
