"""The mail gateway: Mailgun's API with its refusals and webhooks, as its own client and anymail's views see them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientSession, FormData, encode_basic_auth, web
from pytest_django import Settings

from messaging.channels import channel
from messaging.channels.base import BadSignature, Callback
from messaging.sandbox.email import FATES
from messaging.sandbox.mailgun import sandbox_credentials
from messaging.sandbox.server import Sandbox

DOMAIN, KEY, _ = sandbox_credentials("acme")
FIELDS = {"from": f"acme@{DOMAIN}", "to": "alice@example.com", "subject": "Hi", "text": "Hello", "v:mode": "test"}


async def call(
    sandbox: Sandbox, fields: list[tuple[str, str]], domain: str = DOMAIN, login: tuple[str, str] = ("api", KEY)
) -> tuple[int, Any]:
    url, headers = f"{sandbox.url}/email/v3/{domain}/messages", {"Authorization": encode_basic_auth(*login)}
    async with ClientSession() as session, session.post(url, data=FormData(fields), headers=headers) as answer:
        return answer.status, await answer.json()


def form(**changes: str | None) -> list[tuple[str, str]]:
    return [(name, value) for name, value in {**FIELDS, **changes}.items() if value is not None]


@asynccontextmanager
async def listening(settings: Settings, statuses: list[int]) -> AsyncIterator[asyncio.Queue[Callback]]:
    """Somebody at the public URL, who answers these statuses and then 200."""
    heard: asyncio.Queue[Callback] = asyncio.Queue()

    async def hear(request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        tenant, provider = request.match_info["tenant"], request.match_info["provider"]
        url, body = settings.PUBLIC_URL + request.path_qs, await request.read()
        heard.put_nowait(
            Callback(
                tenant=tenant,
                provider=provider,
                method="POST",
                url=url,
                query=dict(request.query),
                headers=headers,
                body=body,
            )
        )
        return web.Response(status=statuses.pop(0) if statuses else 200)

    application = web.Application()
    application.router.add_post("/api/v1/callbacks/{tenant}/email/{provider}", hear)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    settings.PUBLIC_URL = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield heard
    finally:
        await runner.cleanup()


async def test_what_mailgun_requires_is_required(sandbox: Sandbox) -> None:
    for missing in ("from", "to", "text"):
        status, body = await call(sandbox, form(**{missing: None}))
        assert status == 400 and missing in body["message"]
    assert {row["answer"] for row in sandbox.arrivals.newest("email", "acme", 10)} == {400}


async def test_no_one_without_the_domains_key_gets_in(sandbox: Sandbox) -> None:
    stranger = sandbox_credentials("globex")
    for domain, login in ((DOMAIN, ("api", "")), (DOMAIN, ("api", stranger[1])), (stranger[0], ("api", KEY))):
        assert (await call(sandbox, form(), domain, login))[0] == 401


async def test_recipient_variables_make_a_mail_for_each(sandbox: Sandbox) -> None:
    variables = {"a@example.com": {"name": "Ana", "v:id": "1"}, "b@example.com": {"name": "Bea", "v:id": "2"}}
    fields = form(to=None, text="Hello %recipient.name%!", **{"v:id": "%recipient.v:id%"})
    fields += [("to", address) for address in variables] + [("recipient-variables", json.dumps(variables))]
    status, body = await call(sandbox, fields)
    rows = sandbox.arrivals.newest("email", "acme", 10)[::-1]
    assert status == 200 and {row["id"] for row in rows} == {body["id"]}
    assert [(row["to"], row["text"], row["variables"]["id"]) for row in rows] == [
        (["a@example.com"], "Hello Ana!", "1"),
        (["b@example.com"], "Hello Bea!", "2"),
    ]


@pytest.mark.parametrize("name", FATES)
async def test_every_webhook_is_signed_and_anymail_understands_it(
    sandbox: Sandbox, settings: Settings, name: str
) -> None:
    email = channel("email")
    async with listening(settings, []) as heard:
        await call(sandbox, form(to=f"{name}+17@example.com"))
        calls = [await asyncio.wait_for(heard.get(), 5) for _ in FATES[name]]
        assert {(one.tenant, one.provider, one.query.get("mode")) for one in calls} <= {("acme", "mailgun", "test")}
        for one in calls:
            assert email.parse_events(one, email.sandbox_config("acme")) == []  # well signed, about no delivery
            with pytest.raises(BadSignature):
                email.parse_events(one, email.sandbox_config("globex"))


async def test_a_webhook_that_could_not_be_taken_is_repeated(sandbox: Sandbox, settings: Settings) -> None:
    async with listening(settings, [503]) as heard:
        await call(sandbox, form())
        bodies = [json.loads((await asyncio.wait_for(heard.get(), 5)).body) for _ in range(2)]
    assert [body["event-data"]["event"] for body in bodies] == ["delivered", "delivered"]


async def test_webhooks_can_be_turned_off(sandbox: Sandbox, settings: Settings) -> None:
    async with listening(settings, []) as heard:
        sandbox.control.callbacks = False
        await call(sandbox, form())
        sandbox.control.callbacks = True
        await call(sandbox, form(subject="Second"))
        first = json.loads((await asyncio.wait_for(heard.get(), 5)).body)
    assert first["event-data"]["message"]["headers"]["subject"] == "Second"
