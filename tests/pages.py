"""Every page of a tenant's console, found from its URLs, with one of everything to look at."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from django.test import Client
from django.urls import reverse

from feedback import services as feedback
from feedback import webhooks
from feedback.events import DeliveryEvent, Status, delivery_id
from feedback.webhooks import Actor
from messaging import composing, errands
from messaging.dead_letters import Chosen
from messaging.services import accept
from sprayer_project.urls import CONSOLE
from subscriptions.inputs import AddressInput
from subscriptions.services import put_group, put_receiver, subscribe
from tenants import selectors
from tenants.models import ApiKey, Invitation, Tenant, User
from tests.conftest import TenantUnderTest

_ASKED = {"console-dead-letter-group": "letters", "console-dead-letter-preview": "letters"}
"""Pages that need to be asked for something, and the sample that stands for it."""


def samples(tenant: TenantUnderTest) -> dict[str, str]:
    """What stands for each variable part of the paths: a new one gets its line here."""
    slug = tenant.slug
    put_receiver(slug, "ann", [AddressInput("sms", "+34600000001")])
    put_group(slug, "news")
    subscribe(slug, "news", "ann", None)
    body = {"to": {"receivers": ["ann"]}, "channels": ["sms"], "content": {"title": "Goal", "body": "Two to one."}}
    message = accept(slug, "test", body).id
    draft = composing.draft(slug, "test", {"to": {}, "content": {}, "overrides": {"email": {"html": "<p>Goal</p>"}}})
    return {
        "message": message,
        "delivery": _failed(slug, message),
        "channel": "email",
        "arrival": "0",
        "name": next(preview.html for preview in draft.previews if preview.html),
        "webhook": webhooks.create(slug, "live", "https://hooks.example.com/", ["delivery.*"], Actor())[0].id,
        "key": str(ApiKey.objects.filter(tenant__slug=slug)[0].pk),
        "receiver": "ann",
        "group": "news",
        "letters": "mode=test&channel=sms&reason=invalid_address&action=replay",
        "errand": errands.begin(slug, "replay", "alice@acme.example", asdict(Chosen("test"))).id,
        "upload": errands.begin(slug, "import", "alice@acme.example", {"file": "a.csv", "rows": 1, "chunks": 1}).id,
        "person": str(selectors.members(slug).exclude(user=tenant.owner)[0].pk),
        "invitation": _invited(tenant),
    }


def paths(slug: str, known: Mapping[str, str]) -> dict[str, str]:
    """Each path by its name. A variable part that samples does not know is a KeyError."""
    found = {}
    for pattern in CONSOLE:
        parts = {part: known[part] for part in pattern.pattern.converters}
        name = str(pattern.name)
        asked = f"?{known[_ASKED[name]]}" if name in _ASKED else ""
        found[name] = reverse(name, kwargs={"tenant": slug, **pattern.default_args, **parts}) + asked
    return found


def client_of(user: User | None) -> Client:
    """Someone who is logged in."""
    assert user is not None
    client = Client()
    client.force_login(user)
    return client


def whole(client: Client, known: Mapping[str, str]) -> dict[str, str]:
    """Of these paths those that are pages: what only changes something, fragments, files and frames are none."""
    answers = {name: client.get(path) for name, path in known.items()}
    return {
        name: known[name]
        for name, answer in answers.items()
        if answer.status_code == 200 and not answer.streaming and b"<html" in answer.content
    }


def _invited(tenant: TenantUnderTest) -> str:
    now = datetime.now(UTC)
    row = Invitation(tenant=Tenant.objects.get(slug=tenant.slug), email="carol@acme.example", role="viewer")
    row.created_by, row.expires_at = tenant.owner, now + timedelta(days=1)
    row.save()
    return str(row.id)


def _failed(slug: str, message: str) -> str:
    identifier = delivery_id(message, "ann", "sms", "h")
    event = DeliveryEvent(
        tenant=slug,
        mode="test",
        message=message,
        delivery=identifier,
        receiver="ann",
        channel="sms",
        status=Status.FAILED,
        at=datetime.now(UTC),
        reason="invalid_address",
        attempt=1,
        address_hash="h",
        address_masked="+34*****001",
        detail={"http_status": 400, "code": 21211},
        expires_at=datetime.now(UTC) + timedelta(hours=1),
    )
    feedback.write([event])
    return identifier
