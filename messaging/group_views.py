"""Console pages of groups: everyone looks, developers change."""

from django.contrib import messages as notices
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from redis.exceptions import RedisError

from messaging import channels
from messaging.audience_forms import GroupForm, SubscriptionForm, labels, refuse
from messaging.realtime import group_presence
from messaging.receiver_views import PAGE
from sprayer_project.errors import Conflict, Invalid, NotFound, StoreUnavailable
from subscriptions import browsing, reaching, selectors, services
from subscriptions.browsing import GroupRow
from tenants import console
from tenants import services as tenants
from tenants.models import Membership

_SECTION = {"section": "groups"}
_COUNTED = 10_000
"""Members up to which a group's page counts them one by one."""


@console.page()
def groups(request: HttpRequest, member: Membership) -> HttpResponse:
    """By name, with the number of those whom each reaches on every channel."""
    tenant, prefix, cursor = member.tenant.slug, request.GET.get("name", ""), request.GET.get("cursor")
    page = browsing.groups(tenant, prefix, cursor, PAGE)
    reach = _reach(tenant, page.data)
    rows = [(row, reach[row.name]) for row in page.data]
    context = {"rows": rows, "next_cursor": page.next_cursor, "cursor": cursor, "name": prefix}
    return console.show(request, member, "messaging/groups.html", _SECTION | context)


@console.page("receivers", methods=("GET", "HEAD", "POST"))
def new(request: HttpRequest, member: Membership) -> HttpResponse:
    """The form of a new group; one that exists is not changed by it."""
    form = GroupForm(request.POST or None, new=True)
    if request.method == "POST" and form.is_valid():
        name = form.cleaned_data["name"]
        try:
            if not selectors.unknown_groups(member.tenant.slug, [name]):
                raise Conflict("exists", "There is a group of this name already.")
            _put(member, name, form)
        except (Invalid, Conflict) as error:
            refuse(form, error, {"group": "name"})
        else:
            _note(request, member, "group.created", name)
            notices.success(request, "The group is there. Now subscribe receivers to it.")
            return _back(member, name)
    return console.show(request, member, "messaging/group_form.html", _SECTION | {"form": form})


@console.page()
def group(request: HttpRequest, member: Membership, group: str) -> HttpResponse:
    """One group: its members, whom it reaches where, and who is connected."""
    return _show(request, member, selectors.group(member.tenant.slug, group))


@console.page("receivers", methods=("GET", "HEAD", "POST"))
def edit(request: HttpRequest, member: Membership, group: str) -> HttpResponse:
    row = selectors.group(member.tenant.slug, group)
    initial = {"title": row.title, "channels": row.channels}
    form = GroupForm(request.POST if request.method == "POST" else None, new=False, initial=initial)
    if form.is_valid():
        try:
            _put(member, group, form)
        except (Invalid, Conflict) as error:
            refuse(form, error)
        else:
            _note(request, member, "group.changed", group)
            notices.success(request, "The group is saved.")
            return _back(member, group)
    return console.show(request, member, "messaging/group_form.html", _SECTION | {"form": form, "row": row})


@console.page("receivers", methods=("POST",))
def subscribe(request: HttpRequest, member: Membership, group: str) -> HttpResponse:
    """One more member, or other channels for one; a mistake is said at the field."""
    row = selectors.group(member.tenant.slug, group)
    form = SubscriptionForm("Receiver", row.channels, request.POST)
    if form.is_valid():
        try:
            services.subscribe(member.tenant.slug, group, form.cleaned_data["other"], form.chosen())
        except (Invalid, Conflict, NotFound) as error:
            refuse(form, error, {"receiver": "other"})
        else:
            _note(request, member, "group.subscribed", group)
            notices.success(request, f"{form.cleaned_data['other']} is a member.")
            return _back(member, group)
    return _show(request, member, row, form)


@console.page("receivers", methods=("POST",))
def unsubscribe(request: HttpRequest, member: Membership, group: str) -> HttpResponse:
    receiver = request.POST.get("receiver", "")
    services.unsubscribe(member.tenant.slug, selectors.group(member.tenant.slug, group).name, receiver)
    _note(request, member, "group.unsubscribed", group)
    notices.success(request, f"{receiver} is no member any more.")
    return _back(member, group)


@console.page("receivers", methods=("GET", "HEAD", "POST"))
def delete(request: HttpRequest, member: Membership, group: str) -> HttpResponse:
    """Asks, saying what will happen; then does it."""
    row = selectors.group(member.tenant.slug, group)
    if request.method == "POST":
        services.delete_group(member.tenant.slug, group)
        _note(request, member, "group.deleted", group)
        notices.success(request, f"{group} is deleted.")
        return redirect("console-groups", member.tenant.slug)
    count = browsing.member_count(member.tenant.slug, row, _COUNTED)
    return console.show(request, member, "messaging/group_delete.html", _SECTION | {"row": row, "count": count})


def _show(
    request: HttpRequest, member: Membership, row: GroupRow, refused: SubscriptionForm | None = None
) -> HttpResponse:
    tenant, cursor, prefix = member.tenant.slug, request.GET.get("cursor"), request.GET.get("name", "")
    context = {
        "row": row,
        "count": browsing.member_count(tenant, row, _COUNTED),
        "reach": _reach(tenant, [row])[row.name],
        "connected": _connected(tenant, row.name),
        "page": browsing.members(tenant, row.name, prefix, cursor, PAGE),
        "cursor": cursor,
        "name": prefix,
        "form": refused or SubscriptionForm("Receiver", row.channels),
        "channel_labels": dict(labels()),
    }
    return console.show(request, member, "messaging/group.html", _SECTION | context, 400 if refused else 200)


def _reach(tenant: str, rows: list[GroupRow]) -> dict[str, dict[str, int] | None]:
    """group -> channel -> how many it reaches there, by the index; None while nobody can tell."""
    names = [row.name for row in rows]
    known = reaching.subscribers(tenant, names, list(channels.registry()), 0)
    return {
        name: {channel: found.count for (group, channel), found in known.items() if group == name and found.count}
        if known
        else None
        for name in names
    }


def _connected(tenant: str, group: str) -> int | None:
    """How many of its members are connected; None while nobody can tell."""
    try:
        return group_presence.count(tenant, group)
    except (RedisError, StoreUnavailable):
        return None


def _put(member: Membership, name: str, form: GroupForm) -> None:
    values = form.cleaned_data
    services.put_group(member.tenant.slug, name, values["title"] or None, values["channels"] or None)


def _note(request: HttpRequest, member: Membership, action: str, group: str) -> None:
    tenants.audit(member.tenant, member.user, action, group, {}, console.ip_of(request))


def _back(member: Membership, group: str) -> HttpResponse:
    return redirect("console-group", member.tenant.slug, group)
