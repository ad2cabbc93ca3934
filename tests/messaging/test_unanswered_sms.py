"""An SMS whose answer did not come: looked up, and failed only where Twilio does not have it."""

import pytest

from feedback import selectors as feedback
from feedback.events import Status
from messaging.channels import channel
from messaging.sandbox.server import Sandbox
from subscriptions.inputs import AddressInput
from subscriptions.services import put_receiver
from tenants.services import set_channel_config
from tests.conftest import TenantUnderTest
from tests.messaging.dispatching import dispatching, ended, send
from tests.messaging.test_credentials import config

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True)]

CUT, LOST = "+15005550114", "+15005550115"


def deliver(number: str, status: Status) -> feedback.DeliveryRow:
    put_receiver("acme", "ann", [AddressInput("sms", number)])
    with dispatching(channel("sms")):
        (row,) = ended(send(to=["ann"], channels=["sms"]), status)
    return row


def test_what_twilio_has_is_sent_whatever_the_tenant_says_of_repeats(acme: TenantUnderTest, providers: Sandbox) -> None:
    providers.control.callbacks = False
    set_channel_config("acme", "sms", config("sms"))
    row = deliver(LOST, Status.SENT)
    (arrived,) = providers.arrivals.newest("sms", None, 10)
    assert row.provider_id == arrived["sid"]
    (entry,) = [one for one in feedback.delivery("acme", "live", row.id).timeline if one.status is Status.SENT]
    assert (entry.detail["looked_up"], entry.detail["encoding"], entry.detail["segments"]) == (True, "GSM-7", 1)


def test_what_twilio_does_not_have_fails_and_is_not_repeated(acme: TenantUnderTest, providers: Sandbox) -> None:
    set_channel_config("acme", "sms", config("sms", retry_delays=[1.0]))
    assert deliver(CUT, Status.FAILED).reason == "connection_lost"
    assert len(providers.arrivals.newest("sms", None, 10)) == 1


def test_it_is_repeated_where_the_tenant_wants_that(acme: TenantUnderTest, providers: Sandbox) -> None:
    set_channel_config("acme", "sms", config("sms", retry_delays=[1.0], retry_unknown=True))
    assert deliver(CUT, Status.FAILED).attempts == 2
    assert len(providers.arrivals.newest("sms", None, 10)) == 2
