"""The reference of `latency`: a message's way from queue to client without Sprayer, in two processes.

`python -m benchmarks.bare_chain carrier` takes what is in QUEUE and publishes it in Redis, `... deliverer PORT` hears
it there and sends it to every WebSocket that is connected. Each touches SPRAYER_HEALTH_FILE when it is ready.
"""

import os
import sys
from pathlib import Path

import pika
import uvloop
from django.conf import settings
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from websockets.asyncio.server import broadcast, serve

from deploy.local.servers import HOST

QUEUE, TOPIC = "bench.bare", "bench:bare"


def carry() -> None:
    with pika.BlockingConnection(pika.URLParameters(settings.AMQP_URL.split(",")[0])) as connection:
        source = connection.channel()
        source.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
        target = Redis.from_url(settings.REDIS_URLS[0])
        source.basic_qos(prefetch_count=1)
        _ready()
        for method, _, body in source.consume(QUEUE):
            target.publish(TOPIC, body)
            source.basic_ack(method.delivery_tag)


async def deliver(port: int) -> None:
    hears = AsyncRedis.from_url(settings.REDIS_URLS[0]).pubsub()
    await hears.subscribe(TOPIC)
    async with serve(lambda connection: connection.wait_closed(), HOST, port) as server:
        _ready()
        async for heard in hears.listen():
            if heard["type"] == "message":
                broadcast(server.connections, heard["data"].decode())


def _ready() -> None:
    Path(os.environ["SPRAYER_HEALTH_FILE"]).touch()


if __name__ == "__main__":
    if sys.argv[1] == "carrier":
        carry()
    else:
        uvloop.run(deliver(int(sys.argv[2])))
