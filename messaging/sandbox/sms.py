"""Twilio's Messages resource and status callbacks, played locally.

Source: https://www.twilio.com/docs/messaging/api/message-resource and
https://www.twilio.com/docs/iam/test-credentials (magic numbers). FATES says what becomes of a number, SENDERS what of a
From; of every other number a message is accepted, then sent, then delivered.
"""

import asyncio
import hmac
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientSession, ClientTimeout, encode_basic_auth, web
from twilio.request_validator import RequestValidator
from yarl import URL

from messaging.channels.base import Look
from messaging.sandbox.base import Gateway as BaseGateway
from messaging.sandbox.base import Magic
from messaging.sandbox.calling_back import call_back
from messaging.sandbox.twilio import (
    DELIVERY_ERRORS,
    ERRORS,
    Message,
    Refused,
    account_of,
    callback_form,
    error_answer,
    page_of,
    sandbox_credentials,
    token_of,
)

Callbacks = tuple[tuple[str, int | None], ...]
"""(status, error code) of each, in their order."""
DELIVERED: Callbacks = (("sent", None), ("delivered", None))


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a request for a message to a number."""

    words: str = ""
    code: int = 0
    """Twilio's error code, which refuses it."""
    status: int = 0
    """A bare HTTP status instead, as of a front end."""
    once: bool = False
    """It is refused the first time only."""
    taken: bool = True
    slow: bool = False
    cut: bool = False
    """The connection is cut instead of an answer."""
    callbacks: Callbacks = DELIVERED

    @property
    def answer(self) -> str:
        if self.words:
            return self.words
        if self.code:
            return "{}, code {}: {}".format(ERRORS[self.code][0], self.code, ERRORS[self.code][1].rstrip("."))
        told = [f"{word} {code} ({DELIVERY_ERRORS[code]})" if code else word for word, code in self.callbacks]
        return "accepted, then " + ", then ".join(told)


FATES: Mapping[str, Fate] = {
    "+15005550001": Fate(code=21211),
    "+15005550002": Fate(code=21612),
    "+15005550003": Fate(code=21408),
    "+15005550004": Fate(code=21610),
    "+15005550009": Fate(code=21614),
    "+15005550010": Fate(code=21608),
    "+15005550011": Fate(code=21617),
    "+15005550101": Fate("accepted, and nobody ever calls back", callbacks=()),
    "+15005550102": Fate(callbacks=(("sent", None), ("undelivered", 30003))),
    "+15005550103": Fate(callbacks=(("sent", None), ("undelivered", 30005))),
    "+15005550104": Fate(callbacks=(("undelivered", 30006),)),
    "+15005550105": Fate(callbacks=(("failed", 30007),)),
    "+15005550106": Fate(callbacks=(("sent", None), ("undelivered", 30004))),
    "+15005550107": Fate(callbacks=(("sent", None), ("undelivered", 30008))),
    "+15005550108": Fate(callbacks=(("failed", 30001),)),
    "+15005550109": Fate(callbacks=(("failed", 21610),)),
    "+15005550110": Fate("accepted after 30 seconds (`slow`), then sent, then delivered", slow=True),
    "+15005550111": Fate("429, code 20429, Retry-After: 2", code=20429),
    "+15005550112": Fate("503", status=503),
    "+15005550113": Fate("503 the first time, then like any other", status=503, once=True),
    "+15005550114": Fate("the connection is cut without an answer", taken=False, cut=True),
    "+15005550115": Fate("accepted, then the connection is cut without an answer", cut=True),
    "+15005550116": Fate("504", status=504),
}
SENDERS: Mapping[str, Fate] = {
    "+15005550001": Fate(code=21212),
    "+15005550007": Fate(code=21606),
    "+15005550008": Fate(code=21611),
}
_ORDINARY = Fate()
_MAX_BODY = 1600
_KEPT = 10_000


