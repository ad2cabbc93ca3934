"""Console pages: the requests that a tenant's applications made."""

from typing import Any

from django import forms
from django.conf import settings
from django.http import HttpRequest, HttpResponse, QueryDict
from django.urls import reverse

from messaging import selectors
from sprayer_project import paging
from tenants import activity, console
from tenants import selectors as tenants
from tenants.activity import Request
from tenants.models import Membership

PAGE = 50
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_CLASSES = {"2": "2xx: done", "4": "4xx: refused", "5": "5xx: our failure"}


def _choices(every: str, *names: tuple[str, str]) -> list[tuple[str, str]]:
    return [("", every), *names]


class RequestFilter(forms.Form):
    """What the list of requests shows; a filter that is not understood does not filter."""

    status = forms.ChoiceField(required=False, choices=_choices("Any status", *_CLASSES.items()))
    method = forms.ChoiceField(required=False, choices=_choices("Any method", *((name, name) for name in _METHODS)))
    key = forms.ChoiceField(required=False, label="API key")
    path = forms.CharField(required=False, max_length=200)
    id = forms.CharField(required=False, max_length=40, label="Request id")
    idempotency_key = forms.CharField(required=False, max_length=255, label="Idempotency key")

    def __init__(self, asked: QueryDict, tenant: str):
        super().__init__(asked, auto_id="filter_%s")
        keys = ((key.id, f"{key.name} ({key.prefix}…)" if key.name else str(key)) for key in tenants.api_keys(tenant))
        self.fields["key"] = forms.ChoiceField(required=False, label="API key", choices=_choices("Any key", *keys))
        self.order_fields(["status", "method", "key", "path", "id", "idempotency_key"])
        self.is_valid()
        self.asked = {name: value for name, value in self.cleaned_data.items() if value}

    @property
    def in_use(self) -> bool:
        return bool(self.asked)

    def wants(self, row: Request) -> bool:
        exact = all(getattr(row, name) == self.asked.get(name, getattr(row, name)) for name in _EXACT)
        in_class = str(row.status).startswith(self.asked.get("status", ""))
        return exact and in_class and self.asked.get("path", "") in row.path


_EXACT = ("method", "key", "id", "idempotency_key")


@console.page()
def requests(request: HttpRequest, member: Membership) -> HttpResponse:
    """The tenant's requests, newest first."""
    return console.show(request, member, "messaging/requests.html", _context(request, member))


@console.page()
def request_rows(request: HttpRequest, member: Membership) -> HttpResponse:
    """The same rows alone: what the page asks for again and again."""
    return console.show(request, member, "messaging/_request_rows.html", _context(request, member))


def _context(request: HttpRequest, member: Membership) -> dict[str, Any]:
    tenant, cursor = member.tenant.slug, request.GET.get("cursor")
    form = RequestFilter(request.GET, tenant)
    query = request.GET.urlencode()
    idempotency_key = form.asked.get("idempotency_key")
    made: paging.Page[Any] | None = None
    if idempotency_key:
        made = selectors.messages(tenant, None, idempotency_key=idempotency_key, limit=2)
    return {
        "section": "requests",
        "filter": form,
        "page": activity.requests(tenant, form.wants, cursor, PAGE),
        "cursor": cursor,
        "most": settings.REQUEST_LOG,
        "idempotency_key": idempotency_key,
        "made": made.data if made else [],
        "rows_url": reverse("console-request-rows", args=[tenant]) + (f"?{query}" if query else ""),
        "api_url": f"{settings.PUBLIC_URL}/api/v1/messages",
    }
