"""manage.py run_sandbox: the local gateways."""

import asyncio
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from messaging.sandbox.server import Sandbox
from sprayer_project import worker


class Command(BaseCommand):
    help = "Run local gateways that speak the providers' wire formats; test messages always go there."
    # It uses no store and serves no URL of the project's.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=settings.SANDBOX_PORT)
        parser.add_argument("--smtp-port", type=int, default=settings.SANDBOX_SMTP_PORT)

    def handle(self, *, host: str, port: int, smtp_port: int, **options: Any) -> None:
        async def serve(stop: asyncio.Event) -> None:
            sandbox = Sandbox(host, port, smtp_port)
            await sandbox.start()
            try:
                self.stdout.write(f"sandbox at {sandbox.url}")
                await stop.wait()
            finally:
                await sandbox.stop()

        try:
            worker.run(serve, "sandbox")
        except OSError as error:
            raise CommandError(f"The sandbox cannot listen on {host}: {error}") from error
