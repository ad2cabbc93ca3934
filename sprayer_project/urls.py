"""Every URL of the project."""

from importlib import import_module
from importlib.util import find_spec
from itertools import chain

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, URLResolver, include, path
from django.views import defaults

from messaging import channels
from sprayer_project import amqp, errors, health, openapi

API = "api/v1/"


def queues() -> list[str]:
    """Every queue whose length /metrics shows."""
    jobs = [amqp.job_queue(channel, lane) for channel in channels.registry() for lane in amqp.LANES]
    return [*jobs, amqp.RECORD_QUEUE, amqp.DEAD_QUEUE]


def _of_apps(name: str) -> list[URLPattern | URLResolver]:
    apps = [app for app in ("tenants", "subscriptions", "feedback", "messaging") if find_spec(f"{app}.urls")]
    return list(chain.from_iterable(getattr(import_module(f"{app}.urls"), name, []) for app in apps))


urlpatterns: list[URLPattern | URLResolver] = [
    path(f"{API}openapi.json", openapi.DocumentView.as_view(), name="openapi"),
    path(f"{API}docs", openapi.DocsView.as_view(url_name="openapi"), name="docs"),
    path(API, include(_of_apps("api_urls"))),
    path("t/<slug:tenant>/", include(_of_apps("console_urls"))),
    path("accounts/", include(_of_apps("account_urls"))),
    path("", include(_of_apps("root_urls"))),
    path("operators/", admin.site.urls),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", health.exposition, {"queues": queues}),
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
