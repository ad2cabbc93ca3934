"""manage.py dead_letters list|replay|drop TENANT [ID ...]"""

from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from feedback import dead
from feedback.selectors import DeliveryRow
from messaging import dead_letters, services
from messaging.documents import UndecodableJob
from sprayer_project.errors import NotFound, SprayerError
from tenants import selectors as tenants
from tenants.services import audit

_CHUNK = 500
_DONE = {"replay": "replayed", "drop": "dropped"}


class Command(BaseCommand):
    help = "What could not be delivered: list it, try it again, or drop it from the list."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("action", choices=["list", "replay", "drop"])
        parser.add_argument("tenant")
        parser.add_argument("ids", nargs="*", metavar="ID", help="delivery ids")
        parser.add_argument("--all", action="store_true", help="every dead letter of the tenant that fits")
        parser.add_argument("--channel", help="only those of this channel")
        parser.add_argument("--reason", help="only those with this reason")
        parser.add_argument("--test", action="store_true", help="those of test keys")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant, mode, action = options["tenant"], "test" if options["test"] else "live", options["action"]
        if not tenants.tenant_exists(tenant):
            raise CommandError(f"There is no tenant {tenant!r}.")
        if action != "list" and not options["ids"] and not options["all"]:
            raise CommandError("Name delivery ids, or --all.")
        named = {name: options[name] for name in ("channel", "reason") if options[name] is not None}
        chunks = iter([options["ids"]]) if options["ids"] else _ids(tenant, mode, named)
        if action == "list":
            self._list(tenant, mode, named)
        else:
            self._act(tenant, mode, action, chunks)

    def _act(self, tenant: str, mode: str, action: str, chunks: Iterator[list[str]]) -> None:
        total = failed = 0
        for ids in chunks:
            answers = services.retry_deliveries(tenant, mode, ids) if action == "replay" else _drop(tenant, mode, ids)
            for identifier, error in answers.items():
                if error is None:
                    self.stdout.write(f"{identifier} {action}: done")
                else:
                    self.stderr.write(f"{identifier}: {error.detail}")
            total += len(ids)
            failed += sum(error is not None for error in answers.values())
        if total > failed:
            audit(tenant, None, f"dead_letters.{_DONE[action]}", detail={"mode": mode, "count": total - failed})
        if failed:
            raise CommandError(f"{failed} of {total} could not be done.")

    def _list(self, tenant: str, mode: str, named: dict[str, str]) -> None:
        for rows in _rows(tenant, mode, named):
            for row in rows:
                self.stdout.write(f"{row.id}  {row.at:%Y-%m-%d %H:%M:%S}  {row.channel:<10} {row.reason}")
        for job in UndecodableJob.objects(tenant=tenant):
            self.stdout.write(f"undecodable  {job.at:%Y-%m-%d %H:%M:%S}  {job.queue}  {job.reason}")


def _drop(tenant: str, mode: str, ids: list[str]) -> dict[str, SprayerError | None]:
    known = {row.id for row in dead_letters.chosen_rows(tenant, dead_letters.Chosen(mode, tuple(ids)))}
    dead_letters.drop(tenant, mode, [*known])
    return {
        identifier: None
        if identifier in known
        else NotFound("dead_letter_not_found", f"There is no dead letter {identifier!r}.")
        for identifier in ids
    }


def _ids(tenant: str, mode: str, named: dict[str, str]) -> Iterator[list[str]]:
    return ([row.id for row in rows] for rows in _rows(tenant, mode, named))


def _rows(tenant: str, mode: str, named: dict[str, str]) -> Iterator[list[DeliveryRow]]:
    """Those there are now: what comes back as a dead letter meanwhile is not meant."""
    after, newest = "", dead.newest(tenant, mode)
    while rows := list(dead.letters(tenant, mode, named, after, _CHUNK, newest)):
        yield rows
        after = rows[-1].id
