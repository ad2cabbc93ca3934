from typing import Any

from aiohttp import ClientSession, encode_basic_auth

from messaging.sandbox.server import Sandbox
from messaging.sandbox.twilio import sandbox_credentials

FORM = {"To": "+34600000001", "From": "+15005550006", "Body": "Hello"}


async def call(
    sandbox: Sandbox, method: str, path: str, form: dict[str, str] | None = None, **options: Any
) -> tuple[int, Any]:
    sid, token = sandbox_credentials("acme")
    options.setdefault("headers", {"Authorization": encode_basic_auth(sid, token)})
    url = f"{sandbox.url}/sms/2010-04-01/Accounts/{sid}/{path}"
    async with ClientSession() as session, session.request(method, url, data=form, **options) as answer:
        return answer.status, await answer.json()


async def test_a_message_is_created_and_can_be_fetched(sandbox: Sandbox) -> None:
    status, made = await call(sandbox, "POST", "Messages.json", FORM)
    assert status == 201
    assert (made["status"], made["to"], made["num_segments"]) == ("queued", "+34600000001", "1")
    status, fetched = await call(sandbox, "GET", f"Messages/{made['sid']}.json")
    assert (status, fetched["sid"]) == (200, made["sid"])


async def test_no_one_without_the_accounts_token_gets_in(sandbox: Sandbox) -> None:
    own, stranger = sandbox_credentials("acme"), sandbox_credentials("globex")
    for login in (("", ""), (own[0], "wrong"), stranger, (own[0], stranger[1])):
        headers = {"Authorization": encode_basic_auth(*login)}
        status, body = await call(sandbox, "POST", "Messages.json", FORM, headers=headers)
        assert (status, body["code"]) == (401, 20003)
    assert sandbox.arrivals.newest("sms", None, 10) == []


async def test_what_twilio_requires_is_required(sandbox: Sandbox) -> None:
    for missing, code in (("To", 21604), ("From", 21603), ("Body", 21602)):
        form = {name: value for name, value in FORM.items() if name != missing}
        status, body = await call(sandbox, "POST", "Messages.json", form)
        assert (status, body["code"]) == (400, code)
        assert body["more_info"] == f"https://www.twilio.com/docs/errors/{code}"


async def test_an_unknown_message_is_not_found(sandbox: Sandbox) -> None:
    assert await call(sandbox, "GET", "Messages/SM0.json") == (
        404,
        {
            "code": 20404,
            "message": "The requested resource was not found",
            "more_info": "https://www.twilio.com/docs/errors/20404",
            "status": 404,
        },
    )
