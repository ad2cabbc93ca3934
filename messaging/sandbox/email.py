"""Mailgun's API with its webhooks, played locally, and a mail server beside it (smtp.py).

POST /email/v3/<domain>/messages works as Mailgun does, recipient variables included. The webhooks of a domain are set
to its tenant's callback address, for test messages the one of test mode. The mailbox's local part decides:

    anything else   accepted, then delivered
    quiet           accepted, and nobody ever calls back
    bounce          accepted, then bounced for good: 550 5.1.1
    full            accepted, then bounced: 552 5.2.2, which says nothing of the next mail
    defer           accepted, delayed: 451 4.7.1, then delivered
    suppressed      accepted, then not sent: it bounced before
    reject          accepted, then rejected
    open, click     accepted, delivered, opened (and clicked)
    complain        accepted, delivered, then reported as spam
    unsubscribe     accepted, delivered, then unsubscribed
    invalid         the whole call is refused: 400, not a valid address
    limited         the whole call is refused: 429, Retry-After: 2
    unavailable     the whole call is refused: 503
    status<code>    the whole call is answered with that HTTP status
    flaky           503 the first time, then like any other
    slow            answered after `slow` seconds (PUT /control), then like any other
    drop            the connection is reset without an answer

`bounce+anything@` works like `bounce@`.
"""

import asyncio
import hmac
import re
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

import structlog
from aiohttp import ClientError, ClientSession, ClientTimeout, encode_basic_auth, web

from messaging.callback_urls import callback_address
from messaging.channels import registry
from messaging.sandbox.base import Gateway as Base
from messaging.sandbox.base import Surroundings
from messaging.sandbox.mailgun import Mail, Refused, Step, api_key_of, copies, failed, tenant_of, webhook
from messaging.sandbox.smtp import MailServer, magic

log = structlog.get_logger(__name__)

PROVIDER = "mailgun"
_DELIVERED = Step("delivered", {"delivery-status": {"code": 250, "message": "OK", "attempt-no": 1}})
_OPENED = Step("opened", {"client-info": {"user-agent": "Sandbox/1"}})
FATES = {
    "quiet": (),
    "bounce": (failed("permanent", "bounce", 550, "5.1.1", "hard", "5.1.1 There is no such mailbox here"),),
    "full": (failed("permanent", "bounce", 552, "5.2.2", "soft", "5.2.2 The mailbox is full"),),
    "defer": (failed("temporary", "generic", 451, "4.7.1", "soft", "4.7.1 Come back later"), _DELIVERED),
    "suppressed": (failed("permanent", "suppress-bounce", 605, "", "hard", "It bounced before"),),
    "reject": (Step("rejected", {"reject": {"reason": "The account is disabled"}, "log-level": "warn"}),),
    "open": (_DELIVERED, _OPENED),
    "click": (_DELIVERED, _OPENED, Step("clicked", {"url": "https://example.com/offer"})),
    "complain": (_DELIVERED, Step("complained", {"log-level": "warn"})),
    "unsubscribe": (_DELIVERED, Step("unsubscribed", {"log-level": "warn"})),
}
"""What becomes of a mail that was taken."""
REFUSALS = {
    "invalid": Refused(400, "'to' parameter is not a valid address. please check documentation"),
    "limited": Refused(429, "Too many requests: try again later", retry_after=2),
    "unavailable": Refused(503, "Service Unavailable"),
}
_STATUS = re.compile(r"status([45]\d\d)")
_KEPT, _CALLBACK_TRIES = 10_000, 6


