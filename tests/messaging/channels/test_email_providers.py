"""Every provider's own batch over HTTP: who shares a call, what each of them gets, what its answer means for him."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from pytest_django import Settings

from feedback.events import Status
from messaging.channels import channel
from messaging.channels.base import Outcome
from messaging.esps import ESPS
from messaging.mail_reference import from_metadata
from messaging.mail_sending import batches
from tests.messaging.sending import mail_provider, outcomes, outgoing, recipient

ADDRESSES = [f"r{number}@example.com" for number in range(3)]
CONFIG = {"from_email": "shop@example.com", "api_key": "key", "api_secret": "secret", "sender_domain": "example.com"}
Mails = list[tuple[str, Mapping[str, str], Mapping[str, Any]]]
"""(to, metadata, headers) of each mail of a call"""


def _brevo(body: Any) -> tuple[Mails, Any]:
    versions = body.get("messageVersions") or [body]
    mails = [(one["to"], one.get("headers") or body.get("headers")) for one in versions]
    found = [(to["email"], json.loads(headers["X-Mailin-custom"]), headers) for (to,), headers in mails]
    return found, {"messageIds": [f"id-{to}" for to, *_ in found]}


def _mailersend(body: Any) -> tuple[Mails, Any]:
    ((to,),) = [body["to"]]
    return [(to["email"], {}, {})], None


def _mailjet(body: Any) -> tuple[Mails, Any]:
    shared = body["Globals"]
    found = [
        (one["To"][0]["Email"], json.loads(one["EventPayload"]), one.get("Headers") or shared.get("Headers") or {})
        for one in body["Messages"]
    ]
    sent = [{"Status": "success", "To": [{"Email": to, "MessageID": f"id-{to}"}]} for to, *_ in found]
    return found, {"Messages": sent}


def _mailtrap(body: Any) -> tuple[Mails, Any]:
    base = body.get("base", {})
    found = [
        (one["to"][0]["email"], one["custom_variables"], one.get("headers") or base.get("headers") or {})
        for one in body["requests"]
    ]
    sent = [{"success": True, "message_ids": [f"id-{to}"]} for to, *_ in found]
    return found, {"success": True, "responses": sent}


def _mandrill(body: Any) -> tuple[Mails, Any]:
    message = body["message"]
    assert message.get("preserve_recipients") is False or len(message["to"]) == 1
    kept = {one["rcpt"]: one["values"] for one in message.get("recipient_metadata", [])}
    found = [(one["email"], kept.get(one["email"]) or message["metadata"], message["headers"]) for one in message["to"]]
    return found, [{"email": to, "status": "sent", "_id": f"id-{to}"} for to, *_ in found]


def _resend(body: Any) -> tuple[Mails, Any]:
    found = [(one["to"][0], json.loads(one["headers"]["X-Metadata"]), one["headers"]) for one in body]
    return found, {"data": [{"id": f"id-{to}"} for to, *_ in found]}


def _sparkpost(body: Any) -> tuple[Mails, Any]:
    headers = body["content"].get("headers", {})
    found = [
        (one["address"]["email"], one["metadata"], headers | {"own": json.dumps(one.get("substitution_data", {}))})
        for one in body["recipients"]
    ]
    assert all(one["address"].get("header_to") in (None, one["address"]["email"]) for one in body["recipients"])
    return found, {"results": {"id": "id-all", "total_accepted_recipients": len(found), "total_rejected_recipients": 0}}


APIS: Mapping[str, Callable[[Any], tuple[Mails, Any]]] = {
    "brevo": _brevo,
    "mailersend": _mailersend,
    "mailjet": _mailjet,
    "mailtrap": _mailtrap,
    "mandrill": _mandrill,
    "resend": _resend,
    "sparkpost": _sparkpost,
}
"""A request's JSON -> its mails, and the provider's answer. Mailgun's and Postmark's are tested beside their own."""


@asynccontextmanager
async def api(provider: str, settings: Settings) -> AsyncIterator[list[Mails]]:
    """The provider's API: yields the mails of each call."""
    calls: list[Mails] = []

    async def handle(request: web.Request) -> web.Response:
        mails, answer = APIS[provider](await request.json())
        calls.append(mails)
        if answer is None:
            return web.Response(status=202, headers={"X-Message-Id": f"id-{mails[0][0]}"}, content_type="text/html")
        return web.json_response(answer)

    application = web.Application()
    application.router.add_post("/{path:.*}", handle)
    async with mail_provider(provider, application, settings):
        yield calls


async def sent(provider: str, **overrides: Any) -> tuple[dict[str, str], dict[str, Outcome]]:
    """Delivery ids and outcomes by address."""
    email, message = channel("email"), outgoing(mode="live", overrides=overrides)
    targets = {one: replace(recipient(email, message, one, one), group="news") for one in ADDRESSES}
    found = {
        one.delivery: one
        for one in await outcomes(email, CONFIG | {"provider": provider}, message, [*targets.values()])
    }
    return {one: to.delivery for one, to in targets.items()}, {one: found[to.delivery] for one, to in targets.items()}


@pytest.mark.parametrize("unsubscribe", [True, False])
@pytest.mark.parametrize("provider", APIS)
async def test_each_recipient_of_a_call_has_a_mail_of_his_own(
    provider: str, unsubscribe: bool, settings: Settings
) -> None:
    esp = ESPS[provider]
    async with api(provider, settings) as calls:
        deliveries, found = await sent(provider, unsubscribe=unsubscribe, headers={"X-Campaign": "spring sale"})
    together = esp.batch and (esp.batch_headers or not unsubscribe)
    assert [len(mails) for mails in calls] == ([3] if together else [1, 1, 1])
    mails = {to: (metadata, headers) for call in calls for to, metadata, headers in call}
    assert sorted(mails) == ADDRESSES
    for address, (metadata, headers) in mails.items():
        if esp.keeps_metadata:
            reference = from_metadata("acme", "live", metadata)
            assert reference is not None and reference.delivery == deliveries[address]
            assert "spring sale" in json.dumps(headers)
        links = {json.dumps(headers) for _, headers in mails.values() if "unsubscribe" in json.dumps(headers)}
        assert len(links) == (3 if unsubscribe and esp.takes_headers else 0)
        assert not [other for other in ADDRESSES if other != address and other in json.dumps([metadata, headers])]
    assert {one.status for one in found.values()} == {Status.SENT}
    ids = {address: one.provider_id for address, one in found.items()}
    assert ids == {address: "id-all" if esp.shared_id else f"id-{address}" for address in ADDRESSES}


@pytest.mark.parametrize(
    ("provider", "alike", "files", "sizes"),
    [
        ("smtp", True, False, [1] * 120),
        ("mailersend", True, False, [1] * 120),
        ("mailjet", True, False, [50, 50, 20]),
        ("resend", False, False, [100, 20]),
        ("resend", False, True, [1] * 120),
        ("postmark", True, True, [1] * 120),
        ("mailgun", False, True, [120]),
        ("mandrill", True, True, [120]),
        ("mandrill", False, False, [1] * 120),
    ],
)
def test_a_call_has_as_many_recipients_as_its_provider_takes(
    provider: str, alike: bool, files: bool, sizes: list[int]
) -> None:
    email, message = channel("email"), outgoing()
    targets = [recipient(email, message, f"r{number}", f"r{number}@example.com") for number in range(120)]
    made = batches({"provider": provider}, targets, alike, files)
    assert [len(batch) for batch in made] == sizes
    assert [one for batch in made for one in batch] == targets
