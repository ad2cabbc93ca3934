"""The daemon of the live feed. Any number of them may run."""

from typing import Any

from django.core.management.base import BaseCommand

from feedback import live_daemon
from sprayer_project import worker


class Command(BaseCommand):
    help = "Give events to the live feeds of the tenants whose people look, until SIGTERM."
    requires_system_checks = worker.CHECKS

    def handle(self, *args: Any, **options: Any) -> None:
        worker.run(live_daemon.run, "live")
