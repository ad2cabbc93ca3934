"""What RabbitMQ refuses is sent again for a while: a queue that is just being made refuses as a full one does."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from deploy.local.stack import Stack
from sprayer_project import amqp
from sprayer_project.amqp import publisher, topology

pytestmark = pytest.mark.services


@pytest.fixture
def full(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[BlockingChannel]:
    """A channel beside a record queue that has room for one event and holds more. The next publisher has another."""
    monkeypatch.setattr(topology, "EVENTS_LIMIT", 1)
    amqp.close()
    with pika.BlockingConnection(pika.URLParameters(stack.environment()["SPRAYER_AMQP_URL"])) as broker:
        beside = broker.channel()
        beside.queue_delete(amqp.RECORD_QUEUE)
        with pytest.raises(amqp.BrokerUnavailable, match="refused"):
            for _ in range(100):
                _publish(b"early")
        yield beside
        beside.queue_delete(amqp.RECORD_QUEUE)
        amqp.close()


def _publish(body: bytes) -> None:
    amqp.publish([amqp.Publication(amqp.EVENTS, "", body)], timeout=60)


def test_a_refused_message_is_sent_again_until_its_queue_takes_it(
    full: BlockingChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused, refuse = Event(), publisher._Publisher._refused

    def seen(*arguments: Any) -> None:
        refuse(*arguments)
        refused.set()

    monkeypatch.setattr(publisher._Publisher, "_refused", seen)
    monkeypatch.setattr(publisher, "_PAUSES", (0.05,) * 1_000)
    with ThreadPoolExecutor(1) as executor:
        publishing = executor.submit(_publish, b"late")
        assert refused.wait(60)
        assert not publishing.done()
        full.queue_purge(amqp.RECORD_QUEUE)
        publishing.result(60)
    assert [full.basic_get(amqp.RECORD_QUEUE, auto_ack=True)[2] for _ in range(2)] == [b"late", None]


def test_a_message_that_is_refused_again_and_again_is_given_back(full: BlockingChannel) -> None:
    held = full.queue_declare(amqp.RECORD_QUEUE, passive=True).method.message_count
    with pytest.raises(amqp.BrokerUnavailable, match="refused"):
        _publish(b"late")
    assert full.queue_purge(amqp.RECORD_QUEUE).method.message_count == held
