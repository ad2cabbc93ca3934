"""E-mail over SMTP or any django-anymail provider: whoever shares a call, nobody sees another's address."""

import asyncio
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from django.conf import settings

from feedback.events import DeliveryEvent, Status
from messaging import mail, mail_connections, mail_probe, mail_sending, mail_tracking
from messaging.channels.base import OPTED_OUT, Callback, Channel, DeliveryError, Look, Outcome, Outgoing, Recipient
from messaging.esps import ESPS
from messaging.mail_attachments import attachments_of
from messaging.mail_forms import EmailConfig, EmailContent
from messaging.sandbox.mailgun import sandbox_credentials
from messaging.senders import untried

T = TypeVar("T")
_LANES, _PER_LANE = 8, 10
_threads = ThreadPoolExecutor(32, thread_name_prefix="mail")


@dataclass(frozen=True, slots=True)
class _Work:
    """What the lanes of one call share."""

    config: Mapping[str, Any]
    message: Outgoing
    files: Sequence[mail.File]
    gateway: str | None
    todo: deque[list[Recipient]]
    end: float
    """Monotonic seconds after which no call starts: it could outlast the claim, and another would send again."""
    done: asyncio.Queue[Outcome | None] = field(default_factory=asyncio.Queue)


class Email(Channel):
    label = "E-mail"
    settles_at = Status.DELIVERED
    address_kind = "mailbox"
    Config = EmailConfig
    Content = EmailContent
    repeat_unknown = False
    providers = tuple(ESPS)
    retires = frozenset({"invalid_address", "bounced", "complained", OPTED_OUT, "unsubscribed"})
    lasting = frozenset({"complained", OPTED_OUT})

    def clean_address(self, value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError("An e-mail address is a text like alice@example.com.")
        return mail.mailbox(value)

    def mask_address(self, address: str) -> str:
        local, _, domain = address.rpartition("@")
        return f"{local[:1]}***@{domain}"

    def sandbox_config(self, tenant: str) -> Mapping[str, Any]:
        domain, api_key, signing_key = sandbox_credentials(tenant)
        sender = {"from_email": f"{tenant}@{domain}", "sender_domain": domain}
        return {"provider": "mailgun", "api_key": api_key, "webhook_secret": signing_key, **sender}

    def sandbox_address(self, name: str) -> str:
        return f"{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-') or 'anyone'}@example.com"

    def preview(self, message: Outgoing) -> Mapping[str, Any]:
        return mail.preview(message)

    def look(self, message: Outgoing) -> Look:
        return mail.look(message)

    async def check(self, config: Mapping[str, Any]) -> None:
        """Over SMTP a log-in; of a provider's API a call that only asks, or a mail to nobody."""
        await _in_thread(mail_probe.try_out, config)

    async def send(
        self, config: Mapping[str, Any], message: Outgoing, recipients: Sequence[Recipient]
    ) -> AsyncIterator[Outcome]:
        """As few calls as the provider allows, over up to eight connections."""
        mail.check_words(message)
        end = time.monotonic() + max(settings.CLAIM_LEASE - 2 * mail_connections.TIMEOUT, mail_connections.TIMEOUT / 5)
        files = await attachments_of(message)
        alike = not mail.headers_differ(config, message, recipients)
        todo = deque(mail_sending.batches(config, recipients, alike, bool(files)))
        gateway = f"{settings.SANDBOX_URL}/{self.name}" if message.mode == "test" else None
        work = _Work(config, message, files, gateway, todo, end)
        count = min(_LANES, -(-len(todo) // _PER_LANE))
        lanes = [asyncio.create_task(_lane(work)) for _ in range(count)]
        missing = len(recipients)
        try:
            while count:
                if outcome := await work.done.get():
                    missing -= 1
                    yield outcome
                else:
                    count -= 1
        finally:
            todo.clear()  # whoever stops listening lets the mails in hand finish, and no more
            ended = await asyncio.gather(*lanes, return_exceptions=True)
        if missing:
            raise next(error for error in ended if error is not None)

    def parse_events(self, callback: Callback, config: Mapping[str, Any]) -> list[DeliveryEvent]:
        return mail_tracking.events(self.name, callback, config)


async def _lane(work: _Work) -> None:
    connection = mail_connections.connection(work.config, work.gateway)
    try:
        while work.todo:
            if time.monotonic() > work.end:
                raise DeliveryError("provider_slow", detail="The provider is too slow for so many mails at once.")
            await _in_thread(mail_connections.open_connection, connection)
            if work.todo:
                for outcome in await _send(work, connection, work.todo.popleft()):
                    work.done.put_nowait(outcome)
    finally:
        await _in_thread(mail_connections.close_connection, connection)
        work.done.put_nowait(None)


async def _send(work: _Work, connection: Any, recipients: list[Recipient]) -> Sequence[Outcome]:
    """None yet, where the provider refuses these together: both halves are tried, down to the one that is wrong."""
    if any(map(work.message.given_up, recipients)):
        return list(map(untried, recipients))
    try:
        return await _in_thread(mail_sending.deliver, connection, work.config, work.message, recipients, work.files)
    except mail_sending.RefusedTogether:
        middle = len(recipients) // 2
        work.todo.extend((recipients[:middle], recipients[middle:]))
        return ()


async def _in_thread(function: Callable[..., T], *arguments: Any) -> T:
    return await asyncio.get_running_loop().run_in_executor(_threads, function, *arguments)
