"""Who may connect: the token, and in a browser the page's origin."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from django.conf import settings

from messaging.realtime import tokens
from messaging.realtime.refusals import BadOrigin, BadToken
from messaging.realtime.tokens import Claims
from tenants import selectors as tenants

Scope = Mapping[str, Any]


def header(scope: Scope, name: bytes) -> str:
    """A request header of an ASGI scope, empty where there is none."""
    return next((value.decode("latin1") for found, value in scope["headers"] if found == name), "")


def query(scope: Scope) -> dict[str, str]:
    """The query's names with their last values."""
    text = scope["query_string"].decode("latin1")
    return {name: values[-1] for name, values in parse_qs(text, keep_blank_values=True).items()}


async def claims(scope: Scope) -> Claims:
    """Who connects. Raises BadOrigin, BadToken and the stores' errors."""
    check_origin(scope)
    found = tokens.verify(_token(scope))
    if not await tenants.atenant_exists(found.tenant):
        raise BadToken("invalid_token", "This is not a token of this server.")
    return found


def check_origin(scope: Scope) -> str:
    """The request's origin, empty where no browser names one. Raises BadOrigin."""
    origin = header(scope, b"origin")
    if origin and "*" not in settings.REALTIME_ORIGINS and origin not in settings.REALTIME_ORIGINS:
        raise BadOrigin("origin_not_allowed", "Pages of this origin may not connect: ask the operators.")
    return origin


def _token(scope: Scope) -> str:
    scheme, _, token = header(scope, b"authorization").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else query(scope).get("token", "")
