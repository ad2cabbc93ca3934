"""What every channel owes, whichever it is: a new one passes by being there."""

import inspect
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from django import forms
from pytest_django import Settings
from rest_framework import serializers

from feedback.events import Status
from messaging.channels import channel, registry
from messaging.channels.base import BadSignature, Callback, Channel, DeliveryError
from messaging.sandbox.server import Sandbox
from tests.environment import free_port
from tests.messaging.sending import outcomes, outgoing, recipient

WITH_ADDRESS = [name for name, found in registry().items() if found.needs_address]
WITH_CALLBACKS = [name for name, found in registry().items() if found.providers]
# A channel without addresses delivers into our own stores.
SENDING = [
    pytest.param(name, marks=[] if found.needs_address else [pytest.mark.services])
    for name, found in registry().items()
]
GARBAGE: list[Any] = [None, "", " ", "\0", 17, True, [], {}, "no address at all", "x" * 10_000]


@pytest_asyncio.fixture
async def closing() -> AsyncIterator[None]:
    yield
    for found in registry().values():
        await found.aclose()


def _recipients(found: Channel, message: Any, count: int) -> list[Any]:
    return [recipient(found, message, f"r{n}", found.sandbox_address(f"contract-{n}")) for n in range(count)]


@pytest.mark.parametrize("name", registry())
def test_a_channel_is_called_as_its_file_and_has_a_label(name: str) -> None:
    found = channel(name)
    assert found.name == name
    assert re.fullmatch(r"[a-z][a-z0-9]*", name)
    assert found.label


@pytest.mark.parametrize("name", registry())
def test_a_channel_brings_a_form_and_a_serializer(name: str) -> None:
    found = channel(name)
    assert issubclass(found.Config, forms.Form)
    assert issubclass(found.Content, serializers.Serializer)
    assert found.Content(data={}).is_valid()


@pytest.mark.parametrize("name", registry())
def test_a_channel_settles_at_a_status_that_is_good_news(name: str) -> None:
    assert channel(name).settles_at in (Status.SENT, Status.DELIVERED)


@pytest.mark.parametrize("name", registry())
def test_no_provider_url_is_in_a_tenants_form(name: str) -> None:
    assert not [field for field in channel(name).Config.base_fields if field.endswith(("base_url", "api_url"))]


@pytest.mark.parametrize("value", GARBAGE, ids=[repr(value)[:20] for value in GARBAGE])
@pytest.mark.parametrize("name", WITH_ADDRESS)
def test_garbage_is_no_address_and_the_sentence_says_so(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=r"\w+ \w+.*\.$"):
        channel(name).clean_address(value)


@pytest.mark.parametrize("name", WITH_ADDRESS)
def test_a_clean_address_stays_as_it_is(name: str) -> None:
    found = channel(name)
    clean = found.clean_address(found.sandbox_address("alice"))
    assert found.clean_address(clean) == clean


@pytest.mark.parametrize("name", WITH_ADDRESS)
def test_sandbox_addresses_of_different_names_differ(name: str) -> None:
    found = channel(name)
    assert len({found.clean_address(found.sandbox_address(f"n{n}")) for n in range(20)}) == 20


@pytest.mark.parametrize("name", WITH_ADDRESS)
def test_a_mask_hides_the_part_that_tells_receivers_apart(name: str) -> None:
    found = channel(name)
    clean = found.clean_address(found.sandbox_address("alice-in-wonderland"))
    masked = found.mask_address(clean)
    assert masked != clean
    assert "*" in masked or "…" in masked
    assert "alice-in-wonderland" not in masked


@pytest.mark.parametrize("name", SENDING)
async def test_a_message_reaches_the_sandbox_with_one_outcome_a_recipient(
    name: str, sandbox: Sandbox, closing: None
) -> None:
    found, message = channel(name), outgoing()
    targets = _recipients(found, message, 5)
    results = await outcomes(found, found.sandbox_config("acme"), message, targets)
    assert sorted(result.delivery for result in results) == sorted(target.delivery for target in targets)
    assert {result.status for result in results} <= {Status.SENT, Status.DELIVERED}
    if found.needs_address:
        owner = sandbox.gateways[name].owner("acme")
        assert len(sandbox.arrivals.newest(name, owner, 10)) == 5


