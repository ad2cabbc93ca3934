"""The canonical text of a URL that a tenant or a receiver gives for webhooks."""

import re
from typing import Any

from yarl import URL

from sprayer_project import outbound

MAX_URL = 2_048
_SCHEMES = ("http", "https")
_host = re.compile(r"[A-Za-z0-9_.-]+|[0-9a-f:.]+")


def canonical(value: Any) -> str:
    """The URL in canonical (encoded) form. Where its host leads is checked at every request, since names change.

    Raises ValueError with a sentence.
    """
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError("A webhook address is a URL, as one line of text.")
    try:
        url = URL(value.strip())
    except ValueError as error:
        raise ValueError("This is not a URL: use http:// or https:// and a host.") from error
    if url.scheme not in _SCHEMES or not _host.fullmatch(url.raw_host or "") or url.port == 0:
        raise ValueError("A webhook address is a URL with http:// or https:// and a host.")
    if url.raw_user is not None or url.raw_password is not None or url.raw_fragment:
        raise ValueError("A webhook address carries no user name, password or #fragment.")
    url = url.with_port(None) if url.is_default_port() else url
    text = str(url if url.raw_path.strip("/") else url.with_path(url.raw_path or "/", keep_query=True))
    if len(text) > MAX_URL:
        raise ValueError(f"A webhook address has at most {MAX_URL:,} characters.")
    return text


def check_literal(url: str) -> None:
    """What can be known of a canonical URL's host without asking anybody. Raises outbound.BlockedAddress."""
    parts = URL(url, encoded=True)
    host, port = parts.raw_host or "", parts.port or 0
    private = host.rstrip(".") == "localhost" or (outbound.looks_like_ip(host) and not outbound.is_public(host))
    if private and not outbound.is_allowed_private(host, port):
        raise outbound.BlockedAddress(host)
