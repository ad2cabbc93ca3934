"""manage.py rebuild_subscriptions [SLUG]: make the Redis index again from the record."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from sprayer_project.errors import STORE_ERRORS
from subscriptions import selectors, services
from tenants.selectors import tenant_exists


class Command(BaseCommand):
    help = "Makes the subscription index of one tenant, or of all, again from the record; everything goes on meanwhile."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", nargs="?", help="the tenant; all of them without it")

    def handle(self, *args: Any, slug: str | None = None, **options: Any) -> None:
        if slug and not tenant_exists(slug):
            raise CommandError(f"There is no tenant {slug!r}.")
        for tenant in [slug] if slug else selectors.tenants():
            try:
                total = services.rebuild(tenant, lambda written, name=tenant: self._show(name, written))  # type: ignore[misc]
            except STORE_ERRORS as error:
                raise CommandError(f"{tenant}: {error}") from error
            self.stdout.write(f"{tenant}: {total} receivers indexed")

    def _show(self, tenant: str, written: int) -> None:
        if self.stderr.isatty():
            self.stderr.write(f"\r{tenant}: {written} ...", ending="")
