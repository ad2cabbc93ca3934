"""Google's OAuth2 access tokens for service accounts: kept until shortly before their end, one refresh at a time.

https://developers.google.com/identity/protocols/oauth2/service-account#httprest
"""

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import Any

from google.auth.credentials import TokenState
from google.auth.exceptions import RefreshError, TransportError
from google.auth.transport.requests import Request
from google.oauth2.service_account import Credentials
from requests import Session

from messaging.channels.base import DeliveryError

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
TOKEN_TIMEOUT = 10.0
RENEWAL_PAUSE = 60.0
"""Seconds in which a refused access token is replaced once: a refused account must not flood the token endpoint."""
_ACCOUNTS, _THREADS, _LOOK = 1_000, 4, 1.0


class Account:
    """A service account's access token: one refresh at a time, whoever asks, and its failure is everybody's."""

    def __init__(self, document: Mapping[str, Any], token_url: str, threads: Executor):
        # Named one by one: nothing else in a tenant's document (token_uri, universe_domain) may lead anywhere.
        names = ("client_email", "private_key", "private_key_id", "project_id")
        self._info = {name: document[name] for name in names if name in document} | {"token_uri": token_url}
        self._threads = threads
        self._held: Credentials | None = None
        self._refresh: asyncio.Task[None] | None = None
        self._renewed = self._looked = float("-inf")

    @property
    def held(self) -> str:
        """The token, while it has some minutes left and is not being renewed; otherwise empty: ask for it."""
        if self._refresh is not None and not self._refresh.done():
            return ""
        return str(self._held.token) if self._held and self._is_fresh(self._held) else ""

    async def token(self, refused: str = "") -> str:
        """A token with some minutes left; another than the refused one, unless that has just been tried.

        Raises DeliveryError when Google refuses the account (permanent) or does not answer.
        """
        if self._refresh is None or self._refresh.done():
            held = self._held
            if held and held.token == refused:
                if time.monotonic() - self._renewed < RENEWAL_PAUSE:
                    return refused
                self._renewed = time.monotonic()
            elif fresh := self.held:
                return fresh
            self._refresh = asyncio.create_task(self._renew())
        try:
            await asyncio.shield(self._refresh)
        except DeliveryError:
            held = self._held
            if held is None or held.token == refused or held.token_state is TokenState.INVALID:
                raise
        return str(self._held.token) if self._held else ""

    def _is_fresh(self, held: Credentials) -> bool:
        """Whether some minutes are left, looked at once a second: every request asks."""
        now = time.monotonic()
        if now - self._looked < _LOOK:
            return True
        fresh = held.token_state is TokenState.FRESH
        self._looked = now if fresh else float("-inf")
        return fresh

    async def _renew(self) -> None:
        try:
            self._held = await asyncio.get_running_loop().run_in_executor(self._threads, self._fetch)
        except DeliveryError:
            self._renewed = float("-inf")  # nothing was replaced; said before anybody can ask again
            raise

    def _fetch(self) -> Credentials:
        # Here, in a thread, since reading a private key takes a tenth of a second.
        make = Credentials.from_service_account_info
        new: Credentials = make(self._info, scopes=[SCOPE])  # type: ignore[no-untyped-call]
        try:
            with Session() as session:
                session.trust_env = False  # as aiohttp: no proxy and no .netrc of the environment
                new.refresh(partial(Request(session), timeout=TOKEN_TIMEOUT))  # type: ignore[no-untyped-call]
        except TransportError as error:
            raise DeliveryError("provider_unavailable", detail="Google's token endpoint was not reached.") from error
        except RefreshError as error:
            answer = error.args[1] if len(error.args) > 1 else None
            refused = isinstance(answer, Mapping) and "error" in answer and not error.retryable
            reason = "credentials_refused" if refused else "provider_unavailable"
            words = str(error.args[0])[:200] if refused else "Google's token endpoint failed."
            raise DeliveryError(reason, permanent=refused, detail=words) from error
        return new


class Accounts:
    """The service accounts in use, with threads of their own: google-auth blocks."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="google-token")
        self._known: OrderedDict[tuple[str, str], Account] = OrderedDict()

    def get(self, document: str, token_url: str) -> Account:
        """The account of this JSON document; the one that was not used longest is forgotten."""
        key = (document, token_url)
        if key not in self._known:
            self._known[key] = Account(json.loads(document), token_url, self._threads)
            if len(self._known) > _ACCOUNTS:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]

    def close(self) -> None:
        self._threads.shutdown(wait=False)
