"""One-click unsubscription: https://www.rfc-editor.org/rfc/rfc8058"""

from urllib.parse import urlencode

from django.conf import settings

from messaging.channels.base import Outgoing, Recipient
from messaging.mail_reference import reference_to, to_token


def unsubscribe_headers(message: Outgoing, recipient: Recipient) -> dict[str, str]:
    """List-Unsubscribe and List-Unsubscribe-Post, or nothing where nobody is to unsubscribe.

    The message's own word is a URL of the tenant's, true or false; without one, what goes to a group can be
    unsubscribed. A click retires the receiver's address, and suppresses a plain one.
    """
    wanted = message.overrides.get("unsubscribe", recipient.group is not None)
    if isinstance(wanted, str):
        return _headers(wanted)
    if not wanted:
        return {}
    token = to_token(reference_to(message, recipient))
    return _headers(f"{settings.PUBLIC_URL}/api/v1/unsubscribe/{message.tenant}?{urlencode({'token': token})}")


def _headers(url: str) -> dict[str, str]:
    return {"List-Unsubscribe": f"<{url}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
