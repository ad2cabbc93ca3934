"""Every URL of the project."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, URLResolver, include, path
from django.views import defaults

import feedback.urls
import messaging.urls
import subscriptions.urls
import tenants.urls
from feedback import backlog
from messaging import channels
from sprayer_project import amqp, errors, health, openapi

API = "api/v1/"
CONSOLE = [*messaging.urls.console_urls, *feedback.urls.console_urls, *tenants.urls.console_urls]


def queues() -> list[str]:
    """Every queue whose length /metrics shows."""
    jobs = [amqp.job_queue(channel, lane) for channel in channels.registry() for lane in amqp.LANES]
    return [*jobs, amqp.RECORD_QUEUE, amqp.WEBHOOK_QUEUE, amqp.DEAD_QUEUE]


urlpatterns: list[URLPattern | URLResolver] = [
    path(f"{API}openapi.json", openapi.DocumentView.as_view(), name="openapi"),
    path(f"{API}docs", openapi.DocsView.as_view(url_name="openapi"), name="docs"),
    # Messages first: every pattern before the one that matches costs its share of a 202.
    path(API, include([*messaging.urls.api_urls, *subscriptions.urls.api_urls, *feedback.urls.api_urls])),
    path(
        "t/<slug:tenant>/",
        include([*messaging.urls.console_urls, *feedback.urls.console_urls, *tenants.urls.console_urls]),
    ),
    path("accounts/", include(tenants.urls.account_urls)),
    path("accounts/", include("allauth.account.urls")),
    path("accounts/2fa/", include("allauth.mfa.urls")),
    path("accounts/sessions/", include("allauth.usersessions.urls")),
    path("", include(tenants.urls.root_urls)),
    path("operators/", admin.site.urls),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", health.exposition, {"queues": queues, "readings": backlog.readings}),
]


def handler400(request: HttpRequest, exception: Exception) -> HttpResponse:
    if _is_api(request):
        return errors.problem_response(400, "bad_request", "Sprayer cannot read this request.")
    return defaults.bad_request(request, exception)


def handler404(request: HttpRequest, exception: Exception) -> HttpResponse:
    return errors.not_found(request, exception) if _is_api(request) else defaults.page_not_found(request, exception)


def handler500(request: HttpRequest) -> HttpResponse:
    return errors.server_error(request) if _is_api(request) else defaults.server_error(request)


def _is_api(request: HttpRequest) -> bool:
    return request.path.startswith(f"/{API}")
