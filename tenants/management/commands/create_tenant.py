from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from sprayer_project.errors import SprayerError
from tenants import services


class Command(BaseCommand):
    help = "Create a tenant and its owner. The first live key goes to standard output, once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", help="2 to 40 lower-case letters, digits and hyphens; never changes")
        parser.add_argument("--owner", required=True, metavar="EMAIL")
        parser.add_argument("--name", default="", help="shown to people; default: the slug")
        parser.add_argument("--password", help="the owner's; without it the owner cannot log in to the console yet")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            tenant, plain = services.create_tenant(
                options["slug"], options["name"], options["owner"], options["password"]
            )
        except SprayerError as error:
            raise CommandError(error.detail) from error
        self.stderr.write(f"Tenant {tenant.slug}, owner {options['owner']}. Its first live key, shown this once:")
        self.stdout.write(plain)
