"""manage.py dead_letters list|replay|drop TENANT [ID ...]"""

from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from feedback import selectors as rows
from feedback import services as feedback
from feedback.selectors import DeliveryRow
from messaging import services
from messaging.documents import UndecodableJob
from sprayer_project.errors import SprayerError
from tenants import selectors as tenants
from tenants.services import audit

_DONE = {"replay": "replayed", "drop": "dropped"}


class Command(BaseCommand):
    help = "What could not be delivered: list it, try it again, or drop it from the list."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("action", choices=["list", "replay", "drop"])
        parser.add_argument("tenant")
        parser.add_argument("ids", nargs="*", metavar="ID", help="delivery ids")
        parser.add_argument("--all", action="store_true", help="every dead letter of the tenant")
        parser.add_argument("--test", action="store_true", help="those of test keys")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant, mode = options["tenant"], "test" if options["test"] else "live"
        if not tenants.tenant_exists(tenant):
            raise CommandError(f"There is no tenant {tenant!r}.")
        if options["action"] == "list":
            self._list(tenant, mode)
            return
        if not options["ids"] and not options["all"]:
            raise CommandError("Name delivery ids, or --all.")
        ids = options["ids"] or [row.id for row in _dead(tenant, mode)]
        act = services.retry_delivery if options["action"] == "replay" else feedback.drop_dead
        done, failed = 0, 0
        for identifier in ids:
            try:
                act(tenant, mode, identifier)
                done += 1
                self.stdout.write(f"{identifier} {options['action']}: done")
            except SprayerError as error:
                failed += 1
                self.stderr.write(f"{identifier}: {error.detail}")
        if done:
            audit(tenant, None, f"dead_letters.{_DONE[options['action']]}", detail={"mode": mode, "count": done})
        if failed:
            raise CommandError(f"{failed} of {len(ids)} could not be done.")

    def _list(self, tenant: str, mode: str) -> None:
        for row in _dead(tenant, mode):
            self.stdout.write(f"{row.id}  {row.at:%Y-%m-%d %H:%M:%S}  {row.channel:<10} {row.reason}")
        for job in UndecodableJob.objects(tenant=tenant):
            self.stdout.write(f"undecodable  {job.at:%Y-%m-%d %H:%M:%S}  {job.queue}  {job.reason}")


def _dead(tenant: str, mode: str) -> Iterator[DeliveryRow]:
    cursor = None
    while True:
        page = rows.dead(tenant, mode, cursor=cursor, limit=500)
        yield from page.data
        cursor = page.next_cursor
        if cursor is None:
            return
