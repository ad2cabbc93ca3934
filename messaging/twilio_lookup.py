"""Whether Twilio took a message although its answer did not come: looked up in its list of messages.

https://www.twilio.com/docs/messaging/api/message-resource#read-multiple-message-resources

The list tells nothing that we chose ourselves (the status callback is not in it), so a message is known by its number,
its text and its time. One whose SID this process got for a delivery, by an answer or by an earlier look-up, is no other
delivery's. What two processes send with the same text to the same number in the same seconds is all that could be
taken for each other.
"""

import asyncio
from collections import OrderedDict
from datetime import datetime, timedelta

import structlog
from twilio.base.exceptions import TwilioException
from twilio.rest import Client
from twilio.rest.api.v2010.account.message import MessageInstance

from messaging.twilio_api import TryLater

log = structlog.get_logger(__name__)

LIMIT = 5.0
"""Seconds for one look-up."""
AGAIN = 1.0
"""Seconds after which a message is looked for once more: Twilio may still have been at it."""
_LEEWAY = timedelta(seconds=5)
"""By which its clock may be behind ours; it tells whole seconds."""
_NEWEST, _KEPT = 50, 10_000


class LookUp:
    """The messages that this process knows, and the search for one that it does not."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, None] = OrderedDict()

    def note(self, sid: str) -> None:
        """This message is a delivery's."""
        self._known[sid] = None
        if len(self._known) > _KEPT:
            self._known.popitem(last=False)

    async def find_soon(self, client: Client, to: str, text: str, since: datetime) -> MessageInstance | None:
        """find, and once more a moment later."""
        found = await self.find(client, to, text, since)
        if found is None:
            await asyncio.sleep(AGAIN)
            found = await self.find(client, to, text, since)
        return found

    async def find(self, client: Client, to: str, text: str, since: datetime) -> MessageInstance | None:
        """The message made since then that can only be this one, noted; None also where Twilio does not answer."""
        try:
            async with asyncio.timeout(LIMIT):
                newest = await client.messages.list_async(to=to, limit=_NEWEST)
        except (TryLater, TwilioException, ValueError, TimeoutError) as error:
            log.warning("message not looked up", account=client.username, error=type(error).__name__)
            return None
        for made in newest:
            at = made.date_created
            recent = isinstance(at, datetime) and at >= since - _LEEWAY
            if recent and made.body == text and made.sid not in self._known:
                self.note(made.sid)
                return made
        return None
