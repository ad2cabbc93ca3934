"""What arrived at the sandbox, asked over HTTP: it runs in a process of its own."""

import json
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import ProxyHandler, build_opener

from django.conf import settings

from sprayer_project.errors import NotFound, StoreUnavailable

TIMEOUT = 5.0
# The sandbox is ours: no proxy of the environment stands before it.
_opener = build_opener(ProxyHandler({}))


def arrived(tenant: str, channel: str, limit: int) -> list[dict[str, Any]]:
    """Newest first. Raises NotFound for a channel without gateway, StoreUnavailable without a sandbox."""
    query = urlencode({"tenant": tenant, "limit": limit})
    try:
        with _opener.open(f"{settings.SANDBOX_URL}/arrived/{quote(channel)}?{query}", timeout=TIMEOUT) as answer:
            rows: list[dict[str, Any]] = json.load(answer)["data"]
            return rows
    except HTTPError as error:
        if error.code != 404:
            raise StoreUnavailable("sandbox", "The sandbox fails: try again.") from error
        error.close()
        raise NotFound("no_gateway", f"Nothing of channel {channel!r} passes through the sandbox.") from error
    except (URLError, OSError) as error:
        raise StoreUnavailable("sandbox", "The sandbox does not run here, or does not answer.") from error