@pytest.mark.parametrize("name", WITH_ADDRESS)
async def test_what_arrives_looks_as_it_was_shown_before(name: str, sandbox: Sandbox, closing: None) -> None:
    found, message = channel(name), outgoing()
    await outcomes(found, found.sandbox_config("acme"), message, _recipients(found, message, 1))
    gateway = sandbox.gateways[name]
    (arrival,) = sandbox.arrivals.newest(name, gateway.owner("acme"), 10)
    to, seen = gateway.seen(arrival)
    shown = found.look(message)
    assert to and (seen.shape, seen.title, seen.text) == (shown.shape, shown.title, shown.text)
    assert "This is a message." in seen.text + seen.payload


@pytest.mark.parametrize("name", SENDING)
async def test_no_outcome_tells_the_address(name: str, sandbox: Sandbox, closing: None) -> None:
    found, message = channel(name), outgoing()
    targets = _recipients(found, message, 2)
    results = await outcomes(found, found.sandbox_config("acme"), message, targets)
    told = str([(result.reason, result.detail) for result in results])
    assert not [target.address for target in targets if target.address and target.address in told]


@pytest.mark.parametrize("name", WITH_ADDRESS)
async def test_a_gateway_that_nobody_reaches_defers_without_blame(
    name: str, sandbox: Sandbox, settings: Settings, closing: None
) -> None:
    port = free_port()
    settings.SANDBOX_URL, settings.SANDBOX_PORT = f"http://127.0.0.1:{port}", port
    settings.SANDBOX_SMTP_PORT = free_port()
    found, message = channel(name), outgoing()
    targets = _recipients(found, message, 2)
    try:
        results = await outcomes(found, found.sandbox_config("acme"), message, targets)
    except DeliveryError as error:
        assert not error.permanent
        return
    assert [(result.status, result.retire) for result in results] == [(Status.DEFERRED, False)] * 2


@pytest.mark.parametrize("name", WITH_ADDRESS)
async def test_who_is_given_up_is_not_tried(name: str, sandbox: Sandbox, closing: None) -> None:
    found, message = channel(name), outgoing(given_up=lambda recipient: recipient.receiver != "r0")
    targets, config = _recipients(found, message, 3), found.sandbox_config("acme")
    # One call for each of them: where a provider takes several together, they are given up together.
    first, *others = [(await outcomes(found, config, message, [target]))[0].status for target in targets]
    assert first in (Status.SENT, Status.DELIVERED)
    assert others == [Status.QUEUED] * 2
    assert len(sandbox.arrivals.newest(name, sandbox.gateways[name].owner("acme"), 10)) == 1


@pytest.mark.parametrize("name", WITH_CALLBACKS)
def test_a_callback_with_a_bad_signature_is_refused(name: str) -> None:
    found = channel(name)
    for provider in found.providers:
        forged = Callback(
            tenant="acme",
            provider=provider,
            method="POST",
            url=f"https://example.test/api/v1/callbacks/acme/{name}/{provider}?mode=test",
            query={"mode": "test"},
            headers={"content-type": "application/x-www-form-urlencoded", "host": "example.test"},
            body=b"a=b",
        )
        with pytest.raises(BadSignature):
            found.parse_events(forged, found.sandbox_config("acme"))


@pytest.mark.parametrize("name", registry())
def test_a_channel_that_hears_callbacks_parses_them(name: str) -> None:
    found = channel(name)
    own = type(found).parse_events is not Channel.parse_events
    assert own == bool(found.providers)


@pytest.mark.parametrize("name", registry())
def test_send_is_an_asynchronous_generator(name: str) -> None:
    assert inspect.isasyncgenfunction(channel(name).send)
