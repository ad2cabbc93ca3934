"""manage.py import_subscriptions SLUG FILE: receivers and subscriptions from CSV or NDJSON."""

import sys
from pathlib import Path
from typing import IO, Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from sprayer_project.errors import STORE_ERRORS, Invalid, SprayerError
from subscriptions import importing
from subscriptions.importing import Bad
from tenants.selectors import tenant_exists
from tenants.services import audit

_SHOWN = 20
_TOLD = 10_000
"""Rows between two lines of progress where nobody watches."""


class Command(BaseCommand):
    help = "Takes receivers, groups and subscriptions from a CSV or NDJSON file; may be repeated without harm."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", help="the tenant")
        parser.add_argument("file", help="a path, or - for the standard input")
        parser.add_argument("--format", choices=importing.FORMATS, help="by the name of the file without it")
        parser.add_argument("--from-line", type=int, default=1, help="leave out what stands before this line")
        parser.add_argument("--bad", metavar="FILE", help="write the refused rows there as CSV")

    def handle(self, *args: Any, slug: str, file: str, **options: Any) -> None:
        if not tenant_exists(slug):
            raise CommandError(f"There is no tenant {slug!r}.")
        kind = options["format"] or Path(file).suffix.removeprefix(".")
        if kind not in importing.FORMATS:
            raise CommandError(f"Say --format {' or '.join(importing.FORMATS)}.")
        try:
            if file == "-":
                total, bad = self._import(slug, sys.stdin.buffer, kind, options["from_line"])
            else:
                with Path(file).open("rb") as opened:
                    total, bad = self._import(slug, opened, kind, options["from_line"])
        except OSError as error:
            raise CommandError(f"{file}: {error.strerror}") from error
        audit(slug, None, "receivers.imported", detail={"rows": total, "refused": len(bad)})
        if options["bad"]:
            Path(options["bad"]).write_bytes(importing.report(bad))
        for row in bad[:_SHOWN]:
            self.stderr.write(f"line {row.line}: {row.problem}")
        self.stdout.write(f"{total} rows, {total - len(bad)} taken, {len(bad)} refused")
        if bad:
            raise CommandError("Some rows were refused: mend them and import the file again.")

    def _import(self, slug: str, file: IO[bytes], kind: str, first: int) -> tuple[int, list[Bad]]:
        """How many rows there were, and the refused ones. Raises CommandError, saying where to go on."""
        total, bad, reached = 0, list[Bad](), first
        try:
            rows = (row for row in importing.read(file, kind) if row.line >= first)
            for batch in importing.batches(rows):
                reached = batch[0].line
                bad += importing.put(slug, batch)
                total += len(batch)
                self._show(total, len(bad))
        except Invalid as error:
            raise CommandError(f"{error.detail} {total} rows before that were read.") from error
        except (SprayerError, *STORE_ERRORS) as error:
            raise CommandError(f"{error} Go on with --from-line {reached}.") from error
        except KeyboardInterrupt:
            raise CommandError(f"Interrupted: go on with --from-line {reached}.") from None
        return total, bad

    def _show(self, total: int, bad: int) -> None:
        if self.stderr.isatty():
            self.stderr.write(f"\r{total} rows, {bad} refused ...", ending="")
        elif total % _TOLD == 0:
            self.stderr.write(f"{total} rows, {bad} refused ...")
