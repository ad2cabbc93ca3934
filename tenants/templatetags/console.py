"""Small pieces of the console's visual language."""

from datetime import datetime

from django import template
from django.conf import settings
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString

from tenants.models import User
from tenants.selectors import can_create_tenants

register = template.Library()


@register.simple_tag
def icon(name: str) -> SafeString:
    """A picture of static/icons.svg, for the eye only."""
    return format_html('<svg class="icon" aria-hidden="true"><use href="{}#{}"></use></svg>', static("icons.svg"), name)


@register.simple_tag
def signup_open() -> bool:
    """Whether everybody may sign up here."""
    return bool(settings.SIGNUP)


@register.simple_tag
def may_create(user: User) -> bool:
    """Whether this person may make tenants at the console."""
    return can_create_tenants(user)


@register.simple_tag
def moment(at: datetime | None, otherwise: str = "—") -> SafeString:
    """A time that console.js puts into the viewer's zone; UTC where no script runs."""
    if at is None:
        return format_html('<span class="muted">{}</span>', otherwise)
    return format_html('<time datetime="{}">{} UTC</time>', at.isoformat(), f"{at:%Y-%m-%d %H:%M:%S}")


@register.filter
def told(value: object) -> str:
    """A value of an audit entry's detail, for people."""
    if isinstance(value, dict) and value.keys() == {"from", "to"}:
        return f"{told(value['from'])} → {told(value['to'])}"
    if isinstance(value, list):
        return ", ".join(told(item) for item in value)
    if value is None or value == "":
        return "none"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


@register.simple_tag
def badge(status: str) -> SafeString:
    """A status in its colour."""
    return format_html('<span class="badge status status-{}">{}</span>', status, status)


@register.simple_tag
def mode(name: str) -> SafeString:
    """live or test"""
    return format_html('<span class="chip {}">{}</span>', name, name)
