"""Twilio's Messages resource and status callbacks, played locally.

Source: https://www.twilio.com/docs/messaging/api/message-resource and
https://www.twilio.com/docs/iam/test-credentials (magic numbers). Beyond Twilio's own magic numbers, To decides:

    +15005550100   accepted, then sent, then delivered, like every number that is not in these tables
    +15005550101   accepted, and nobody ever calls back
    +15005550102   accepted, then sent, then undelivered 30003 (unreachable handset)
    +15005550103   accepted, then sent, then undelivered 30005 (unknown handset)
    +15005550104   accepted, then undelivered 30006 (landline)
    +15005550105   accepted, then failed 30007 (filtered)
    +15005550110   answered after `slow` seconds (PUT /control), then like any other
    +15005550111   429, code 20429, Retry-After: 2
    +15005550112   503
    +15005550113   503 the first time, then like any other
    +15005550114   the connection is reset without an answer
"""

import asyncio
import hmac
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import structlog
from aiohttp import ClientError, ClientSession, ClientTimeout, encode_basic_auth, web
from twilio.request_validator import RequestValidator
from yarl import URL

from messaging.sandbox.base import Gateway as BaseGateway
from messaging.sandbox.twilio import (
    Message,
    Refused,
    account_of,
    callback_form,
    error_answer,
    sandbox_credentials,
    token_of,
)

log = structlog.get_logger(__name__)

FROM_ERRORS = {"+15005550001": 21212, "+15005550007": 21606, "+15005550008": 21611}
TO_ERRORS = {
    "+15005550001": 21211,
    "+15005550002": 21612,
    "+15005550003": 21408,
    "+15005550004": 21610,
    "+15005550009": 21614,
}


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a message that was taken: (status, error code) of each callback."""

    callbacks: tuple[tuple[str, int | None], ...]


DELIVERED = Fate((("sent", None), ("delivered", None)))
FATES = {
    "+15005550101": Fate(()),
    "+15005550102": Fate((("sent", None), ("undelivered", 30003))),
    "+15005550103": Fate((("sent", None), ("undelivered", 30005))),
    "+15005550104": Fate((("undelivered", 30006),)),
    "+15005550105": Fate((("failed", 30007),)),
}
SLOW = "+15005550110"
LIMITED = "+15005550111"
UNAVAILABLE = "+15005550112"
UNAVAILABLE_ONCE = "+15005550113"
RESET = "+15005550114"
_MAX_BODY = 1600
_KEPT, _CALLBACK_TRIES = 10_000, 6


class Gateway(BaseGateway):
    """https://api.twilio.com, as far as Sprayer uses it."""

    _session: ClientSession

    async def start(self) -> None:
        self._session = ClientSession(timeout=ClientTimeout(total=15))
        self._messages: OrderedDict[str, Message] = OrderedDict()
        self._refused_once: OrderedDict[str, None] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()

    def owner(self, tenant: str) -> str:
        return sandbox_credentials(tenant)[0]

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        account = "/2010-04-01/Accounts/{account}"
        return [
            web.post(f"{account}/Messages.json", self._create),
            web.get(f"{account}/Messages/{{sid}}.json", self._fetch),
            web.get(f"{account}.json", self._account),
        ]

    async def _create(self, request: web.Request) -> web.Response:
        try:
            account = _authenticated(request)
            form = {name: str(value) for name, value in (await request.post()).items()}
            unanswered = await self._misbehave(request, form)
            if unanswered is not None:
                return unanswered
            message = _accepted(account, form)
        except Refused as refused:
            return error_answer(refused.code)
        _keep(self._messages, message.sid, message)
        self.arrived(account, {"sid": message.sid, "to": message.to, "from": message.sender, "body": message.body})
        if message.callback and self.control.callbacks:
            task = asyncio.create_task(self._call_back(message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return web.json_response(message.to_json(), status=201)

    async def _fetch(self, request: web.Request) -> web.Response:
        try:
            account = _authenticated(request)
        except Refused as refused:
            return error_answer(refused.code)
        message = self._messages.get(request.match_info["sid"])
        if message is None or message.account != account:
            return error_answer(20404)
        return web.json_response(message.to_json())

    async def _account(self, request: web.Request) -> web.Response:
        try:
            return web.json_response(account_of(_authenticated(request)))
        except Refused as refused:
            return error_answer(refused.code)

    async def _misbehave(self, request: web.Request, form: dict[str, str]) -> web.Response | None:
        """The answer of an address whose provider is in trouble, None to go on."""
        to = form.get("To", "")
        if to == LIMITED:
            return error_answer(20429, {"Retry-After": "2"})
        if to == UNAVAILABLE:
            return _unavailable()
        if to == UNAVAILABLE_ONCE:
            first = form.get("StatusCallback", "") + form.get("Body", "")
            if first not in self._refused_once:
                _keep(self._refused_once, first, None)
                return _unavailable()
        if to == RESET and request.transport is not None:
            request.transport.abort()
            return _unavailable()
        if to == SLOW:
            await asyncio.sleep(self.control.slow)
        return None

    async def _call_back(self, message: Message) -> None:
        for status, code in FATES.get(message.to, DELIVERED).callbacks:
            await asyncio.sleep(self.control.delay)
            message.status, message.error_code = status, code
            await self._post(message)

    async def _post(self, message: Message) -> None:
        """One callback, repeated on 5xx and when nobody listens. The fragment holds Twilio's connection overrides."""
        form = callback_form(message)
        url = message.callback.partition("#")[0]
        signature = RequestValidator(token_of(message.account)).compute_signature(url, form)
        for attempt in range(_CALLBACK_TRIES):
            try:
                headers = {"X-Twilio-Signature": signature}
                async with self._session.post(URL(url, encoded=True), data=form, headers=headers) as answer:
                    if answer.status < 500:
                        return
                    reason = str(answer.status)
            except (ClientError, TimeoutError) as error:
                reason = type(error).__name__
            await asyncio.sleep(0.5 * 2**attempt)
        log.warning("callback given up", sid=message.sid, status=message.status, reason=reason)


def _authenticated(request: web.Request) -> str:
    """The account of the path, whose token the caller holds."""
    account = request.match_info["account"]
    expected = encode_basic_auth(account, token_of(account))
    if not hmac.compare_digest(request.headers.get("Authorization", "").encode(), expected.encode()):
        raise Refused(20003)
    return account


def _accepted(account: str, form: dict[str, str]) -> Message:
    """The message that a request asks for. Raises Refused."""
    to, sender, service = form.get("To", ""), form.get("From", ""), form.get("MessagingServiceSid", "")
    body = form.get("Body", "")
    if not to:
        raise Refused(21604)
    if not sender and not service:
        raise Refused(21603)
    if not body:
        raise Refused(21602)
    if len(body) > _MAX_BODY:
        raise Refused(21617)
    if code := FROM_ERRORS.get(sender) or TO_ERRORS.get(to):
        raise Refused(code)
    return Message(account, to, sender, service, body, form.get("StatusCallback", ""))


def _keep(kept: OrderedDict[str, Any], key: str, value: Any) -> None:
    kept[key] = value
    if len(kept) > _KEPT:
        kept.popitem(last=False)


def _unavailable() -> web.Response:
    return web.Response(status=503, text="Service Unavailable")
