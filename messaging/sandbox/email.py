"""Mailgun's API with its webhooks, played locally, and a mail server beside it (smtp.py).

POST /email/v3/<domain>/messages works as Mailgun does, recipient variables included. The webhooks of a domain are set
to its tenant's callback address, for test messages the one of test mode. The mailbox's local part decides, as
Gateway.magic declares; `bounce+anything@` works like `bounce@`.
"""

import asyncio
import hmac
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiohttp import ClientSession, ClientTimeout, encode_basic_auth, web
from yarl import URL

from messaging.callback_urls import callback_address
from messaging.channels import registry
from messaging.channels.base import Look
from messaging.sandbox.base import Gateway as Base
from messaging.sandbox.base import Magic, Surroundings
from messaging.sandbox.calling_back import call_back
from messaging.sandbox.mailgun import Mail, Refused, Step, api_key_of, copies, failed, tenant_of, webhook
from messaging.sandbox.smtp import MailServer
from messaging.sandbox.smtp import magic as local_part

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
ANSWERS = {
    "quiet": "accepted, and no webhook ever comes",
    "bounce": "accepted, then bounced: no such mailbox",
    "full": "accepted, then bounced: `soft_bounce`",
    "defer": "accepted, delayed, then delivered",
    "suppressed": "accepted, then bounced: it bounced before",
    "reject": "accepted, then failed: rejected",
    "open": "delivered, then opened",
    "click": "delivered, then opened and clicked",
    "complain": "delivered, then complained",
    "unsubscribe": "delivered, then unsubscribed",
    "invalid": "400: not a valid address",
    "limited": "429 with Retry-After: 2",
    "unavailable": "503",
    "status<code>": "that HTTP status",
    "flaky": "503 the first time, then like any other",
    "slow": "accepted after 30 seconds (`slow`), then delivered",
    "drop": "none: the connection is cut",
}
"""What the mailbox with this local part comes to, for people."""
_STATUS = re.compile(r"status([45]\d\d)")
_KEPT = 10_000


class Gateway(Base):
    """Arrivals of the API, one a mail: {"answer", "id", "to", "from", "subject", "text", "html", "headers",
    "variables", "attachments"}; mails of one call share the id. A refused call: {"answer" (0 for none), "to"}."""

    magic = tuple(Magic(f"{word}@...", answer) for word, answer in ANSWERS.items())
    magic_place = "mailbox"

    @classmethod
    def seen(cls, arrival: Mapping[str, Any]) -> tuple[str, Look]:
        title, text, html = (str(arrival.get(name) or "") for name in ("subject", "text", "html"))
        return ", ".join(arrival["to"]), Look(shape="mail", title=title, text=text, html=html)

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
        words = [local_part(address) for address in to]
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
        fates = [(mail, FATES.get(local_part(mail.to), (_DELIVERED,))) for mail in mails]
        for number in range(max(len(steps) for _, steps in fates)):
            await asyncio.sleep(self.control.delay)
            for mail, steps in fates:
                if number < len(steps):
                    await self._post(mail, steps[number])

    async def _post(self, mail: Mail, step: Step) -> None:
        url = URL(callback_address(tenant_of(mail.domain), registry()[self.channel], PROVIDER))
        if mail.variables.get("mode") == "test":
            url = url.with_query(mode="test")
        headers = {"Content-Type": "application/json"}
        await call_back(
            self._session,
            url,
            lambda: {"data": webhook(mail, step), "headers": headers},
            id=mail.id,
            webhook=step.event,
        )


def _authenticate(request: web.Request, domain: str) -> None:
    """Raises Refused unless the caller holds the domain's API key."""
    expected = encode_basic_auth("api", api_key_of(domain))
    if not hmac.compare_digest(request.headers.get("Authorization", "").encode(), expected.encode()):
        raise Refused(401, "Forbidden")
    if not tenant_of(domain):
        raise Refused(404, f"Domain not found: {domain}")
