"""What a message that is being written would be: on each channel, for whom, and as a call of the API."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.cache import cache
from rest_framework.exceptions import ValidationError

from messaging import channels
from messaging.channels.base import DeliveryError, Look, Outgoing
from messaging.dry_run import DryRun, dry_run
from messaging.serializers import MessageSerializer
from sprayer_project.errors import Invalid, TooLarge, as_problem
from sprayer_project.ids import new_id

DAY = 86_400
_HTML_LIFE = 600
"""Seconds for which a frame can fetch the HTML of a mail that is being written."""


@dataclass(frozen=True, slots=True)
class Preview:
    """The message on one channel; facts are the channel's own figures."""

    channel: str
    label: str
    facts: Mapping[str, Any]
    look: Look | None
    refusal: str
    """Why nothing of it would leave; else empty."""
    html: str = ""
    """Under which name draft_html has the HTML of its look."""


@dataclass(frozen=True, slots=True)
class Draft:
    """previews are empty while the message itself is not right; run is None without targets and where it is refused."""

    previews: Sequence[Preview]
    run: DryRun | None
    problems: Sequence[tuple[str, str]]
    """(JSON pointer or empty, sentence): what the API would say to it."""


def draft(tenant: str, mode: str, body: Mapping[str, Any]) -> Draft:
    """body as POST /messages takes it; `to` may still be empty. Raises the stores' errors."""
    run, problems = None, []
    try:
        if body["to"]:
            run = dry_run(tenant, mode, body)
    except (Invalid, ValidationError, TooLarge) as error:
        problems = _said(error)
    try:
        outgoing = _Outgoings(tenant, mode, body)
    except ValidationError as error:
        return Draft([], None, problems or _said(error))
    names = body.get("channels") or (run.channels if run else channels.enabled(tenant, mode))
    return Draft([_preview(outgoing, name) for name in names], run, problems)


def draft_html(tenant: str, name: str) -> str | None:
    """The HTML of a mail that the tenant's people wrote a moment ago."""
    found = cache.get(_key(tenant, name))
    return None if found is None else str(found)


class _Outgoings:
    """The message as adapters would see it. Raises ValidationError."""

    def __init__(self, tenant: str, mode: str, body: Mapping[str, Any]):
        shape = MessageSerializer(data={name: value for name, value in body.items() if name != "to"}, partial=True)
        shape.is_valid(raise_exception=True)
        self.tenant, self._mode, self._values = tenant, mode, shape.validated_data

    def on(self, channel: str) -> Outgoing:
        values, now = self._values, datetime.now(UTC)
        return Outgoing(
            tenant=self.tenant,
            id=new_id("msg", now),
            mode=self._mode,
            content=values.get("content", {}),
            overrides=values.get("overrides", {}).get(channel, {}),
            metadata=values.get("metadata", {}),
            attributes=values.get("attributes", {}),
            priority=values.get("priority", "normal"),
            collapse_key=values.get("collapse_key"),
            created_at=now,
            expires_at=now + timedelta(seconds=values.get("ttl", DAY)),
        )


def _preview(outgoing: _Outgoings, name: str) -> Preview:
    channel, message = channels.channel(name), outgoing.on(name)
    try:
        facts, look = channel.preview(message), channel.look(message)
    except DeliveryError as error:
        return Preview(name, channel.label, {}, None, error.detail)
    return Preview(name, channel.label, facts, look, "", _keep(outgoing.tenant, look.html) if look.html else "")


def _keep(tenant: str, html: str) -> str:
    name = hashlib.sha256(html.encode(errors="replace")).hexdigest()
    cache.set(_key(tenant, name), html, _HTML_LIFE)
    return name


def _key(tenant: str, name: str) -> str:
    return f"{tenant}:draft-html:{name}"


def _said(error: Exception) -> list[tuple[str, str]]:
    problem = as_problem(error)
    return [(found["pointer"], found["detail"]) for found in problem.get("errors", ())] or [("", problem["detail"])]
