import re
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from sprayer_project.errors import SprayerError
from tenants import services
from tenants.rights import SCOPES

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Command(BaseCommand):
    help = "Create an API key of a tenant. It goes to standard output, once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", help="the tenant")
        parser.add_argument("--scope", action="append", required=True, choices=SCOPES, help="repeatable")
        parser.add_argument("--test", action="store_true", help="a test key: messages go to the sandbox")
        parser.add_argument("--expires", metavar="WHEN", help="an ISO 8601 time, or from now: 90m, 12h, 30d, 8w")
        parser.add_argument("--name", default="", help="shown in the list of keys")

    def handle(self, *args: Any, **options: Any) -> None:
        mode = "test" if options["test"] else "live"
        expires_at = moment(options["expires"]) if options["expires"] else None
        try:
            key, plain = services.create_api_key(options["slug"], mode, options["scope"], expires_at, options["name"])
        except SprayerError as error:
            raise CommandError(error.detail) from error
        end = f", until {key.expires_at.isoformat()}" if key.expires_at else ""
        self.stderr.write(f"{mode} key of {options['slug']} with {', '.join(key.scopes)}{end}, shown this once:")
        self.stdout.write(plain)


def moment(text: str) -> datetime:
    """A time in UTC from ISO 8601 (without an offset: UTC) or a duration from now. Raises CommandError."""
    try:
        if found := re.fullmatch(r"(\d+)([mhdw])", text):
            return datetime.now(UTC) + timedelta(**{_UNITS[found[2]]: int(found[1])})
        when = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise CommandError(f"--expires {text!r}: use a time as 2027-01-31T12:00:00Z or a duration as 30d.") from error
    return when if when.tzinfo else when.replace(tzinfo=UTC)
