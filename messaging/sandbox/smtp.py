"""A mail server that accepts every login and every mail, and refuses by the mailbox's local part.

| local part | reply |
|---|---|
| bounce | 550 5.1.1 to RCPT: no such mailbox |
| full | 552 5.2.2 to RCPT: over quota |
| defer | 451 4.7.1 to RCPT |
| spam | 554 5.7.1 after DATA |
| slow | 250 after DATA and the control's `slow` seconds |
| drop | none: the connection is cut after DATA, nothing is kept |
| anything else | 250 |

`bounce+anything@` works like `bounce@`. The password `wrong` is refused with 535. Mail is filed under the user name.
"""

import asyncio
from collections.abc import Callable
from email import message_from_bytes, policy
from email.message import EmailMessage, Message
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from messaging.sandbox.store import Control

_MAX_MAIL = 4 * 1024 * 1024
_KEPT_TEXT = 64 * 1024
_AT_RCPT = {
    "bounce": "550 5.1.1 There is no such mailbox here",
    "full": "552 5.2.2 The mailbox is full",
    "defer": "451 4.7.1 Come back later",
}
_AFTER_DATA = {"spam": "554 5.7.1 This looks like spam"}


class MailServer:
    """Arrivals: {"from", "to", "subject", "text", "html", "attachments", "headers"}; port is where it listens."""

    def __init__(self, host: str, port: int, control: Control, arrived: Callable[[str, dict[str, Any]], None]):
        self._host, self.port, self._control, self._arrived = host, port, control, arrived
        self._server: asyncio.Server | None = None
        self._sessions: set[asyncio.Transport] = set()

    async def start(self) -> None:
        running = asyncio.get_running_loop()
        self._server = await running.create_server(self._session, self._host, self.port, backlog=512)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server:
            self._server.close()
            for transport in list(self._sessions):
                transport.abort()
            await self._server.wait_closed()
            self._server = None

    def _session(self) -> SMTP:
        return _Server(self, self._sessions)

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if refusal := _AT_RCPT.get(magic(address)):
            return refusal
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        words = {magic(address) for address in envelope.rcpt_tos}
        for word in words & set(_AFTER_DATA):
            return _AFTER_DATA[word]
        if "drop" in words and isinstance(server.transport, asyncio.Transport):
            server.transport.abort()
            return "421 4.3.0 Gone"
        login = session.auth_data
        owner = login.login.decode(errors="replace") if isinstance(login, LoginPassword) else ""
        self._arrived(owner, _parsed(envelope))
        if "slow" in words:
            await asyncio.sleep(self._control.slow)
        return "250 2.0.0 Taken"


class _Server(SMTP):
    """One connection; remembers its transport so that the gateway can end it."""

    def __init__(self, gateway: MailServer, sessions: set[asyncio.Transport]):
        super().__init__(
            gateway,
            data_size_limit=_MAX_MAIL,
            hostname="sandbox",
            ident="Sprayer sandbox",
            authenticator=_log_in,
            auth_require_tls=False,
        )
        self._open = sessions

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if isinstance(transport, asyncio.Transport):
            self._open.add(transport)

    def connection_lost(self, error: Exception | None) -> None:
        if isinstance(self.transport, asyncio.Transport):
            self._open.discard(self.transport)
        super().connection_lost(error)


def _log_in(server: SMTP, session: Session, envelope: Envelope, mechanism: str, login: Any) -> AuthResult:
    accepted = isinstance(login, LoginPassword) and login.password != b"wrong"
    return AuthResult(success=accepted, handled=False, auth_data=login)


def magic(address: str) -> str:
    return address.rpartition("@")[0].partition("+")[0].lower()


def _parsed(envelope: Envelope) -> dict[str, Any]:
    content = envelope.content if isinstance(envelope.content, bytes) else b""
    mail = message_from_bytes(content, _class=EmailMessage, policy=policy.default)
    return {
        "from": envelope.mail_from,
        "to": list(envelope.rcpt_tos),
        "subject": str(mail.get("Subject", "")),
        "text": _part(mail, "plain"),
        "html": _part(mail, "html"),
        "attachments": [_attachment(part) for part in mail.iter_attachments()],
        "headers": {name.lower(): str(value) for name, value in mail.items()},
    }


def _part(mail: EmailMessage, kind: str) -> str | None:
    part = mail.get_body(preferencelist=(kind,))
    return str(part.get_content())[:_KEPT_TEXT] if part else None


def _attachment(part: Message) -> dict[str, Any]:
    content = part.get_payload(decode=True)
    size = len(content) if isinstance(content, bytes) else 0
    return {"name": part.get_filename(), "type": part.get_content_type(), "size": size}
