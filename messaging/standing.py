"""How a tenant's credentials stand with their provider: noticed in deliveries, kept with the configuration in SQL.

The configuration is what a dispatcher reads for each job, so that a job whose provider goes on as before costs nothing.
"""

from collections.abc import Mapping
from typing import Any

import structlog

from feedback.events import Status
from messaging.channels.base import Outcome
from messaging.outcomes import Context
from sprayer_project import metrics, worker
from sprayer_project.errors import STORE_ERRORS
from tenants import services as tenants

log = structlog.get_logger(__name__)

REFUSED = "credentials_refused"
"""The reason of a delivery that failed for its tenant's credentials."""
_WORKED = frozenset({Status.SENT, Status.DELIVERED})


class Standing:
    """What the live outcomes of one job say of the credentials that it used."""

    def __init__(self, context: Context):
        self._context = context
        self._refusal: Outcome | None = None
        self._worked = False

    def saw(self, outcome: Outcome) -> None:
        if outcome.reason == REFUSED:
            self._refusal = self._refusal or outcome
        elif outcome.status in _WORKED:
            self._worked = True

    async def report(self) -> None:
        """Keep a change; log and count it once, whichever dispatcher saw it first. What SQL misses is seen again."""
        stored = self._context.settings
        if stored is None or (self._refusal is None) == (stored.refused_at is None):
            return
        if self._refusal is None and not self._worked:
            return
        tenant, channel = self._context.payload.tenant, self._context.channel.name
        words = None if self._refusal is None else words_of(self._refusal.detail)
        try:
            news = await worker.in_thread(tenants.note_credentials, tenant, channel, stored.version, words)
        except STORE_ERRORS as error:
            log.warning("credentials not noted", tenant=tenant, channel=channel, error=type(error).__name__)
            return
        if news and words is not None:
            metrics.CREDENTIALS_REFUSED.labels(channel=channel).inc()
            log.warning("credentials refused", tenant=tenant, channel=channel, words=words)
        elif news:
            log.warning("credentials accepted again", tenant=tenant, channel=channel)


def words_of(detail: Mapping[str, Any]) -> str:
    """The provider's answer in one line: its code, if it has one, and what it said. Adapters keep addresses out."""
    said = str(detail.get("message") or detail.get("reason") or "")
    code = str(detail.get("code") or detail.get("http_status") or "")
    return ": ".join(part for part in (code, said) if part) or "no reason given"
