"""manage.py run_sweeper"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from messaging import sweeper
from sprayer_project import amqp, worker

_MINUTE = 60.0
_REST = 3.0
"""Counting takes a quarter of the time at most, however many large messages are under way: feeders need MongoDB."""


class Command(BaseCommand):
    help = "Finish what crashes, absent stores and the clock left to do, until SIGTERM. Safe to run twice."
    requires_system_checks = worker.CHECKS

    def handle(self, *args: Any, **options: Any) -> None:
        worker.run(sweep, "sweeper")


async def sweep(stop: asyncio.Event) -> None:
    await asyncio.gather(
        worker.consume(amqp.Consumer([amqp.DEAD_QUEUE], 100), _keep, batch=100, stop=stop),
        *(worker.every(settings.SWEEP_INTERVAL, _action(action), stop) for action in sweeper.ACTIONS),
        *(worker.every(settings.SWEEP_INTERVAL, _action(action), stop, rest=_REST) for action in sweeper.COUNTING),
        *(worker.every(_MINUTE, _action(action), stop) for action in sweeper.EVERY_MINUTE),
    )


def _action(action: Callable[[], int]) -> Callable[[], Any]:
    async def run() -> None:
        while await worker.in_thread(action) >= sweeper.FULL:
            pass

    run.__name__ = action.__name__
    return run


async def _keep(items: Sequence[worker.Item]) -> None:
    for item in items:
        await worker.in_thread(sweeper.keep_undecodable, item.body, item.queue)
