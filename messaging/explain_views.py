"""Console: why a receiver got a message or did not."""

from django.http import HttpRequest, HttpResponse

from messaging import selectors
from messaging.explain import explain
from sprayer_project.errors import NotFound
from tenants import console
from tenants.models import Membership


@console.page()
def explanation(request: HttpRequest, member: Membership, message: str) -> HttpResponse:
    """The answer alone where htmx asks for it, a page of its own otherwise."""
    tenant, receiver = member.tenant.slug, request.GET.get("receiver", "").strip()
    row = selectors.message(tenant, None, message)
    context = {"section": "messages", "row": row, "receiver": receiver}
    if receiver:
        try:
            context["found"] = explain(tenant, None, message, receiver)
        except NotFound as error:
            context["refusal"] = error.detail
    alone = bool(request.headers.get("HX-Request"))
    template = "messaging/_explain.html" if alone else "messaging/explain.html"
    return console.show(request, member, template, context)
