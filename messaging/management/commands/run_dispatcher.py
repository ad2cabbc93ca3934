"""manage.py run_dispatcher --channel sms [--channel email] [--all] [--concurrency N]"""

import asyncio
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from messaging import channels, succession
from messaging.channels.base import Channel
from messaging.dispatcher import Dispatcher
from messaging.precedence import Precedence
from messaging.recorder import Recorder
from sprayer_project import amqp, worker

_BATCHES = {"single": 50, "surplus": 50, "bulk": 1}
"""Messages of a lane that are handled together, at most."""
_MOST_BYTES = 32 * 1024
"""After which no more are added: one may carry many jobs."""


class Command(BaseCommand):
    help = "Deliver the jobs of some channels until SIGTERM."
    requires_system_checks = worker.CHECKS

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--channel", action="append", default=[], choices=sorted(channels.registry()))
        parser.add_argument("--all", action="store_true", help="every channel")
        parser.add_argument(
            "--concurrency",
            type=int,
            default=8,
            help="pages of broadcasts in hand a channel, and batches of single messages",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        names = sorted(channels.registry()) if options["all"] else sorted(set(options["channel"]))
        if not names:
            raise CommandError("Name channels with --channel, or --all.")
        if options["concurrency"] < 1:
            raise CommandError("--concurrency is at least 1.")
        chosen = [channels.channel(name) for name in names]

        async def main(stop: asyncio.Event) -> None:
            await dispatch(chosen, options["concurrency"], stop)

        worker.run(main, f"dispatcher {' '.join(names)}")


async def dispatch(chosen: list[Channel], concurrency: int, stop: asyncio.Event) -> None:
    recorder, precedence = Recorder(stop), Precedence()
    prefetch = {lane: concurrency * 2 if lane == "bulk" else settings.PREFETCH for lane in amqp.LANES}
    dispatchers: list[tuple[Dispatcher, str, amqp.Consumer]] = []
    for channel in chosen:
        consumers = {lane: amqp.Consumer([amqp.job_queue(channel.name, lane)], prefetch[lane]) for lane in amqp.LANES}
        successions = succession.of(channel.name, consumers["single"], stop) if channel.ordered else {}
        for lane, consumer in consumers.items():
            dispatcher = Dispatcher(
                channel,
                lane,
                recorder,
                precedence,
                stop,
                slots=concurrency,
                prefetch=prefetch[lane],
                succession=successions.get(lane),
            )
            dispatchers.append((dispatcher, lane, consumer))
    try:
        await asyncio.gather(
            *(
                worker.consume(
                    consumer,
                    precedence.order(lane, dispatcher.handle),
                    batch=_BATCHES[lane],
                    most_bytes=_MOST_BYTES,
                    concurrency=concurrency,
                    stop=stop,
                )
                for dispatcher, lane, consumer in dispatchers
            )
        )
    finally:
        await asyncio.gather(*(dispatcher.aclose() for dispatcher, *_ in dispatchers))
        await recorder.aclose()
        for channel in chosen:
            await channel.aclose()
