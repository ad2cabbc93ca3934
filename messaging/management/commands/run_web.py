"""manage.py run_web: console, REST API and realtime endpoints on one port."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.module_loading import import_string

from messaging.realtime.server import DrainingServer
from sprayer_project import health, worker


class Command(BaseCommand):
    help = "Serve the console, the REST API and the realtime endpoints. SIGTERM drains, then stops."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=settings.PORT)

    def handle(self, *args: Any, host: str, port: int, **options: Any) -> None:
        application = import_string(settings.ASGI_APPLICATION)
        worker.raise_open_files_limit()
        health.warm_up()
        worker.collect_less(2_000, 10, 10)  # more often than a daemon: connections that ended are heavy garbage
        endpoint = f"tcp:port={port}:interface={host.replace(':', chr(92) + ':')}"
        server = DrainingServer(application, [endpoint])
        server.run()
        if server.failed:
            raise CommandError(f"Cannot listen on {host}:{port}: {server.failed}")