class Gateway(BaseGateway):
    """https://api.twilio.com, as far as Sprayer uses it.

    Arrivals, refused ones too: {"sid" (empty where refused), "to", "from", "body", "answer" (HTTP status, 0 for none),
    "code" (Twilio's, or null)}.
    """

    magic = (
        *(Magic(number, fate.answer) for number, fate in FATES.items()),
        *(Magic(f"from {number}", fate.answer) for number, fate in SENDERS.items()),
    )
    magic_place = "number"
    _session: ClientSession

    @classmethod
    def seen(cls, arrival: Mapping[str, Any]) -> tuple[str, Look]:
        return str(arrival["to"]), Look(shape="text", text=str(arrival["body"]))

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
            web.get(f"{account}/Messages.json", self._list),
            web.get(f"{account}/Messages/{{sid}}.json", self._fetch),
            web.get(f"{account}.json", self._account),
        ]

    async def _create(self, request: web.Request) -> web.Response:
        try:
            account = _authenticated(request)
        except Refused as refused:
            return error_answer(refused.code)
        form = {name: str(value) for name, value in (await request.post()).items()}
        fate = FATES.get(form.get("To", ""), _ORDINARY)
        if fate.slow:
            await asyncio.sleep(self.control.slow)
        status, code = self._refusal(form, fate)
        message = _message(account, form) if not status and fate.taken else None
        said = {"to": form.get("To", ""), "from": form.get("From", ""), "body": form.get("Body", "")}
        answer = 0 if fate.cut and not status else status or 201
        self.arrived(account, {"sid": message.sid if message else "", **said, "answer": answer, "code": code or None})
        if message:
            self._keep_and_call_back(message, fate)
        if not answer and request.transport is not None:
            request.transport.abort()
        if code:
            return error_answer(code, {"Retry-After": "2"} if code == 20429 else None)
        return web.json_response(message.to_json(), status=201) if message else web.Response(status=status or 503)

    def _refusal(self, form: Mapping[str, str], fate: Fate) -> tuple[int, int]:
        """HTTP status and Twilio's code of the answer that refuses a request; zeros where it is taken."""
        if fate.once:
            first = form.get("StatusCallback", "") + form.get("Body", "")
            if first in self._refused_once:
                fate = _ORDINARY
            _keep(self._refused_once, first, None)
        if fate.status:
            return fate.status, 0
        code = _missing(form) or SENDERS.get(form.get("From", ""), _ORDINARY).code or fate.code
        return (ERRORS[code][0], code) if code else (0, 0)

    def put(self, message: Message) -> str:
        """A message that is there from now on, whoever sent it; its SID."""
        _keep(self._messages, message.sid, message)
        return message.sid

    def _keep_and_call_back(self, message: Message, fate: Fate) -> None:
        self.put(message)
        if message.callback and self.control.callbacks:
            task = asyncio.create_task(self._call_back(message, fate.callbacks))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _fetch(self, request: web.Request) -> web.Response:
        try:
            account = _authenticated(request)
        except Refused as refused:
            return error_answer(refused.code)
        message = self._messages.get(request.match_info["sid"])
        if message is None or message.account != account:
            return error_answer(20404)
        return web.json_response(message.to_json())

    async def _list(self, request: web.Request) -> web.Response:
        """Newest first, with Twilio's filters To and From."""
        try:
            account = _authenticated(request)
        except Refused as refused:
            return error_answer(refused.code)
        asked = request.query
        found = [
            message
            for message in reversed(self._messages.values())
            if message.account == account
            and asked.get("To", message.to) == message.to
            and asked.get("From", message.sender) == message.sender
        ]
        size, page = min(1_000, _number(asked.get("PageSize"), 50)), _number(asked.get("Page"), 0)
        return web.json_response(page_of(found, request.path_qs.removeprefix(f"/{self.channel}"), page, size))

    async def _account(self, request: web.Request) -> web.Response:
        try:
            return web.json_response(account_of(_authenticated(request)))
        except Refused as refused:
            return error_answer(refused.code)

    async def _call_back(self, message: Message, callbacks: Callbacks) -> None:
        for status, code in callbacks:
            await asyncio.sleep(self.control.delay)
            message.status, message.error_code = status, code
            await self._post(message)

    async def _post(self, message: Message) -> None:
        """The fragment of the callback's URL holds Twilio's connection overrides."""
        form = callback_form(message)
        url = message.callback.partition("#")[0]
        headers = {"X-Twilio-Signature": RequestValidator(token_of(message.account)).compute_signature(url, form)}
        about = {"sid": message.sid, "status": message.status}
        await call_back(self._session, URL(url, encoded=True), lambda: {"data": form, "headers": headers}, **about)


def _authenticated(request: web.Request) -> str:
    """The account of the path, whose token the caller holds."""
    account = request.match_info["account"]
    expected = encode_basic_auth(account, token_of(account))
    if not hmac.compare_digest(request.headers.get("Authorization", "").encode(), expected.encode()):
        raise Refused(20003)
    return account


def _missing(form: Mapping[str, str]) -> int:
    """Twilio's code for what a request lacks, 0 for nothing."""
    if not form.get("To"):
        return 21604
    if not form.get("From") and not form.get("MessagingServiceSid"):
        return 21603
    if not form.get("Body"):
        return 21602
    return 21617 if len(form["Body"]) > _MAX_BODY else 0


def _message(account: str, form: Mapping[str, str]) -> Message:
    return Message(
        account=account,
        to=form["To"],
        sender=form.get("From", ""),
        service=form.get("MessagingServiceSid", ""),
        body=form["Body"],
        callback=form.get("StatusCallback", ""),
    )


def _number(text: str | None, default: int) -> int:
    return int(text) if text and text.isdecimal() and len(text) < 9 else default


def _keep(kept: OrderedDict[str, Any], key: str, value: Any) -> None:
    kept[key] = value
    if len(kept) > _KEPT:
        kept.popitem(last=False)
