"""What differs between django-anymail's providers: one row each, and nothing elsewhere names them.

https://anymail.dev/en/stable/esps/
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anymail.exceptions import AnymailWebhookValidationFailure
from anymail.webhooks.brevo import BrevoTrackingWebhookView
from anymail.webhooks.mailersend import MailerSendTrackingWebhookView
from anymail.webhooks.mailgun import MailgunTrackingWebhookView
from anymail.webhooks.mailjet import MailjetTrackingWebhookView
from anymail.webhooks.mailtrap import MailtrapTrackingWebhookView
from anymail.webhooks.mandrill import MandrillCombinedWebhookView
from anymail.webhooks.postmark import PostmarkTrackingWebhookView
from anymail.webhooks.resend import ResendTrackingWebhookView
from anymail.webhooks.sparkpost import SparkPostTrackingWebhookView
from django.http import HttpRequest
from django.views import View
from standardwebhooks import Webhook, WebhookVerificationError

from messaging.channels.base import OPTED_OUT

BASIC_AUTH = "webhook_secret"
"""The argument of a webhook view whose provider does not sign, but sends the user:password of the callback address."""

Words = tuple[tuple[str, Mapping[str, str]], ...]
"""Pairs of a path into the provider's own event and what its values there mean to us; the first that is found holds."""


class ResendView(ResendTrackingWebhookView):  # type: ignore[misc]
    """Resend signs as Standard Webhooks does, under other header names; anymail would ask for a package of its own."""

    def __init__(self, *, signing_secret: str):
        View.__init__(self)
        self._webhook = Webhook(signing_secret)

    def run_validators(self, request: HttpRequest) -> None:
        names = ("id", "timestamp", "signature")
        headers = {f"webhook-{name}": request.headers.get(f"svix-{name}", "") for name in names}
        try:
            self._webhook.verify(request.body, headers, json_parse=False)
        except WebhookVerificationError as error:
            raise AnymailWebhookValidationFailure(str(error)) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Esp:
    credentials: Mapping[str, str]
    """anymail's backend's argument -> our configuration's field."""
    api_path: str = ""
    """Of the API below the provider's URL, where the operator sets that."""
    probe: str = ""
    """Below the API's URL, a call that only asks about the key, open to every key that may send: a GET.

    Empty where there is none: a key that may do nothing but send gets a 401, too (Mailtrap, Resend, SparkPost), or no
    page says what it gets. Then a mail to nobody is posted, which is refused for want of a recipient.
    """
    probe_key: str = ""
    """The key's name in JSON, which the probe then posts: for an API that does not read it from the headers."""
    refusal: str = ""
    """Regular expression for an answer that refuses the account, where its status is not 401."""
    view: Any
    secret: str = BASIC_AUTH
    """The view's argument for what proves a webhook."""
    bounces: Words
    """Why a mail bounced; what is not in it is a soft bounce, which says nothing of the next mail."""
    batch: int = 0
    """The most recipients of one call in which each sees only himself; 0 where there is no such call."""
    batch_headers: bool = True
    """Whether each recipient of a batch can have headers of his own."""
    own_headers_alone: bool = False
    """In a batch a recipient's own headers, which his metadata are among, replace those that all have in common."""
    batch_attachments: bool = True
    """Whether a batch holds its attachments once, not once a recipient."""
    shared_id: bool = False
    """All mails of one call have one id, so that it does not tell which delivery an event is about."""
    keeps_metadata: bool = True
    """Whether the provider gives back what we write beside a mail."""
    takes_headers: bool = True
    """Whether every account may set a mail's headers."""
    bad_address: str = ""
    """Regular expression for a refusal of a call that names the recipient's address as the reason."""


_HARD, _COMPLAINED, _OPTED_OUT = "bounced", "complained", OPTED_OUT

ESPS: Mapping[str, Esp] = {
    "brevo": Esp(
        credentials={"api_key": "api_key"},
        view=BrevoTrackingWebhookView,
        bounces=(("event", {"hard_bounce": _HARD, "invalid_email": "invalid_address"}),),
        batch=500,
        own_headers_alone=True,
    ),
    "mailersend": Esp(
        credentials={"api_token": "api_key"},
        probe="api-quota",  # https://developers.mailersend.com/guides/checking-api-quota
        view=MailerSendTrackingWebhookView,
        secret="signing_secret",
        bounces=(("data.type", {"hard_bounced": _HARD}),),
        keeps_metadata=False,
        takes_headers=False,
    ),
    "mailgun": Esp(
        credentials={"api_key": "api_key", "sender_domain": "sender_domain"},
        api_path="/v3",
        refusal=r"domain not found",
        view=MailgunTrackingWebhookView,
        secret="webhook_signing_key",
        bounces=(
            ("event-data.delivery-status.bounce-type", {"soft": "soft_bounce"}),
            (
                "event-data.reason",
                {
                    "bounce": _HARD,
                    "suppress-bounce": _HARD,
                    "suppress-complaint": _COMPLAINED,
                    "suppress-unsubscribe": _OPTED_OUT,
                },
            ),
        ),
        batch=500,
        shared_id=True,
        bad_address=r"to.? parameter is not a valid address",
    ),
    "mailjet": Esp(
        credentials={"api_key": "api_key", "secret_key": "api_secret"},
        view=MailjetTrackingWebhookView,
        bounces=(("hard_bounce", {"True": _HARD, "1": _HARD}),),
        batch=50,
    ),
    "mailtrap": Esp(
        credentials={"api_token": "api_key"},
        view=MailtrapTrackingWebhookView,
        secret="tracking_secret",
        bounces=(("event", {"bounce": _HARD}),),
        batch=500,
    ),
    "mandrill": Esp(
        credentials={"api_key": "api_key"},
        probe="users/ping2.json",  # https://mailchimp.com/developer/transactional/api/users/ping-2
        probe_key="key",
        view=MandrillCombinedWebhookView,
        secret="webhook_key",
        bounces=(
            ("event", {"hard_bounce": _HARD}),
            ("msg.reject.reason", {"hard-bounce": _HARD, "spam": _COMPLAINED, "unsub": _OPTED_OUT}),
        ),
        batch=500,
        batch_headers=False,
    ),
    "postmark": Esp(
        credentials={"server_token": "api_key"},
        probe="server",  # https://postmarkapp.com/developer/api/server-api
        view=PostmarkTrackingWebhookView,
        bounces=(
            ("Type", {"HardBounce": _HARD, "BadEmailAddress": "invalid_address"}),
            ("SuppressionReason", {"HardBounce": _HARD}),
        ),
        batch=500,
        batch_attachments=False,
    ),
    "resend": Esp(
        credentials={"api_key": "api_key"},
        refusal=r"invalid_api_key|api key is (invalid|not valid)",  # https://resend.com/docs/api-reference/errors
        view=ResendView,
        secret="signing_secret",
        bounces=(("data.bounce.type", {"Permanent": _HARD}),),
        batch=100,
        batch_attachments=False,
    ),
    "sparkpost": Esp(
        credentials={"api_key": "api_key"},
        view=SparkPostTrackingWebhookView,
        # https://support.sparkpost.com/docs/deliverability/bounce-classification-codes
        bounces=(("msys.message_event.bounce_class", {"10": _HARD, "30": _HARD}),),
        batch=500,
        shared_id=True,
    ),
}
