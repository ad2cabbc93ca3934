"""What Twilio's answers to one message mean for its delivery."""

import re

from twilio.base.exceptions import TwilioException
from twilio.rest.api.v2010.account.message import MessageInstance

from feedback.events import Status
from messaging.channels.base import OPTED_OUT, Outcome, Recipient
from messaging.gsm import encoded
from messaging.twilio_api import ERRORS, PROVIDER, STATUSES, TryLater

RETIRES = frozenset({"invalid_address", "not_mobile", "unknown_handset", "landline", OPTED_OUT})
"""Reasons that call the number dead, or its owner's wish to be left alone."""
_number = re.compile(r"\+?\d{6,}")


def taken(recipient: Recipient, made: MessageInstance, text: str, found: bool = False) -> Outcome:
    """found: the answer to the request did not come, a look-up showed the message."""
    status = STATUSES.get(str(made.status), Status.SENT)
    reason = ERRORS.get(made.error_code or 0, (status, "undeliverable"))[1] if status is Status.FAILED else ""
    counted, source = encoded(text), {"looked_up": True} if found else {"http_status": 201}
    return Outcome(
        delivery=recipient.delivery,
        status=status,
        reason=reason,
        provider=PROVIDER,
        provider_id=str(made.sid),
        detail={**source, "status": made.status, "encoding": counted.encoding, "segments": counted.segments},
    )


def refused(recipient: Recipient, error: TwilioException) -> Outcome:
    code = getattr(error, "code", None)
    status, reason = ERRORS.get(code or 0, (Status.FAILED, "provider_refused"))
    return Outcome(
        delivery=recipient.delivery,
        status=status,
        reason=reason,
        provider=PROVIDER,
        retire=reason in RETIRES,
        detail={"http_status": getattr(error, "status", None), "code": code, "message": words_of(error)},
    )


def busy(recipient: Recipient, error: TryLater) -> Outcome:
    return Outcome(
        delivery=recipient.delivery,
        status=Status.DEFERRED,
        reason=error.reason,
        provider=PROVIDER,
        retry_after=error.retry_after,
        unknown=error.unknown,
        detail={"http_status": error.status} if error.status else {},
    )


def words_of(error: TwilioException) -> str:
    """Twilio's sentence, bounded and without numbers that could be addresses."""
    said = getattr(error, "msg", None) or getattr(error, "detail", None) or getattr(error, "title", "")
    return _number.sub("...", str(said))[:200]
