"""Who does not want to be written to is not, until the number is registered again."""

import pytest

from feedback.events import Status
from messaging.channels import channel
from messaging.sandbox.server import Sandbox
from subscriptions import selectors as subscriptions
from subscriptions.inputs import AddressInput
from subscriptions.services import put_receiver
from tenants.services import set_channel_config
from tests.messaging.dispatching import dispatching, ended, send
from tests.messaging.test_credentials import config

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("acme")]


def register() -> None:
    put_receiver("acme", "ann", [AddressInput("sms", "+15005550004")])


def health() -> tuple[str, str | None]:
    (address,) = subscriptions.receiver("acme", "ann").addresses
    return address.status, address.reason


def test_an_opt_out_is_remembered_and_the_provider_is_not_asked_again(providers: Sandbox) -> None:
    set_channel_config("acme", "sms", config("sms"))
    register()
    with dispatching(channel("sms")):
        (first,) = ended(send(to=["ann"], channels=["sms"]), Status.SUPPRESSED)
        assert (first.reason, first.attempts, health()) == ("opted_out", 1, ("retired", "opted_out"))
        (second,) = ended(send(to=["ann"], channels=["sms"]), Status.SUPPRESSED)
        assert (second.reason, second.attempts) == ("opted_out", 0)
        assert len(providers.arrivals.newest("sms", None, 10)) == 1

        register()
        assert health() == ("active", None)
        ended(send(to=["ann"], channels=["sms"]), Status.SUPPRESSED)
    assert len(providers.arrivals.newest("sms", None, 10)) == 2
