"""Exchanges and queues, and how they are declared.

sprayer.jobs (direct)    -> jobs.<channel>.<lane>
sprayer.events (fanout)  -> feedback.record, feedback.webhooks, feedback.live
sprayer.found (fanout)   -> feedback.webhooks, feedback.live: events whose delivery became known later
sprayer.lost (fanout)    -> feedback.live.lost: what left feedback.live unread
sprayer.retry.<s> (fanout) -> retry.<s>, whose messages return to sprayer.jobs under their own routing key
sprayer.dead (fanout)    -> jobs.undecodable
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pika.channel import Channel as AmqpChannel

JOBS, EVENTS, FOUND, LOST, DEAD = "sprayer.jobs", "sprayer.events", "sprayer.found", "sprayer.lost", "sprayer.dead"
RECORD_QUEUE, WEBHOOK_QUEUE, DEAD_QUEUE = "feedback.record", "feedback.webhooks", "jobs.undecodable"
LIVE_QUEUE, LIVE_LOST_QUEUE = "feedback.live", "feedback.live.lost"
LANES = ("single", "surplus", "bulk")
RETRY_DELAYS = (1, 5, 15, 60)
DELIVERY_LIMIT = 20
EVENTS_LIMIT = 2_000_000
WEBHOOKS_LIMIT = 1024**3
"""Bytes, after which the oldest events leave the webhooks' queue: nobody who publishes waits for tenants' endpoints."""
LIVE_LIMIT, LIVE_AGE = 16 * 1024**2, 60
"""Bytes and seconds, after which events leave the live feed's queue: what is late is not live."""


@dataclass(frozen=True, slots=True)
class Publication:
    exchange: str
    routing_key: str
    body: bytes


def job_queue(channel: str, lane: str) -> str:
    return f"jobs.{channel}.{lane}"


def retry(queue: str, body: bytes, delay: float) -> Publication:
    """A job that comes back to its queue after the largest fixed delay (seconds) of RETRY_DELAYS within `delay`."""
    seconds = max((fixed for fixed in RETRY_DELAYS if fixed <= delay), default=RETRY_DELAYS[0])
    return Publication(f"sprayer.retry.{seconds}", queue, body)


def declare(amqp_channel: AmqpChannel, queue: str, callback: Callable[[Any], None] | None = None) -> None:
    """Declare a queue and what it hangs on. Needs no answer: a broker handles a channel's methods in order."""
    arguments: dict[str, Any] = {"x-queue-type": "quorum"}
    if queue == DEAD_QUEUE:
        exchange, kind = DEAD, "fanout"
    elif queue == RECORD_QUEUE:
        exchange, kind = EVENTS, "fanout"
        arguments |= {"x-max-length": EVENTS_LIMIT, "x-overflow": "reject-publish"} | _dead_lettering(DEAD)
    elif queue == WEBHOOK_QUEUE:
        exchange, kind = EVENTS, "fanout"
        arguments |= {"x-max-length-bytes": WEBHOOKS_LIMIT, "x-overflow": "drop-head"}
        arguments |= {"x-delivery-limit": DELIVERY_LIMIT}
    elif queue == LIVE_QUEUE:
        exchange, kind = EVENTS, "fanout"
        arguments |= {"x-max-length-bytes": LIVE_LIMIT, "x-overflow": "drop-head", "x-message-ttl": LIVE_AGE * 1000}
        arguments |= {"x-dead-letter-exchange": LOST, "x-delivery-limit": DELIVERY_LIMIT}
    elif queue == LIVE_LOST_QUEUE:
        exchange, kind = LOST, "fanout"
        arguments |= {"x-max-length": 1, "x-overflow": "drop-head", "x-delivery-limit": DELIVERY_LIMIT}
    elif queue.startswith("retry."):
        exchange, kind = f"sprayer.{queue}", "fanout"
        arguments |= {"x-message-ttl": int(queue.removeprefix("retry.")) * 1000, "x-overflow": "reject-publish"}
        arguments |= {"x-dead-letter-exchange": JOBS, "x-dead-letter-strategy": "at-least-once"}
    else:
        exchange, kind = JOBS, "direct"
        arguments |= {"x-overflow": "reject-publish"} | _dead_lettering(DEAD)
    amqp_channel.exchange_declare(DEAD, "fanout", durable=True)
    amqp_channel.queue_declare(DEAD_QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
    amqp_channel.queue_bind(DEAD_QUEUE, DEAD)
    amqp_channel.exchange_declare(exchange, kind, durable=True)
    amqp_channel.queue_declare(queue, durable=True, arguments=arguments, callback=callback)
    amqp_channel.queue_bind(queue, exchange, routing_key=queue)
    if queue in (WEBHOOK_QUEUE, LIVE_QUEUE):
        amqp_channel.exchange_declare(FOUND, "fanout", durable=True)
        amqp_channel.queue_bind(queue, FOUND)


def _dead_lettering(exchange: str) -> dict[str, Any]:
    return {
        "x-dead-letter-exchange": exchange,
        "x-dead-letter-strategy": "at-least-once",
        "x-delivery-limit": DELIVERY_LIMIT,
    }


def queues_of(item: Publication) -> tuple[str, ...]:
    """The queues that must exist for a publication to be safe."""
    if item.exchange == EVENTS:
        return (RECORD_QUEUE,)
    if item.exchange == FOUND:
        return (WEBHOOK_QUEUE,)
    if item.exchange == DEAD:
        return (DEAD_QUEUE,)
    if item.exchange.startswith("sprayer.retry."):
        return item.exchange.removeprefix("sprayer."), item.routing_key
    return (item.routing_key,)
