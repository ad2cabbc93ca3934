"""manage.py demo: what `make run` shows once everything is up."""

import asyncio
from argparse import ArgumentParser
from dataclasses import replace
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from messaging import channels, demo


class Command(BaseCommand):
    help = "Create the demo tenant, send its first message, show what became of it. Repeating it duplicates nothing."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--url", default=f"http://127.0.0.1:{settings.PORT}", help="where the API listens")

    def handle(self, *args: Any, **options: Any) -> None:
        path = settings.VAR_DIR / "demo.json"
        made = demo.prepare(path, options["url"])
        if not made.message_id:
            made = replace(made, message_id=asyncio.run(demo.first_message(made)))
            made.write(path)
        self._table(asyncio.run(demo.rows(made, made.message_id)))
        self._next(made)

    def _table(self, rows: list[dict[str, Any]]) -> None:
        self.stdout.write(
            f"\n  {'channel':<11}{'receiver':<10}{'address':<30}{'status':<11}{'settles at':<12}provider id"
        )
        for row in sorted(rows, key=lambda row: str(row["channel"])):
            at = channels.channel(row["channel"]).settles_at
            mark = "" if demo.is_settled(row) else f"   <- {row['reason'] or 'not yet'}"
            self.stdout.write(
                f"  {row['channel']:<11}{row['receiver']:<10}{row['address'] or '-':<30}{row['status']:<11}{at:<12}"
                f"{row['provider_id'] or '-'}{mark}"
            )

    def _next(self, made: demo.Demo) -> None:
        self.stdout.write(
            f"\n  console   {made.url}/t/{made.tenant}/messages/{made.message_id}"
            f"\n  login     {made.login['email']}  {made.login['password']}"
            f"\n  API key   {made.api_key}"
            f"\n  test key  {made.test_key}"
            f"\n  API page  {made.url}/api/v1/docs"
            f"\n  mails     {settings.EMAIL_FILE_PATH or settings.EMAIL_HOST or 'none are sent'}"
            "\n\n  Send one yourself:\n\n"
            f"  curl -X POST {made.url}/api/v1/messages -H 'Authorization: Bearer {made.api_key}'"
            ' -H \'Content-Type: application/json\' -d \'{"to": {"receivers": ["alice"]}, "channels": ["sms"],'
            ' "content": {"body": "Hello from Sprayer"}}\'\n'
        )
