"""RabbitMQ: the topology, confirmed publishing, consuming. The only package that imports pika."""

from sprayer_project.amqp.consumer import Consumer, Incoming
from sprayer_project.amqp.publisher import BrokerUnavailable, apublish, close, connected, depth, publish
from sprayer_project.amqp.topology import (
    DEAD,
    DEAD_QUEUE,
    DELIVERY_LIMIT,
    EVENTS,
    EVENTS_LIMIT,
    FOUND,
    JOBS,
    LANES,
    LIVE_LOST_QUEUE,
    LIVE_QUEUE,
    RECORD_QUEUE,
    RETRY_DELAYS,
    WEBHOOK_QUEUE,
    Publication,
    job_queue,
    retry,
)

__all__ = [
    "DEAD",
    "DEAD_QUEUE",
    "DELIVERY_LIMIT",
    "EVENTS",
    "EVENTS_LIMIT",
    "FOUND",
    "JOBS",
    "LANES",
    "LIVE_LOST_QUEUE",
    "LIVE_QUEUE",
    "RECORD_QUEUE",
    "RETRY_DELAYS",
    "WEBHOOK_QUEUE",
    "BrokerUnavailable",
    "Consumer",
    "Incoming",
    "Publication",
    "apublish",
    "close",
    "connected",
    "depth",
    "job_queue",
    "publish",
    "retry",
]
