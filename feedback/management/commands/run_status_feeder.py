"""The daemon that writes feedback into the record. Any number of them may run."""

from typing import Any

from django.core.management.base import BaseCommand

from feedback import feeder
from sprayer_project import worker


class Command(BaseCommand):
    help = "Write delivery events from the queue into the record, until SIGTERM."
    requires_system_checks = worker.CHECKS

    def handle(self, *args: Any, **options: Any) -> None:
        worker.run(feeder.run, "status_feeder")
