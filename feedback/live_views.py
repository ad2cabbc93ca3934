"""Console pages: what happens now, of API requests, messages and feedback."""

from collections.abc import Mapping
from functools import partial
from typing import Any, cast

from django.http import HttpRequest, HttpResponse

from feedback import live, live_stream
from feedback.live_stream import Source
from sprayer_project.errors import SprayerError, problem_response
from tenants import activity, console
from tenants.models import Membership


@console.page()
def page(request: HttpRequest, member: Membership) -> HttpResponse:
    """An empty table, which live.js fills."""
    context = {"section": "live", "feedback_runs": live.runs(member.tenant.slug)}
    return console.show(request, member, "feedback/live.html", context)


@console.page()
def events(request: HttpRequest, member: Membership) -> HttpResponse:
    """The stream behind it, in both modes. A script that connects anew tells by `last` how far it came."""
    tenant = member.tenant.slug
    tails = (live.tail_of(tenant), activity.requests_of(tenant), activity.messages_of(tenant))
    last = request.headers.get("Last-Event-ID") or request.GET.get("last", "")
    try:
        answer = live_stream.respond(
            request, tenant, [Source(tail, _all) for tail in tails], last, partial(console.check_still, request, tenant)
        )
    except SprayerError as error:
        return problem_response(error.status, error.code, error.detail, error.errors, error.retry_after)
    return cast(HttpResponse, answer)


def _all(body: Mapping[str, Any]) -> bool:
    return True
