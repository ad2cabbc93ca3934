"""The daemon that posts feedback to tenants' webhooks. Any number of them may run."""

from typing import Any

from django.core.management.base import BaseCommand

from feedback import webhook_delivery
from sprayer_project import worker


class Command(BaseCommand):
    help = "Post delivery events to the tenants' feedback webhooks, until SIGTERM."
    requires_system_checks = worker.CHECKS

    def handle(self, *args: Any, **options: Any) -> None:
        worker.run(webhook_delivery.run, "webhooks")