class Gateway(Base):
    """Arrivals of the API, one a mail: {"answer", "id", "to", "from", "subject", "text", "html", "headers",
    "variables", "attachments"}; mails of one call share the id. A refused call: {"answer" (0 for none), "to"}."""

    _session: ClientSession

    def __init__(self, channel: str, surroundings: Surroundings):
        super().__init__(channel, surroundings)
        self._smtp = MailServer(self.host, self.smtp_port, self.control, self.arrived)

    async def start(self) -> None:
        self._session = ClientSession(timeout=ClientTimeout(total=15))
        self._refused_once: OrderedDict[str, None] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        try:
            await self._smtp.start()
        except OSError:
            await self._session.close()
            raise

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()
        await self._smtp.stop()

    def describe(self, base: str) -> dict[str, Any]:
        return super().describe(base) | {"smtp": f"smtp://{self.host}:{self._smtp.port}"}

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        return [web.post("/v3/{domain}/messages", self._create)]

    async def _create(self, request: web.Request) -> web.Response:
        to: list[str] = []
        domain = request.match_info["domain"]
        try:
            _authenticate(request, domain)
            posted = await request.post()
            form = {name: value for name, value in posted.items() if isinstance(value, str)}
            files = tuple(
                {"name": file.filename, "type": file.content_type, "size": len(file.file.read())}
                for file in posted.getall("attachment", [])
                if isinstance(file, web.FileField)
            )
            to = [str(address) for address in posted.getall("to", [])]
            await self._misbehave(request, form, to)
            mails = copies(domain, form, to, files)
        except Refused as refused:
            self.arrived(tenant_of(domain), {"answer": refused.status, "to": to})
            headers = {"Retry-After": str(refused.retry_after)} if refused.retry_after else None
            return web.json_response({"message": refused.message}, status=refused.status or 503, headers=headers)
        for mail in mails:
            self.arrived(tenant_of(domain), {"answer": 200} | mail.arrival())
        if self.control.callbacks:
            self._later(mails)
        return web.json_response({"id": mails[0].id, "message": "Queued. Thank you."})

    async def _misbehave(self, request: web.Request, form: dict[str, str], to: Sequence[str]) -> None:
        """What one mailbox does to the whole call. Raises Refused."""
        words = [magic(address) for address in to]
        for word in words:
            if word in REFUSALS:
                raise REFUSALS[word]
            if found := _STATUS.fullmatch(word):
                raise Refused(int(found[1]), "As you wish")
        if "flaky" in words:
            key = form.get("v:delivery", "") + form.get("recipient-variables", "")
            if key not in self._refused_once:
                self._refused_once[key] = None
                if len(self._refused_once) > _KEPT:
                    self._refused_once.popitem(last=False)
                raise REFUSALS["unavailable"]
        if "drop" in words and request.transport is not None:
            request.transport.abort()
            raise Refused(0, "")
        if "slow" in words:
            await asyncio.sleep(self.control.slow)

    def _later(self, mails: Sequence[Mail]) -> None:
        task = asyncio.create_task(self._call_back(mails))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _call_back(self, mails: Sequence[Mail]) -> None:
        """Every mail's first webhook, then every mail's second ..."""
        fates = [(mail, FATES.get(magic(mail.to), (_DELIVERED,))) for mail in mails]
        for number in range(max(len(steps) for _, steps in fates)):
            await asyncio.sleep(self.control.delay)
            for mail, steps in fates:
                if number < len(steps):
                    await self._post(mail, steps[number])

    async def _post(self, mail: Mail, step: Step) -> None:
        """One webhook, repeated on 5xx and when nobody listens."""
        url = callback_address(tenant_of(mail.domain), registry()[self.channel], PROVIDER)
        query = {"mode": "test"} if mail.variables.get("mode") == "test" else {}
        for attempt in range(_CALLBACK_TRIES):
            body, headers = webhook(mail, step), {"Content-Type": "application/json"}
            try:
                async with self._session.post(url, data=body, params=query, headers=headers) as answer:
                    if answer.status < 500:
                        return
                    reason = str(answer.status)
            except (ClientError, TimeoutError) as error:
                reason = type(error).__name__
            await asyncio.sleep(0.5 * 2**attempt)
        log.warning("callback given up", id=mail.id, webhook=step.event, reason=reason)


def _authenticate(request: web.Request, domain: str) -> None:
    """Raises Refused unless the caller holds the domain's API key."""
    expected = encode_basic_auth("api", api_key_of(domain))
    if not hmac.compare_digest(request.headers.get("Authorization", "").encode(), expected.encode()):
        raise Refused(401, "Forbidden")
    if not tenant_of(domain):
        raise Refused(404, f"Domain not found: {domain}")
